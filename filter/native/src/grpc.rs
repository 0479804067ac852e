//! gRPC over a plain HTTP stream of Envoy's: messages in frames of five bytes of head, and how a call has ended.

/// Larger messages are refused: no settings document and no stored response is as large.
const MAX_MESSAGE: usize = 256 << 20;
const HEAD: usize = 5;

/// Status codes.
pub(crate) const OK: u32 = 0;
pub(crate) const UNKNOWN: u32 = 2;
pub(crate) const DEADLINE_EXCEEDED: u32 = 4;
pub(crate) const INTERNAL: u32 = 13;
pub(crate) const UNAVAILABLE: u32 = 14;

/// A message in its frame.
pub(crate) fn frame(message: &[u8]) -> Vec<u8> {
    let size = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(HEAD + message.len());
    framed.push(0);
    framed.extend_from_slice(&size.to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

/// What is no message of ours: compressed, or too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Puts messages together from the chunks that they come in.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    held: Vec<u8>,
}

impl Frames {
    /// Takes a chunk.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.held.extend_from_slice(chunk);
    }

    /// The next whole message.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, Unreadable> {
        let Some((head, rest)) = self.held.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let [compressed, size @ ..] = *head;
        let size = u32::from_be_bytes(size) as usize;
        if compressed != 0 || size > MAX_MESSAGE {
            return Err(Unreadable);
        }
        let Some(message) = rest.get(..size).map(<[u8]>::to_vec) else {
            return Ok(None);
        };
        self.held.drain(..HEAD + size);
        Ok(Some(message))
    }
}

/// How a call ends, by a head or trailers: `None` where that is still open.
pub(crate) fn status_in<'l>(lines: impl Iterator<Item = (&'l [u8], &'l [u8])>) -> Option<u32> {
    let (mut http, mut grpc) = (None, None);
    for (name, value) in lines {
        let number = || std::str::from_utf8(value).ok()?.trim().parse::<u32>().ok();
        match name {
            b":status" => http = number(),
            b"grpc-status" => grpc = number().or(Some(UNKNOWN)),
            _ => {}
        }
    }
    grpc.or(match http {
        None | Some(200) => None,
        // Envoy's own answer when a call takes too long.
        Some(504) => Some(DEADLINE_EXCEEDED),
        Some(429 | 502 | 503) => Some(UNAVAILABLE),
        Some(_) => Some(UNKNOWN),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_put_together_however_they_are_cut() {
        let sent: Vec<u8> = [&b"first"[..], b"", b"third"]
            .iter()
            .flat_map(|message| frame(message))
            .collect();
        for size in 1..=sent.len() {
            let (mut frames, mut read) = (Frames::default(), Vec::new());
            for chunk in sent.chunks(size) {
                frames.push(chunk);
                while let Some(message) = frames.next().unwrap() {
                    read.push(message);
                }
            }
            assert_eq!(read, [&b"first"[..], b"", b"third"], "in chunks of {size}");
        }
    }

    #[test]
    fn what_is_compressed_or_too_large_is_refused() {
        for head in [&[1, 0, 0, 0, 1, 7][..], &[0, 0xff, 0xff, 0xff, 0xff]] {
            let mut frames = Frames::default();
            frames.push(head);
            assert_eq!(frames.next(), Err(Unreadable));
        }
    }

    #[test]
    fn a_call_ends_as_grpc_says_and_else_as_http_does() {
        let of = |lines: &[(&'static [u8], &'static [u8])]| status_in(lines.iter().copied());
        assert_eq!(of(&[(b":status", b"200")]), None);
        assert_eq!(of(&[(b":status", b"200"), (b"grpc-status", b"7")]), Some(7));
        assert_eq!(of(&[(b"grpc-status", b"0")]), Some(OK));
        assert_eq!(of(&[(b"grpc-status", b"?")]), Some(UNKNOWN));
        assert_eq!(of(&[(b":status", b"504")]), Some(DEADLINE_EXCEEDED));
        assert_eq!(of(&[(b":status", b"503")]), Some(UNAVAILABLE));
        assert_eq!(of(&[(b":status", b"404")]), Some(UNKNOWN));
    }
}
