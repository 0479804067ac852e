//! Text as it stands in a cache key.

/// Bytes with a meaning of their own in a key; in a text they are written as two.
const RESERVED: u8 = 4;

/// Appends a text.
pub(super) fn push_text(bytes: &mut Vec<u8>, text: &[u8]) {
    // Without an early end, which compiles to vectors.
    if text.iter().fold(true, |plain, byte| plain & (*byte >= RESERVED)) {
        bytes.extend_from_slice(text);
        return;
    }
    for byte in text {
        if *byte < RESERVED {
            bytes.push(3);
            bytes.push(byte + b'0');
        } else {
            bytes.push(*byte);
        }
    }
}
