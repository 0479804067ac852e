//! Control streams between Envoys and replicas: in order, without gaps, late, cut anywhere.

use super::event::{Event, Place};
use super::{LIAR, World};
use crate::envoy::{Outcome, Worker};
use crate::replica::{Act, Replica, Seen, StreamId};

/// The two ends of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) at: Place,
    /// The filter's number for it.
    number: u32,
    /// Where the replica is, and which life of it.
    pub(super) seat: usize,
    seat_life: u64,
    /// Nothing arrives before this, so that the order stays.
    to_filter_ms: u64,
    to_control_ms: u64,
}

impl World {
    /// An Envoy opens a stream, to whichever replica the network leads it.
    pub(super) fn open(&mut self, at: Place, number: u32) {
        let seat = self.pick_seat();
        let end = End {
            at,
            number,
            seat,
            seat_life: self.seats[seat].running.as_ref().map_or(0, Replica::life),
            to_filter_ms: 0,
            to_control_ms: 0,
        };
        self.streams.insert(self.next_stream, end);
        self.next_stream += 1;
    }

    pub(super) fn stream(&self, at: Place, number: u32) -> Option<StreamId> {
        let ours = |end: &End| end.at.envoy == at.envoy && end.at.life == at.life && end.number == number;
        self.streams.iter().find(|(_, end)| ours(end)).map(|(id, _)| *id)
    }

    pub(super) fn deliver_to_control(&mut self, stream: StreamId, event: Event) {
        let delay = self.random.between(1, 40);
        let earliest = self.now_ms + delay;
        let Some(end) = self.streams.get_mut(&stream) else {
            return;
        };
        let joined_ms = self.envoys[end.at.envoy].cut_off_until_ms;
        end.to_control_ms = (end.to_control_ms + 1).max(earliest).max(joined_ms);
        let at_ms = end.to_control_ms;
        self.at(at_ms, event);
    }

    pub(super) fn deliver_to_filter(&mut self, stream: StreamId, earliest: u64, event: Event) {
        let Some(end) = self.streams.get_mut(&stream) else {
            return;
        };
        let joined_ms = self.envoys[end.at.envoy].cut_off_until_ms;
        end.to_filter_ms = (end.to_filter_ms + 1).max(earliest).max(joined_ms);
        let at_ms = end.to_filter_ms;
        self.at(at_ms, event);
    }

    pub(super) fn at_filter(&mut self, stream: StreamId, callback: impl FnOnce(&mut Worker, u32) -> Outcome) {
        let Some(end) = self.streams.get(&stream).copied() else {
            return;
        };
        if self.is(end.at) {
            self.call(end.at.envoy, end.at.worker, |worker| callback(worker, end.number));
        }
    }

    pub(super) fn at_control(&mut self, stream: StreamId, bytes: &[u8]) {
        let Some(end) = self.streams.get(&stream).copied() else {
            return;
        };
        let now_ms = self.seat_clock(end.seat);
        match &mut self.seats[end.seat].running {
            Some(replica) if replica.life() == end.seat_life => replica.message(stream, bytes, now_ms),
            _ => self.end_at_filter(stream),
        }
    }

    pub(super) fn closed_at_control(&mut self, stream: StreamId) {
        // Whoever has it.
        self.each_replica(|replica, now_ms| replica.closed(stream, now_ms));
    }

    /// The Envoy's end is gone; the control plane learns of it, unless nothing reaches it.
    pub(super) fn end_at_control(&mut self, stream: StreamId) {
        self.deliver_to_control(stream, Event::ControlClosed { stream });
        self.streams.remove(&stream);
    }

    pub(super) fn end_at_filter(&mut self, stream: StreamId) {
        let earliest = self.now_ms + 1;
        self.deliver_to_filter(stream, earliest, Event::FilterClosed { stream });
    }

    /// What is under way is lost, and both sides learn of it.
    pub(super) fn cut(&mut self, stream: StreamId) {
        let of = |event: &Event| match event {
            Event::ToFilter { stream: of, .. } | Event::ToControl { stream: of, .. } => *of == stream,
            _ => false,
        };
        let lost = self.slots.iter().filter(|(_, event)| of(event));
        for slot in lost.map(|(slot, _)| *slot).collect::<Vec<_>>() {
            self.slots.remove(&slot);
        }
        self.end_at_filter(stream);
        let wait = self.random.between(1, 3_000);
        self.after(wait, Event::ControlClosed { stream });
    }

    /// Lets what replicas have asked for happen.
    pub(super) fn settle(&mut self) -> super::Checked {
        if let Some(what) = self.failed.take() {
            return Err(what);
        }
        for seat in 0..self.seats.len() {
            let Some(replica) = &mut self.seats[seat].running else {
                continue;
            };
            let (acts, seen) = replica.take();
            let who = (replica.number(), replica.life());
            for fact in seen {
                self.note_seen(who, &fact);
                self.oracle.seen(who, fact)?;
            }
            for act in acts {
                self.act(seat, act);
            }
        }
        Ok(())
    }

    fn note_seen(&self, who: (u64, u64), seen: &Seen) {
        if self.verbose && !matches!(seen, Seen::Merged(_)) {
            let text = format!("    replica {who:?} {seen:?}");
            eprintln!("{}", text.chars().take(240).collect::<String>());
        }
    }

    fn act(&mut self, seat: usize, act: Act) {
        match act {
            Act::Send(stream, bytes) if self.byzantine.has(stream) => self.byzantine.hears(&bytes),
            Act::Send(stream, bytes) => {
                let earliest = self.now_ms + self.random.between(1, 40);
                self.deliver_to_filter(stream, earliest, Event::ToFilter { stream, bytes });
            }
            Act::End(stream) if stream >= LIAR => self.byzantine.ended(stream),
            Act::End(stream) => self.end_at_filter(stream),
            Act::Answer(call, message) => self.tier_answers(call, message),
            Act::Connect(wire) => self.connect_to_redis(seat, wire),
            Act::GiveUp(wire) => self.seats[seat].line_is_down(wire),
            Act::Ask(wire, id, ask) => self.ask_redis(seat, wire, id, ask),
        }
    }
}
