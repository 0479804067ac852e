//! Bringing a stored response into another clock (RFC 9111 section 4.2.3 counts its age by the clock of whoever stored it).

use super::stored_response::PREFIX;
use xxhash_rust::xxh3::xxh3_64;

/// Places of request time, response time and last moment of use among the words of the head.
const TIMES: [usize; 3] = [0, 1, 6];

/// Moves all moments of a stored response by so many milliseconds. Bytes that are none stay as they are.
pub fn shift_times(bytes: &mut [u8], ms: i64) {
    let head_end = bytes
        .get(20..24)
        .and_then(|part| part.try_into().ok())
        .map(u32::from_le_bytes)
        .and_then(|end| usize::try_from(end).ok());
    let Some(head) = head_end.and_then(|end| bytes.get_mut(..end)) else {
        return;
    };
    let sum = |head: &[u8]| head.get(12..).map(xxh3_64).map(u64::to_le_bytes);
    if sum(head).as_ref().map(<[u8; 8]>::as_slice) != head.get(4..12) {
        return;
    }
    for index in TIMES {
        let at = PREFIX + 8 + index * 8;
        if let Some(place) = head.get_mut(at..at + 8)
            && let Ok(word) = <[u8; 8]>::try_from(&*place)
        {
            place.copy_from_slice(&u64::from_le_bytes(word).saturating_add_signed(ms).to_le_bytes());
        }
    }
    if let (Some(sum), Some(place)) = (sum(head), head.get_mut(4..12)) {
        place.copy_from_slice(&sum);
    }
}
