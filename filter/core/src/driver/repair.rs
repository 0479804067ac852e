//! A reply of ours on its way out. Envoy applies a route's header rules, and the filters behind this one, to it a second time: to a
//! stored response that went through them when it was a miss.

use super::header_map;
use super::host::{Host, MapKind};
use super::vm::Vm;
use crate::Millis;
use crate::http::fields::Fields;

/// A stored response as it was handed to Envoy.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The serialized field lines.
    pub(super) fields: Vec<u8>,
    /// Bytes of content.
    pub(super) body: usize,
    /// Envoy drops what it thinks wrong for a response without content; these are put back.
    pub(super) content_length: Option<u64>,
    pub(super) content_type: Option<Vec<u8>>,
}

impl Sent {
    /// Makes the head again what was sent. `count` is the number of lines it has now.
    pub(super) fn restore(&self, host: &impl Host, count: usize) {
        if count != self.expected() {
            self.restore_lines(host);
        }
        if let Some(length) = self.content_length {
            let _ = host.replace_header(MapKind::Response, b"content-length", length.to_string().as_bytes());
        }
        if let Some(kind) = &self.content_type {
            let _ = host.replace_header(MapKind::Response, b"content-type", kind);
        }
    }

    /// Lines of a head that nothing was added to: ours, and the status.
    fn expected(&self) -> usize {
        let lines = self.fields.first_chunk().map_or(0, |count| u32::from_le_bytes(*count));
        // Of a reply without content Envoy takes off what describes it.
        let dropped = usize::from(self.content_length.is_some()) + usize::from(self.content_type.is_some());
        usize::try_from(lines)
            .unwrap_or(0)
            .saturating_add(1)
            .saturating_sub(dropped)
    }

    fn restore_lines(&self, host: &impl Host) {
        let Ok(map) = host.header_map(MapKind::Response) else {
            return;
        };
        let now = Fields::from(header_map::parse(&map));
        let sent = Fields::from(header_map::parse(&self.fields));
        let mut done: Vec<&[u8]> = vec![b"content-length"];
        for (name, _) in sent.iter() {
            if done.contains(&name) {
                continue;
            }
            done.push(name);
            if sent.all(name).eq(now.all(name)) {
                continue;
            }
            for (at, value) in sent.all(name).enumerate() {
                let _ = if at == 0 {
                    host.replace_header(MapKind::Response, name, value)
                } else {
                    host.add_header(MapKind::Response, name, value)
                };
            }
        }
        // Envoy gives content without a type one; browsers look for themselves where there is none.
        if !sent.has(b"content-type") && now.has(b"content-type") {
            let _ = host.remove_header(MapKind::Response, b"content-type");
        }
    }
}

impl Vm {
    /// The content of a reply of ours comes by with another size than it was sent with. Envoy may have put its own in place of it; a
    /// compressor behind this filter does it too, but does not say the size in advance. The head tells, which Envoy shows again when
    /// the stream is over.
    pub(super) fn judge_resized(&mut self, host: &impl Host, sent: usize, now_ms: Millis) {
        let map = host.header_map(MapKind::Response).unwrap_or_default();
        let length = Fields::from(header_map::parse(&map))
            .get(b"content-length")
            .and_then(|text| std::str::from_utf8(text).ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length != sent) {
            self.reply_was_rewritten(host, now_ms);
        }
    }
}
