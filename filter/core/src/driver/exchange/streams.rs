//! The streams of a VM by Envoy's number for each.

use super::SharedExchange;
use crate::driver::host::Streams;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Streams that one sweep looks at.
const SWEPT: usize = 8;

/// Those between their request's headers and their end. Envoy counts contexts up, so the new ones are at the end of the map, and those
/// that live long at its beginning.
#[derive(Debug, Default)]
pub struct LiveStreams {
    /// The one that began last: what is answered at once is over before the next one begins, and never in the map.
    newest: Option<(u32, SharedExchange)>,
    streams: BTreeMap<u32, SharedExchange>,
    swept: u32,
}

impl LiveStreams {
    /// A stream's request has come.
    pub fn begin(&mut self, context: u32) -> SharedExchange {
        let shared = SharedExchange::default();
        let newest = (context, SharedExchange::clone(&shared));
        if let Some((before, older)) = self.newest.replace(newest) {
            self.streams.insert(before, older);
        }
        shared
    }

    /// A stream whose request has come, until its end.
    #[must_use]
    pub fn get(&self, context: u32) -> Option<SharedExchange> {
        match &self.newest {
            Some((newest, shared)) if *newest == context => Some(SharedExchange::clone(shared)),
            _ => self.streams.get(&context).cloned(),
        }
    }

    /// A stream is over.
    pub fn end(&mut self, context: u32) -> Option<SharedExchange> {
        match self.newest.take_if(|(newest, _)| *newest == context) {
            Some((_, shared)) => Some(shared),
            None => self.streams.remove(&context),
        }
    }

    /// Asks the host about some streams, a few more at each call, and gives up those that it does not know any more, the newest one aside. It tells the end of
    /// each; should it ever not, what the stream held is free again. The host's context is another one afterwards.
    pub fn sweep(&mut self, host: &impl Streams) -> Vec<SharedExchange> {
        let beyond = (Bound::Excluded(self.swept), Bound::Unbounded);
        let checked: Vec<u32> = self.streams.range(beyond).take(SWEPT).map(|(id, _)| *id).collect();
        self.swept = if checked.len() < SWEPT {
            0
        } else {
            *checked.last().unwrap_or(&0)
        };
        let gone = checked.into_iter().filter(|id| host.enter(*id).is_err());
        gone.filter_map(|id| self.streams.remove(&id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::fake_host::FakeHost;

    #[test]
    fn a_stream_is_known_from_its_request_to_its_end() {
        let mut live = LiveStreams::default();
        let older = live.begin(5);
        let shared = live.begin(7);
        assert!(std::rc::Rc::ptr_eq(&live.get(5).unwrap(), &older));
        assert!(std::rc::Rc::ptr_eq(&live.end(5).unwrap(), &older) && live.get(5).is_none());
        assert!(std::rc::Rc::ptr_eq(&live.get(7).unwrap(), &shared));
        assert!(live.get(8).is_none() && live.end(8).is_none());
        assert!(live.end(7).is_some() && live.end(7).is_none());
    }

    #[test]
    fn those_that_the_host_has_forgotten_go_sooner_or_later() {
        let host = FakeHost::default();
        let mut live = LiveStreams::default();
        for context in 1..=21 {
            live.begin(context);
            if context % 2 == 0 {
                host.forget(context);
            }
        }
        let swept: usize = (0..3).map(|_| live.sweep(&host).len()).sum();
        assert_eq!((swept, live.streams.len()), (10, 10));
        assert!(live.streams.keys().all(|context| context % 2 == 1));
    }
}
