//! What is done to streams after the core has returned. Envoy calls the module back from within: for the reply's own head, for the end of
//! the stream, for whatever follows in the filter chain. So no lock is held meanwhile, and nothing of a stream is touched after its end.

use crate::abi::Header;
use crate::envoy::Filter;
use bytes::Bytes;
use filter_core::driver::host::LocalReply;
use filter_core::driver::host::header_map;
use std::cell::RefCell;

thread_local! {
    /// Streams that something is being done to on this thread, and whether they have ended over it.
    static AT_WORK: RefCell<Vec<(u32, bool)>> = const { RefCell::new(Vec::new()) };
}

fn at_work<R>(work: impl FnOnce(&mut Vec<(u32, bool)>) -> R) -> Option<R> {
    AT_WORK.with(|streams| streams.try_borrow_mut().ok().map(|mut streams| work(&mut streams)))
}

/// A stream has ended: nothing more is done to it.
pub(crate) fn note_end(context: u32) {
    at_work(|streams| {
        for (_, ended) in streams.iter_mut().filter(|(of, _)| *of == context) {
            *ended = true;
        }
    });
}

/// A stream while something is done to it.
struct AtWork;

impl AtWork {
    fn on(context: u32) -> Self {
        at_work(|streams| streams.push((context, false)));
        Self
    }

    fn has_ended(&self) -> bool {
        at_work(|streams| streams.last().is_some_and(|(_, ended)| *ended)).unwrap_or(true)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        at_work(Vec::pop);
    }
}

/// A response of the filter's own.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Serialized field lines.
    pub(crate) fields: Vec<u8>,
    pub(crate) body: Bytes,
    /// Envoy's details.
    pub(crate) details: String,
    /// In the upstream's place, whose head was already on its way.
    pub(crate) in_place: bool,
}

/// The content of a reply, past the end of the hook: of a stored response without a copy.
pub(crate) fn owned_body(reply: &LocalReply<'_>) -> Bytes {
    let part_of = |memory: &Bytes| {
        let start = reply.body.as_ptr().addr().checked_sub(memory.as_ptr().addr())?;
        let end = start.checked_add(reply.body.len())?;
        (end <= memory.len()).then(|| memory.slice(start..end))
    };
    reply
        .memory
        .and_then(part_of)
        .unwrap_or_else(|| Bytes::copy_from_slice(reply.body))
}

/// What is to be done to a stream.
#[derive(Debug)]
pub(crate) enum Action {
    Reply(Reply),
    Resume,
}

/// What the core says of stored responses.
const STORED: &str = "api_optimizer_cache";

impl Action {
    /// Does it. No lock may be held that a hook takes.
    pub(crate) fn perform(self, filter: Filter, context: u32) {
        let stream = AtWork::on(context);
        match self {
            Self::Resume => filter.resume(),
            // A stored response is a response like any other. A local reply would be rewritten by the operator's `local_reply_config`.
            Self::Reply(reply) if reply.details == STORED && !reply.in_place => reply.send(filter, &stream),
            Self::Reply(reply) => reply.send_local(filter),
        }
    }
}

impl Reply {
    fn send(&self, filter: Filter, stream: &AtWork) {
        let (status, length) = (self.status.to_string(), self.body.len().to_string());
        let lines = header_map::parse(&self.fields);
        let mut headers = Vec::with_capacity(lines.len() + 2);
        headers.push(Header::of(b":status", status.as_bytes()));
        headers.extend(lines.iter().map(|(name, value)| Header::of(name, value)));
        let bare = self.body.is_empty();
        if !bare {
            headers.push(Header::of(b"content-length", length.as_bytes()));
        }
        filter.send_head(&headers, bare);
        // A client that cannot be written to may have ended it.
        if !bare && !stream.has_ended() {
            filter.send_content(&self.body);
        }
    }

    fn send_local(&self, filter: Filter) {
        let lines = header_map::parse(&self.fields);
        let headers: Vec<Header> = lines.iter().map(|(name, value)| Header::of(name, value)).collect();
        filter.send_local(self.status, &headers, &self.body, &self.details);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_of_what_is_stored_is_not_copied() {
        let memory = Bytes::from(b"head and body".to_vec());
        let reply = |body, memory| LocalReply {
            status: 200,
            fields: &[],
            body,
            memory,
            details: "",
        };
        let body = owned_body(&reply(&memory[9..], Some(&memory)));
        assert_eq!((body.as_ref(), body.as_ptr()), (&b"body"[..], memory[9..].as_ptr()));
        for elsewhere in [&b"body"[..], b""] {
            assert_eq!(owned_body(&reply(elsewhere, Some(&memory))), elsewhere);
            assert_eq!(owned_body(&reply(elsewhere, None)), elsewhere);
        }
        // It begins within the memory, and goes on behind its end.
        let part = memory.slice(..11);
        assert_eq!(owned_body(&reply(&memory[9..], Some(&part))), &b"body"[..]);
    }

    #[test]
    fn a_stream_that_ends_under_the_hand_is_noticed_and_no_other() {
        let outer = AtWork::on(1);
        {
            let inner = AtWork::on(2);
            note_end(1);
            assert!(!inner.has_ended());
            note_end(2);
            assert!(inner.has_ended());
        }
        assert!(outer.has_ended());
        drop(outer);
        assert!(!AtWork::on(1).has_ended());
    }
}
