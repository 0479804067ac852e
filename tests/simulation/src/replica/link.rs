//! Control streams of Envoys, as in `transport/grpc/control_link.rs`.

use super::{Act, Replica, Seen, StreamId};
use control_domain::fleet::{ConnectionId, Envoy, Reported, instance};
use control_domain::settings::recovery::ahead;
use control_domain::settings::reported::ReportedParts;
use optimizer_proto::telemetry::check_report;
use optimizer_proto::v1::control_message::Body as ToFilter;
use optimizer_proto::v1::filter_message::Body as FromFilter;
use optimizer_proto::v1::{FilterMessage, Hello, SettingsAck, SettingsPush, TelemetryAck, TelemetryReport, Welcome};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

#[derive(Debug)]
struct Connection {
    envoy: String,
    number: ConnectionId,
    /// What was missing when it began.
    missing: BTreeSet<String>,
    /// Epoch and revision of the newest settings that it was sent.
    sent: (String, u64),
    last: SettingsPush,
    /// It is left on what it has while nobody has decided on settings.
    alone: bool,
}

/// The streams that stand.
#[derive(Debug, Default)]
pub(super) struct Links {
    streams: BTreeMap<StreamId, Connection>,
    /// The newest stream of each Envoy.
    pub(super) by_envoy: BTreeMap<String, StreamId>,
    /// Streams whose Envoy, named, knows a later revision, which is looked into first.
    held_up: BTreeMap<StreamId, (String, ConnectionId)>,
    pub(super) last_connection_ms: u64,
}

impl Links {
    /// A purge was reopened: those that are being told of what they missed may be told of it later.
    pub(super) fn reopened(&mut self, purge: &str) {
        for connection in self.streams.values_mut() {
            connection.missing.remove(purge);
        }
    }

    /// What was missing when a stream began, if it stands.
    pub(super) fn missing_at_first(&self, stream: StreamId) -> Option<&BTreeSet<String>> {
        self.streams.get(&stream).map(|connection| &connection.missing)
    }
}

impl Replica {
    /// Envoys whose stream is open.
    pub(crate) fn connected_envoys(&self) -> Vec<String> {
        self.links.by_envoy.keys().cloned().collect()
    }

    /// A proof is a name nobody else is given; replicas agree on the key for them.
    pub(crate) fn proof(envoy: &str) -> Vec<u8> {
        format!("proof of {envoy}").into_bytes()
    }

    /// A message from an Envoy, or from somebody who says to be one.
    pub(crate) fn message(&mut self, stream: StreamId, bytes: &[u8], now_ms: u64) {
        let Ok(FilterMessage { body: Some(body) }) = FilterMessage::decode(bytes) else {
            return;
        };
        if self.links.held_up.contains_key(&stream) {
            return;
        }
        let known = self.links.streams.get(&stream);
        match (known.map(|connection| connection.envoy.clone()), body) {
            (None, FromFilter::Hello(hello)) => self.hello(stream, hello, now_ms),
            (None, _) => self.acts.push(Act::End(stream)),
            (Some(envoy), FromFilter::SettingsAck(ack)) => self.acknowledged(stream, envoy, &ack, now_ms),
            (Some(envoy), FromFilter::Telemetry(report)) => self.reported(stream, &envoy, report, now_ms),
            (Some(envoy), FromFilter::CommandResult(result)) => self.answered(&envoy, &result, now_ms),
            (Some(_), FromFilter::Hello(_)) => {}
        }
    }

    /// A stream ended.
    pub(crate) fn closed(&mut self, stream: StreamId, now_ms: u64) {
        if let Some((envoy, number)) = self.links.held_up.remove(&stream) {
            self.fleet.gone(&envoy, number);
            self.tell_left(&envoy, number, now_ms);
        }
        if let Some(connection) = self.links.streams.remove(&stream) {
            if self.links.by_envoy.get(&connection.envoy) == Some(&stream) {
                self.links.by_envoy.remove(&connection.envoy);
            }
            self.fleet.gone(&connection.envoy, connection.number);
            self.tell_left(&connection.envoy, connection.number, now_ms);
        }
        self.give_up(|asked| asked.over == stream, now_ms);
    }

    fn hello(&mut self, stream: StreamId, hello: Hello, now_ms: u64) {
        let envoy = instance(&hello);
        let answered = self.fleet.get(&envoy).is_some_and(Envoy::has_answered);
        let keyed = self.shared.is_none() && self.purging.log.knows(&envoy);
        let known = answered || self.fleet.is_reporting(&envoy, now_ms) || keyed;
        if known && hello.proof != Self::proof(&envoy) || !self.is_ready() {
            self.acts.push(Act::End(stream));
            return;
        }
        let number = self.connection_id(now_ms);
        self.fleet.hello(&hello, number, now_ms);
        self.tell_connected(&envoy, &hello, number, now_ms);
        if ahead(&self.agreeing.history, None, &hello) > 0 {
            self.links.held_up.insert(stream, (envoy, number));
            self.recover(stream, number, hello, now_ms);
        } else {
            self.attach(stream, number, &hello, now_ms);
        }
    }

    /// Whether a stream stands.
    pub(super) fn is_open(&self, stream: StreamId) -> bool {
        self.links.streams.contains_key(&stream)
    }

    /// An Envoy's stream is made reachable, unless it has ended meanwhile.
    pub(super) fn attach_held_up(&mut self, stream: StreamId, number: ConnectionId, hello: &Hello, now_ms: u64) {
        if self.links.held_up.remove(&stream).is_some() {
            self.attach(stream, number, hello, now_ms);
        }
    }

    fn attach(&mut self, stream: StreamId, number: ConnectionId, hello: &Hello, now_ms: u64) {
        let envoy = instance(hello);
        let missing = self.missing(&envoy).unwrap_or_default();
        let alone = self.leaves_alone(&envoy, hello);
        let connection = Connection {
            envoy: envoy.clone(),
            number,
            missing: missing.into_iter().map(|purge| purge.id).collect(),
            sent: (String::new(), 0),
            last: SettingsPush::default(),
            alone,
        };
        self.links.streams.insert(stream, connection);
        // One Envoy, one stream: which of two is the abandoned one is not known, so whoever had one opens another.
        if let Some(before) = self.links.by_envoy.insert(envoy.clone(), stream) {
            if let Some(old) = self.links.streams.remove(&before) {
                self.fleet.gone(&envoy, old.number);
                self.tell_left(&envoy, old.number, now_ms);
            }
            self.acts.push(Act::End(before));
        }
        let welcome = Welcome {
            control_plane_id: format!("control-{}-{}", self.number, self.life),
            protocol: optimizer_proto::PROTOCOL,
            key_secret: vec![7; 32],
            proof: Self::proof(&envoy),
        };
        self.send(stream, ToFilter::Welcome(welcome));
        if alone {
            self.ask_settings_of(&envoy, ReportedParts::default(), now_ms);
        } else {
            self.push(stream);
        }
        self.replay_missed(&envoy, now_ms);
        self.tell_overrides(&envoy, now_ms);
    }

    fn push(&mut self, stream: StreamId) {
        let history = &self.agreeing.history;
        let present = history.present();
        let push = SettingsPush {
            revision: present.number,
            document: present.document.to_string().into_bytes(),
            epoch: history.epoch().to_owned(),
        };
        let Some(connection) = self.links.streams.get_mut(&stream) else {
            return;
        };
        if connection.last == push {
            return;
        }
        connection.last = push.clone();
        let newest = if connection.sent.0 == push.epoch {
            connection.sent.1
        } else {
            0
        };
        connection.sent = (push.epoch.clone(), push.revision.max(newest));
        self.send(stream, ToFilter::Settings(push));
    }

    pub(super) fn push_to_all(&mut self, now_ms: u64) {
        let in_doubt = self.is_in_doubt(now_ms);
        let streams = self.links.streams.iter();
        let told = streams.filter(|(_, connection)| !(connection.alone && in_doubt));
        for stream in told.map(|(stream, _)| *stream).collect::<Vec<_>>() {
            self.push(stream);
        }
    }

    fn acknowledged(&mut self, stream: StreamId, envoy: String, ack: &SettingsAck, now_ms: u64) {
        let sent = self
            .links
            .streams
            .get(&stream)
            .map(|connection| connection.sent.clone());
        let newest = sent
            .filter(|(epoch, _)| *epoch == ack.epoch)
            .map_or(0, |(_, revision)| revision);
        if ack.epoch == self.agreeing.history.epoch() && ack.revision > newest {
            return;
        }
        self.fleet.acknowledged(&envoy, ack, now_ms);
        self.tell_acknowledged(&envoy, ack, now_ms);
        if ack.accepted {
            self.seen.push(Seen::InForce {
                envoy,
                epoch: ack.epoch.clone(),
                revision: ack.revision,
            });
        }
    }

    fn reported(&mut self, stream: StreamId, envoy: &str, report: TelemetryReport, now_ms: u64) {
        let sequence = report.sequence;
        let sound = check_report(&report, now_ms).is_ok() && report.instance_id == envoy;
        if sound && self.fleet.reported(envoy, &report, now_ms) == Reported::Merged {
            self.seen.push(Seen::Merged(Box::new(report.clone())));
            if self.share_report(stream, envoy, report, now_ms) {
                // It is acknowledged when the others can have it.
                return;
            }
        }
        self.send(stream, ToFilter::TelemetryAck(TelemetryAck { sequence }));
    }

    /// A report is taken: it may be acknowledged.
    pub(super) fn report_taken(&mut self, stream: StreamId, sequence: u64) {
        if self.links.streams.contains_key(&stream) {
            self.send(stream, ToFilter::TelemetryAck(TelemetryAck { sequence }));
        }
    }

    /// What another replica has heard of an Envoy.
    pub(super) fn observe(&mut self, update: &Rc<control_domain::fleet::EnvoyUpdate>, is_here: bool, now_ms: u64) {
        let envoy = instance(&update.hello);
        let observed = self.fleet.observe(&envoy, update, is_here, now_ms);
        if let (Some(Reported::Merged), Some(report)) = (observed, &update.report) {
            self.seen.push(Seen::Merged(Box::new(report.clone())));
        }
    }
}
