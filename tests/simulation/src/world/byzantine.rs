//! An Envoy of the fleet, with its own name and proof, that claims what is not so: purges done, revisions far ahead, wrong counts.

use super::World;
use super::event::Event;
use super::liar::telemetry;
use crate::replica::{Replica, StreamId};
use optimizer_proto::v1::control_message::Body as ToFilter;
use optimizer_proto::v1::filter_message::Body as FromFilter;
use optimizer_proto::v1::{CommandResult, ControlMessage, FilterMessage, Hello, SettingsAck};
use prost::Message;

/// The name of its process.
pub(super) const NAME: &str = "byzantine";
/// Its streams have numbers of their own.
const STREAMS: StreamId = 1 << 61;

/// What it knows.
#[derive(Debug, Default)]
pub(super) struct Byzantine {
    stream: Option<(usize, StreamId)>,
    streams: u64,
    /// Commands that it was sent and has not answered.
    asked: Vec<String>,
}

impl Byzantine {
    pub(super) fn has(&self, stream: StreamId) -> bool {
        stream >= STREAMS
    }

    /// A message of the control plane.
    pub(super) fn hears(&mut self, bytes: &[u8]) {
        if let Ok(ControlMessage {
            body: Some(ToFilter::Command(command)),
        }) = ControlMessage::decode(bytes)
        {
            self.asked.push(command.id);
        }
    }

    /// Its stream was ended.
    pub(super) fn ended(&mut self, stream: StreamId) {
        if self.stream.is_some_and(|(_, own)| own == stream) {
            self.stream = None;
        }
    }
}

impl World {
    /// It claims something.
    pub(super) fn claim(&mut self) {
        let wait = self.random.between(50, 1_000);
        self.after(wait, Event::Byzantine);
        let (what, number) = (self.random.below(8), self.random.draw());
        if self.byzantine.stream.is_none() || what == 0 {
            self.byzantine_connects(number);
            return;
        }
        let Some((seat, stream)) = self.byzantine.stream else {
            return;
        };
        let (now_ms, clock_ms) = (self.now_ms, self.seat_clock(seat));
        let Some(replica) = &mut self.seats[seat].running else {
            self.byzantine.stream = None;
            return;
        };
        let (epoch, revision) = (replica.history().epoch().to_owned(), replica.history().present().number);
        let mut says = Vec::new();
        match what {
            1..=3 => says.extend(self.byzantine.asked.drain(..).map(|id| {
                FromFilter::CommandResult(CommandResult {
                    id,
                    ok: true,
                    ..CommandResult::default()
                })
            })),
            4 | 5 => says.push(FromFilter::SettingsAck(SettingsAck {
                epoch,
                revision: [revision, revision + 1, u64::MAX, 0][usize::try_from(number % 4).unwrap_or(0)],
                accepted: number.is_multiple_of(3),
                workers: u32::MAX,
                ..SettingsAck::default()
            })),
            6 => says.push(FromFilter::Telemetry(telemetry(NAME, number, number % 100_000, now_ms))),
            _ => says.push(FromFilter::Telemetry(telemetry(NAME, number % 30, u64::MAX, 0))),
        }
        for body in says {
            let bytes = FilterMessage { body: Some(body) }.encode_to_vec();
            replica.message(stream, &bytes, clock_ms);
        }
    }

    /// It opens a stream, and claims to run on some revision.
    fn byzantine_connects(&mut self, number: u64) {
        if let Some((seat, stream)) = self.byzantine.stream.take() {
            let clock_ms = self.seat_clock(seat);
            if let Some(replica) = &mut self.seats[seat].running {
                replica.closed(stream, clock_ms);
            }
        }
        let seat = self.pick_seat();
        let clock_ms = self.seat_clock(seat);
        let Some(replica) = &mut self.seats[seat].running else {
            return;
        };
        let present = replica.history().present().number;
        let revision = match number % 4 {
            0 => present,
            1 => present + number % 9_000,
            2 => u64::MAX,
            _ => present + 20_000,
        };
        let hello = Hello {
            node_id: NAME.to_owned(),
            instance_id: NAME.to_owned(),
            proof: Replica::proof(NAME),
            epoch: replica.history().epoch().to_owned(),
            revision,
            ..Hello::default()
        };
        self.byzantine.streams += 1;
        let stream = STREAMS + self.byzantine.streams;
        let body = Some(FromFilter::Hello(hello));
        replica.message(stream, &FilterMessage { body }.encode_to_vec(), clock_ms);
        self.byzantine.stream = Some((seat, stream));
    }
}
