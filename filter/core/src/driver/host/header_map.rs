//! The host's serialization of header maps: a count, pairs of lengths, then the names and values, each with a NUL behind it.

use crate::http::fields::is_sound;

/// Most field lines that are looked at; Envoy's own default limit is 100.
const MAX_FIELDS: usize = 1024;

/// Reads a serialized map. Whatever does not fit its own lengths ends the list.
#[must_use]
pub fn parse(bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let Some(count) = read_u32(bytes, 0) else {
        return Vec::new();
    };
    let count = count.min(MAX_FIELDS);
    let mut fields = Vec::with_capacity(count);
    let mut at = 4 + count * 8;
    for index in 0..count {
        let (Some(name_size), Some(value_size)) = (read_u32(bytes, 4 + index * 8), read_u32(bytes, 8 + index * 8))
        else {
            break;
        };
        let Some(name) = at.checked_add(name_size).and_then(|end| bytes.get(at..end)) else {
            break;
        };
        at += name_size + 1;
        let Some(value) = at.checked_add(value_size).and_then(|end| bytes.get(at..end)) else {
            break;
        };
        at += value_size + 1;
        fields.push((name, value));
    }
    fields
}

fn read_u32(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?) as usize)
}

/// A map of these lines, in one piece of memory of just its size.
#[must_use]
pub fn serialize<'l>(lines: impl Iterator<Item = (&'l [u8], &'l [u8])> + Clone) -> Vec<u8> {
    let (mut count, mut size) = (0_u32, 4);
    for (name, value) in lines.clone() {
        count += 1;
        size += 8 + name.len() + 1 + value.len() + 1;
    }
    let mut map = Vec::with_capacity(size);
    map.extend_from_slice(&count.to_le_bytes());
    for (name, value) in lines.clone() {
        // No field line is that long.
        let of = |text: &[u8]| u64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
        map.extend_from_slice(&(of(name) | of(value) << 32).to_le_bytes());
    }
    for (name, value) in lines {
        map.extend_from_slice(name);
        map.push(0);
        map.extend_from_slice(value);
        map.push(0);
    }
    map
}

/// Builds a serialized map.
#[derive(Debug, Default)]
pub struct MapWriter {
    sizes: Vec<u8>,
    text: Vec<u8>,
    count: u32,
}

impl MapWriter {
    /// An empty map with room for `fields` lines of `bytes` bytes in all.
    #[must_use]
    pub fn with_capacity(fields: usize, bytes: usize) -> Self {
        let mut sizes = Vec::with_capacity(4 + fields * 8 + fields * 2 + bytes);
        sizes.extend_from_slice(&[0; 4]);
        Self {
            sizes,
            text: Vec::with_capacity(fields * 2 + bytes),
            count: 0,
        }
    }

    /// Appends a field line. One that is not [sound](is_sound) is left out: Envoy writes local replies to the wire as they are.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        if is_sound(name, value) {
            self.push_sound(name, value);
        }
    }

    /// Appends a field line that is known to be sound.
    pub fn push_sound(&mut self, name: &[u8], value: &[u8]) {
        let (Ok(name_size), Ok(value_size)) = (u32::try_from(name.len()), u32::try_from(value.len())) else {
            return;
        };
        if self.sizes.is_empty() {
            self.sizes.extend_from_slice(&[0; 4]);
        }
        let sizes = u64::from(name_size) | u64::from(value_size) << 32;
        self.sizes.extend_from_slice(&sizes.to_le_bytes());
        self.text.reserve(name.len() + value.len() + 2);
        self.text.extend_from_slice(name);
        self.text.push(0);
        self.text.extend_from_slice(value);
        self.text.push(0);
        self.count += 1;
    }

    /// The finished map.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        if let Some(head) = self.sizes.get_mut(..4) {
            head.copy_from_slice(&self.count.to_le_bytes());
        } else {
            return vec![0; 4];
        }
        self.sizes.extend_from_slice(&self.text);
        self.sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = MapWriter::with_capacity(2, 16);
        writer.push(b"etag", b"\"a\"");
        writer.push(b"x-bytes", b"\xff\xfe");
        writer.push(b"x-empty", b"");
        let bytes = writer.finish();
        assert_eq!(
            parse(&bytes),
            vec![
                (&b"etag"[..], &b"\"a\""[..]),
                (&b"x-bytes"[..], &b"\xff\xfe"[..]),
                (&b"x-empty"[..], &b""[..]),
            ]
        );
    }

    #[test]
    fn a_map_is_the_same_in_one_piece() {
        let lines: [(&[u8], &[u8]); 3] = [(b"etag", b"\"a\""), (b"x-bytes", b"\xff\xfe"), (b"x-empty", b"")];
        let mut writer = MapWriter::default();
        lines.iter().for_each(|(name, value)| writer.push(name, value));
        let map = serialize(lines.into_iter());
        assert_eq!((map.capacity(), map.clone()), (map.len(), writer.finish()));
        assert_eq!(serialize(std::iter::empty()), MapWriter::default().finish());
    }

    #[test]
    fn lines_that_would_split_the_response_are_left_out() {
        let mut writer = MapWriter::default();
        for (name, value) in [
            (&b"a"[..], &b"x\r\nset-cookie: y"[..]),
            (b"a b", b"x"),
            (b"", b"x"),
            (b"a", b"x\0"),
            (b"a\n", b"x"),
        ] {
            writer.push(name, value);
        }
        assert!(parse(&writer.finish()).is_empty());
        assert!(parse(&MapWriter::default().finish()).is_empty());
    }

    #[test]
    fn hostile_lengths_end_the_list() {
        for bytes in [
            &b""[..],
            b"\x01",
            b"\xff\xff\xff\xff",
            b"\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x02\0\0\0\x01\0\0\0\x01\0\0\0",
        ] {
            assert!(parse(bytes).is_empty(), "{bytes:?}");
        }
    }
}
