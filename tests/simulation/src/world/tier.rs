//! Calls of Envoys to the shared tier.

use super::event::{Event, Place};
use super::{Checked, World};
use crate::oracle::PATHS;
use crate::plan::Actor;
use crate::replica::CallId;
use optimizer_proto::v1::TierFound;
use optimizer_proto::v1::tier_found::Result as Found;
use prost::Message;

const GRPC_UNAVAILABLE: u32 = 14;
const GRPC_DEADLINE_EXCEEDED: u32 = 4;

/// A call under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) at: Place,
    /// The filter's number for it.
    number: u32,
    /// Of a question: what must not be found any more, as of when it was asked.
    floors: Option<[u64; PATHS]>,
}

impl World {
    pub(super) fn call_tier(&mut self, at: Place, number: u32, method: String, message: Vec<u8>, timeout_ms: u64) {
        let call = self.next_stream;
        self.next_stream += 1;
        let floors = (method == "Get").then(|| self.oracle.tier_floors());
        self.calls.insert(call, Call { at, number, floors });
        let late = self.random.once_in(20);
        let wait = self.random.between(1, if late { 3_000 } else { 25 });
        let reachable = self.envoys[at.envoy].cut_off_until_ms <= self.now_ms && self.plan.has(Actor::Tier);
        if reachable {
            self.after(wait, Event::TierCall { call, method, message });
        }
        let status = GRPC_DEADLINE_EXCEEDED;
        let message = Vec::new();
        self.after(timeout_ms, Event::TierAnswer { call, status, message });
    }

    pub(super) fn tier_call(&mut self, call: CallId, method: &str, message: &[u8]) {
        let seat = self.pick_seat();
        let now_ms = self.seat_clock(seat);
        // One that was given up in the meantime is done all the same.
        match &mut self.seats[seat].running {
            Some(replica) => replica.tier_call(call, method, message, now_ms),
            None => self.tier_answers(call, None),
        }
    }

    pub(super) fn tier_answers(&mut self, call: CallId, message: Option<Vec<u8>>) {
        let status = if message.is_some() { 0 } else { GRPC_UNAVAILABLE };
        let message = message.unwrap_or_default();
        let late = self.random.once_in(20);
        let wait = self.random.between(1, if late { 3_000 } else { 25 });
        self.after(wait, Event::TierAnswer { call, status, message });
    }

    pub(super) fn tier_answer(&mut self, call: CallId, status: u32, message: Vec<u8>) -> Checked {
        let Some(Call { at, number, floors }) = self.calls.remove(&call) else {
            return Ok(());
        };
        if let (Some(floors), Ok(found)) = (floors, TierFound::decode(message.as_slice()))
            && found.result() == Found::Hit
        {
            self.oracle.found_in_tier(&found.value, &floors)?;
        }
        if self.is(at) {
            self.call(at.envoy, at.worker, |worker| {
                worker.tier_answer(number, status, message)
            });
        }
        Ok(())
    }
}
