//! In which ways servers read a path. Rules by path hold for a request only when all readings lead to the same one: what one server
//! takes for a public page is another one's private one.

use crate::http::percent::{ROUNDS, decoded};

/// The path without its query, and the query with its `?`.
fn parts(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().position(|byte| *byte == b'?').unwrap_or(path.len()))
}

/// Whether every server reads the path as it is, but for case.
pub(super) fn is_plain(path: &[u8]) -> bool {
    let (path, _) = parts(path);
    let Some(rest) = path.strip_prefix(b"/") else {
        return false;
    };
    let mut before = b'/';
    for byte in rest {
        let plain = match byte {
            b'/' => before != b'/' && before != b'.',
            b'.' => before != b'/',
            b'%' | b'\\' | b';' => false,
            other => other.is_ascii_graphic(),
        };
        if !plain {
            return false;
        }
        before = *byte;
    }
    before != b'.'
}

/// The path as the most orderly server reads it, with its query as it is.
pub(super) fn canonical(path: &[u8]) -> Vec<u8> {
    let (path, query) = parts(path);
    let mut text = path.to_vec();
    for _ in 0..ROUNDS {
        text = decoded(&text);
    }
    let mut whole = normalised(&text, false);
    whole.extend_from_slice(query);
    whole
}

/// All readings of a path, each with its query. `None` when it is so odd that nobody knows how it is read.
pub(super) fn of(path: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (path, query) = parts(path);
    let mut readings: Vec<Vec<u8>> = Vec::new();
    let mut text = path.to_vec();
    for round in 0..=ROUNDS {
        if is_odd(&text) {
            return None;
        }
        for mut reading in [text.clone(), normalised(&text, false), normalised(&text, true)] {
            reading.extend_from_slice(query);
            if !readings.contains(&reading) {
                readings.push(reading);
            }
        }
        let next = decoded(&text);
        if next == text {
            return Some(readings);
        }
        if round == ROUNDS {
            return None;
        }
        text = next;
    }
    Some(readings)
}

/// Control bytes end a path, or are passed over; `%u002f` and overlong UTF-8 are a slash to some.
fn is_odd(text: &[u8]) -> bool {
    text.iter()
        .any(|byte| byte.is_ascii_control() || matches!(byte, 0xc0 | 0xc1))
        || text.windows(2).any(|pair| matches!(pair, b"%u" | b"%U"))
}

/// RFC 3986 section 5.2.4, and beyond it: `\` is a slash, what follows `;` in a segment does not count, slashes are merged.
/// `windows`: nor do blanks and dots at a segment's end.
fn normalised(text: &[u8], windows: bool) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut directory = true;
    for segment in text.split(|byte| matches!(byte, b'/' | b'\\')) {
        let segment = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        let segment = if windows { without_end(segment) } else { segment };
        directory = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let mut out = Vec::with_capacity(text.len() + 1);
    for segment in &segments {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if directory || out.is_empty() {
        out.push(b'/');
    }
    out
}

fn without_end(segment: &[u8]) -> &[u8] {
    let trimmed = segment.trim_ascii_end();
    if matches!(trimmed, b"." | b"..") {
        return trimmed;
    }
    let end = trimmed.iter().rposition(|byte| !matches!(byte, b'.' | b' '));
    end.and_then(|end| trimmed.get(..=end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_told_at_a_glance() {
        for path in ["/", "/a", "/A/b.c/d-1_~", "/a/?x=%2e%2e/;", "/v1.2/x:y@z,(1)"] {
            assert!(is_plain(path.as_bytes()), "{path}");
            let path_only = path.split('?').next().unwrap().as_bytes();
            assert_eq!(normalised(path_only, true), path_only);
        }
        for path in [
            "", "*", "//", "/a//b", "/a/.", "/.a", "/a./b", "/a.", "/a%41", "/a\\b", "/a;b", "/ä", "/a\0", "/a/../b",
        ] {
            assert!(!is_plain(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_path_is_read_as_each_server_reads_it() {
        for (path, canonical_path) in [
            ("//private/a", "/private/a"),
            ("/./private/a", "/private/a"),
            ("/x/../private/a", "/private/a"),
            ("/x/..%2fprivate/a", "/private/a"),
            ("/x/%2e%2e/private/a", "/private/a"),
            ("/x/..%252fprivate/a", "/private/a"),
            ("/x/..%25252fprivate/a", "/private/a"),
            ("\\private\\a", "/private/a"),
            ("/x%5c..%5cprivate/a", "/private/a"),
            ("/private;v=1/a", "/private/a"),
            ("/x/..;/private/a", "/private/a"),
            ("/;a/private/a", "/private/a"),
            ("/%70rivate/a?b=%41", "/private/a?b=%41"),
            ("/private/", "/private/"),
            ("/private/.", "/private/"),
            ("/../..", "/"),
        ] {
            assert_eq!(String::from_utf8_lossy(&canonical(path.as_bytes())), canonical_path);
            let readings = of(path.as_bytes()).unwrap();
            assert!(readings.contains(&path.as_bytes().to_vec()));
            assert!(readings.contains(&canonical_path.as_bytes().to_vec()), "{path}");
        }
        assert!(of(b"/private./a").unwrap().contains(&b"/private/a".to_vec()));
        assert!(of(b"/private%20/a").unwrap().contains(&b"/private/a".to_vec()));
        assert!(
            of(b"/%70rivate/..%252fx")
                .unwrap()
                .contains(&b"/private/..%2fx".to_vec())
        );
        for odd in [
            "/a%00b",
            "/a\tb",
            "/a%0ab",
            "/x%c0%af",
            "/x%u002f",
            "/%252525252570rivate",
        ] {
            assert_eq!(of(odd.as_bytes()), None, "{odd}");
        }
        assert!(of(b"/100%").is_some() && of("/caf%C3%A9".as_bytes()).is_some());
    }
}
