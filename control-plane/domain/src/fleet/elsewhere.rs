//! What other replicas know of Envoys.

use super::{ConnectionId, Fleet, Reported};
use crate::Millis;
use optimizer_proto::telemetry::check_report;
use optimizer_proto::v1::{Hello, SettingsAck, TelemetryReport};

/// What a replica has learned of an Envoy. Each update names the Envoy in full, so that it can be read without another one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EnvoyUpdate {
    /// How the Envoy introduced itself.
    pub hello: Hello,
    /// The stream that it is on.
    pub connection: ConnectionId,
    /// That stream is open.
    pub connected: bool,
    /// When this was so.
    pub at_ms: Millis,
    /// Its last acknowledgement of settings.
    pub ack: Option<SettingsAck>,
    /// What it has reported.
    pub report: Option<TelemetryReport>,
}

impl Fleet {
    /// Takes in another replica's update on an Envoy; returns the result of merging its report, if it has a valid one.
    /// For an Envoy that is connected here our own knowledge is better; what it reported before it came still counts.
    pub fn observe(&mut self, envoy: &str, update: &EnvoyUpdate, is_here: bool, now_ms: Millis) -> Option<Reported> {
        let at_ms = update.at_ms.min(now_ms);
        if !is_here {
            self.note_state(envoy, update, at_ms);
        }
        let report = update.report.as_ref()?;
        check_report(report, now_ms).ok()?;
        Some(self.reported(envoy, report, at_ms))
    }

    /// Where an Envoy is connected, and what it runs on.
    fn note_state(&mut self, envoy: &str, update: &EnvoyUpdate, at_ms: Millis) {
        if self
            .get(envoy)
            .is_none_or(|known| known.connection != Some(update.connection))
        {
            self.hello_elsewhere(&update.hello, update.connection, at_ms);
        }
        let says_more = |ack: &&SettingsAck| {
            self.get(envoy).is_some_and(|known| {
                if ack.accepted {
                    known.in_force != Some((ack.epoch.clone(), ack.revision)) || known.refused.is_some()
                } else {
                    known.refused.as_ref().map(|(refused, _)| *refused) != Some(ack.revision)
                }
            })
        };
        if let Some(ack) = update.ack.as_ref().filter(says_more) {
            self.acknowledged(envoy, ack, at_ms);
        }
        if !update.connected {
            self.gone(envoy, update.connection);
        }
    }
}
