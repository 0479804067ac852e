//! Somebody at the port who says what is not so, and is no Envoy.

use super::World;
use super::event::Event;
use control_domain::fleet::Envoy;
use optimizer_proto::v1::filter_message::Body as FromFilter;
use optimizer_proto::v1::{
    CommandResult, FilterMessage, Hello, RequestSeries, SettingsAck, TelemetryDelta, TelemetryReport,
};
use prost::Message;

impl World {
    pub(super) fn lie(&mut self) {
        let wait = self.random.between(100, 1_500);
        self.after(wait, Event::Liar);
        let victim = self.envoys[self.random.index(self.plan.envoys)].instance.clone();
        let (what, number) = (self.random.below(8), self.random.draw());
        let now_ms = self.now_ms;
        // Names are made by chance and read from `/fleet`: nobody knows one before its Envoy has been there.
        let knows = |replica: &crate::replica::Replica| replica.fleet.get(&victim).is_some_and(Envoy::has_answered);
        let known = self.seats.iter().filter_map(|seat| seat.running.as_ref()).all(knows);
        let victim = if known { victim.as_str() } else { "somebody" };
        if what < 2 {
            self.liar += 1;
        }
        let seat = usize::try_from(self.liar).unwrap_or(0) % self.seats.len();
        let clock_ms = self.seat_clock(seat);
        let Some(replica) = &mut self.seats[seat].running else {
            return;
        };
        let (epoch, revision) = (replica.history().epoch().to_owned(), replica.history().present().number);
        let commands = replica.commands();
        let hello = |instance: &str, proof: &[u8]| {
            FromFilter::Hello(Hello {
                node_id: "liar".to_owned(),
                instance_id: instance.to_owned(),
                proof: proof.to_vec(),
                started_at_ms: now_ms,
                ..Hello::default()
            })
        };
        let body = match what {
            0 => hello("liar", b"proof of liar"),
            1 => hello(victim, b"a guess"),
            2 => FromFilter::SettingsAck(SettingsAck {
                epoch,
                revision: revision + number % 3,
                accepted: true,
                workers: 1,
                ..SettingsAck::default()
            }),
            3 | 4 => FromFilter::CommandResult(CommandResult {
                id: commands
                    .get(usize::try_from(number).unwrap_or(0) % commands.len().max(1))
                    .cloned()
                    .unwrap_or_default(),
                ok: true,
                ..CommandResult::default()
            }),
            5 => FromFilter::Telemetry(telemetry("liar", number % 50, 1_000, now_ms)),
            6 => FromFilter::Telemetry(telemetry(victim, number % 1_000, 1_000, now_ms)),
            _ => FromFilter::Telemetry(telemetry("liar", number, u64::MAX, now_ms)),
        };
        let bytes = FilterMessage { body: Some(body) }.encode_to_vec();
        replica.message(self.liar, &bytes, clock_ms);
    }
}

/// A report of that many requests.
pub(super) fn telemetry(instance: &str, sequence: u64, count: u64, now_ms: u64) -> TelemetryReport {
    let series = RequestSeries {
        upstream: "liar".to_owned(),
        count,
        ..RequestSeries::default()
    };
    TelemetryReport {
        sequence,
        instance_id: instance.to_owned(),
        closed_at_ms: now_ms,
        span_ms: 1_000,
        delta: Some(TelemetryDelta {
            requests: vec![series],
            ..TelemetryDelta::default()
        }),
        ..TelemetryReport::default()
    }
}
