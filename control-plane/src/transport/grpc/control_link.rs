//! The control stream of an Envoy.

use crate::credentials::Peer;
use crate::kernel::clock::now_ms;
use crate::kernel::events::Event;
use crate::plane::{COMMANDS_QUEUED, Plane};
use crate::purges::service;
use control_domain::breaker_status::breaker_event;
use control_domain::fleet::{ConnectionId, Envoy, Fleet, Reported, instance};
use optimizer_proto::v1::control_link_server::ControlLink;
use optimizer_proto::v1::control_message::Body as ToFilter;
use optimizer_proto::v1::filter_message::Body as FromFilter;
use optimizer_proto::v1::{
    ControlMessage, FilterMessage, Hello, SettingsAck, SettingsPush, TelemetryAck, TelemetryReport, Welcome,
};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

/// A stream must say hello within this time.
pub(crate) const HELLO: Duration = Duration::from_secs(10);

/// The service.
#[derive(Debug)]
pub(crate) struct Link {
    plane: Arc<Plane>,
    stopped: watch::Receiver<bool>,
}

impl Link {
    pub(crate) fn new(plane: Arc<Plane>, stopped: watch::Receiver<bool>) -> Self {
        Self { plane, stopped }
    }
}

#[tonic::async_trait]
impl ControlLink for Link {
    type ConnectStream = ReceiverStream<Result<ControlMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<FilterMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (sender, receiver) = mpsc::channel(COMMANDS_QUEUED);
        let conversation = Conversation {
            plane: Arc::clone(&self.plane),
            connection: self.plane.connection_id(),
            envoy: String::new(),
            out: sender,
            peer: Peer::of(&request),
            sent: (String::new(), 0),
        };
        tokio::spawn(conversation.hold(request.into_inner(), self.stopped.clone()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

struct Conversation {
    plane: Arc<Plane>,
    connection: ConnectionId,
    envoy: String,
    out: mpsc::Sender<Result<ControlMessage, Status>>,
    peer: Peer,
    /// Epoch and revision of the newest settings that it was sent.
    sent: (String, u64),
}

impl Conversation {
    async fn hold(mut self, mut incoming: Streaming<FilterMessage>, mut stopped: watch::Receiver<bool>) {
        let first = tokio::time::timeout(HELLO, incoming.message()).await;
        let Ok(Ok(Some(FilterMessage {
            body: Some(FromFilter::Hello(hello)),
        }))) = first
        else {
            let _ = self
                .out
                .send(Err(Status::failed_precondition("the first message must be Hello")))
                .await;
            return;
        };
        self.envoy = instance(&hello);
        if let Err(refused) = self.admit(&hello) {
            self.plane.streams_refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                envoy = self.envoy,
                node = hello.node_id,
                reason = refused.message(),
                "Envoy refused"
            );
            let _ = self.out.send(Err(refused)).await;
            return;
        }
        self.plane.domain().fleet.hello(&hello, self.connection, now_ms());
        if let Some(replicas) = &self.plane.replicas {
            replicas.connected(&self.envoy, &hello, self.connection);
        }
        self.plane.catch_up_with(&hello).await;
        let (commands, mut to_send) = mpsc::channel(COMMANDS_QUEUED);
        self.plane.attach(self.connection, &self.envoy, commands);
        tracing::info!(
            envoy = self.envoy,
            node = hello.node_id,
            version = hello.filter_version,
            "Envoy connected"
        );
        let mut secret = self.plane.key_secret.follow();
        let mut proofs = self.plane.proofs.follow();
        let welcome = self.welcome(secret.borrow_and_update().clone());
        let mut pushes = self.plane.follow();
        let mut last = pushes.borrow_and_update().to(&self.envoy).clone();
        let mut open = self.send(ToFilter::Welcome(welcome)).await;
        let alone = self.plane.leaves_alone(&self.envoy, &hello);
        if alone {
            last = SettingsPush::default();
            tokio::spawn(crate::settings::adopt::adopt_from(
                Arc::clone(&self.plane),
                self.envoy.clone(),
            ));
        } else {
            open = open && self.push(&last).await;
        }
        tokio::spawn(crate::purges::service::catch_up(
            Arc::clone(&self.plane),
            self.envoy.clone(),
        ));
        crate::cache::warmup::connected(&self.plane, &self.envoy);
        tokio::spawn(crate::breakers::service::catch_up(
            Arc::clone(&self.plane),
            self.envoy.clone(),
        ));
        let peer = self.peer.clone();
        let mut revoked = pin!(peer.revoked());
        while open {
            open = tokio::select! {
                refused = &mut revoked => {
                    self.plane.streams_refused.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(envoy = self.envoy, reason = refused.message(), "Envoy refused");
                    let _ = self.out.send(Err(refused)).await;
                    false
                }
                message = incoming.message() => match message {
                    Ok(Some(message)) => self.take(message).await,
                    Ok(None) => false,
                    Err(status) => {
                        self.broken(&status);
                        false
                    }
                },
                // One that is left alone is told of nothing that nobody has decided on.
                changed = pushes.changed() => if alone && self.plane.is_in_doubt() {
                    changed.is_ok()
                } else {
                    // Only the newest matters: an Envoy that was slow skips what came between.
                    let push = pushes.borrow_and_update().to(&self.envoy).clone();
                    // A canary is no news for the others.
                    let news = push.revision != last.revision;
                    last.clone_from(&push);
                    changed.is_ok() && (!news || self.push(&push).await)
                },
                changed = secret.changed() => {
                    let welcome = self.welcome(secret.borrow_and_update().clone());
                    changed.is_ok() && self.send(ToFilter::Welcome(welcome)).await
                }
                changed = proofs.changed() => {
                    let welcome = self.welcome(secret.borrow().clone());
                    changed.is_ok() && self.send(ToFilter::Welcome(welcome)).await
                }
                command = to_send.recv() => match command {
                    Some(command) => self.out.send(Ok(command)).await.is_ok(),
                    // Another stream has taken its place.
                    None => false,
                },
                _ = stopped.changed() => false,
            };
        }
        self.plane.detach(self.connection, &self.envoy);
        tracing::info!(envoy = self.envoy, "Envoy disconnected");
    }

    /// Whether the sender is who it says. One whose process is connected and reports, or has been here before, must show what that was told
    /// in its first Welcome: receipts and figures are in its name.
    fn admit(&self, hello: &Hello) -> Result<(), Status> {
        if let Some(field) = Fleet::too_long(hello) {
            return Err(Status::invalid_argument(format!("{field} of Hello is too long")));
        }
        self.peer.speaks_for(&hello.node_id)?;
        if self.is_known() && !self.plane.proofs.holds(&self.envoy, &hello.proof) {
            return Err(Status::already_exists(
                "this Envoy has been here; another stream in its name must prove that it is the same",
            ));
        }
        Ok(())
    }

    /// Whether its process has been welcomed before. What it answers comes after the Welcome, so whoever has answered has its proof.
    fn is_known(&self) -> bool {
        let domain = self.plane.domain();
        let answered = domain.fleet.get(&self.envoy).is_some_and(Envoy::has_answered);
        let reports = domain.fleet.is_reporting(&self.envoy, now_ms());
        // An earlier process has met it. Under a key of that time, which is the replicas' as soon as they agree.
        let keyed = self.plane.proofs.is_kept() && self.plane.replicas.is_none();
        answered || reports || (keyed && domain.purges.knows(&self.envoy))
    }

    async fn push(&mut self, push: &SettingsPush) -> bool {
        self.sent = (push.epoch.clone(), push.revision.max(self.newest_sent(&push.epoch)));
        self.send(ToFilter::Settings(push.clone())).await
    }

    /// The newest revision of a history that it was sent.
    fn newest_sent(&self, epoch: &str) -> u64 {
        let (of, revision) = &self.sent;
        if of == epoch { *revision } else { 0 }
    }

    /// Nobody has in force what it was not sent. What it has of another history, or had before it came here, proves nothing about ours.
    fn acknowledge(&self, ack: &SettingsAck) {
        let ours = self.plane.domain().book.epoch() == ack.epoch;
        if ours && ack.revision > self.newest_sent(&ack.epoch) {
            let mut domain = self.plane.domain();
            domain
                .fleet
                .refused_report(&self.envoy, "not_sent", "settings_ack.revision", now_ms());
            tracing::warn!(
                envoy = self.envoy,
                revision = ack.revision,
                "a revision acknowledged that it was not sent"
            );
            return;
        }
        self.plane.domain().fleet.acknowledged(&self.envoy, ack, now_ms());
        if let Some(replicas) = &self.plane.replicas {
            replicas.acknowledged(&self.envoy, ack);
        }
        self.plane.acknowledged.notify_waiters();
    }

    /// The stream ended with an error. A message too large to be read or not readable at all is the Envoy's fault and is counted; it
    /// costs the stream, which the Envoy opens again.
    fn broken(&self, status: &Status) {
        let cause = match status.code() {
            Code::OutOfRange | Code::ResourceExhausted => "too_large",
            Code::Internal if status.message().contains("decode") => "unreadable",
            _ => return,
        };
        self.plane
            .domain()
            .fleet
            .refused_report(&self.envoy, cause, "message", now_ms());
        tracing::warn!(envoy = self.envoy, cause, %status, "message refused");
    }

    fn welcome(&self, key_secret: Vec<u8>) -> Welcome {
        Welcome {
            control_plane_id: self.plane.ids.process().to_owned(),
            protocol: optimizer_proto::PROTOCOL,
            key_secret,
            proof: self.plane.proofs.of(&self.envoy),
        }
    }

    async fn send(&self, body: ToFilter) -> bool {
        self.out.send(Ok(ControlMessage { body: Some(body) })).await.is_ok()
    }

    async fn take(&self, message: FilterMessage) -> bool {
        match message.body {
            Some(FromFilter::SettingsAck(ack)) => {
                if ack.accepted {
                    tracing::debug!(envoy = self.envoy, revision = ack.revision, "settings in force");
                } else {
                    tracing::warn!(envoy = self.envoy, revision = ack.revision, violations = ?ack.violations.first(), "settings refused");
                }
                self.acknowledge(&ack);
                true
            }
            Some(FromFilter::Telemetry(report)) => {
                let sequence = report.sequence;
                let replicas = self.plane.replicas.clone();
                let shared = replicas.map(|replicas| (replicas, report.clone()));
                if self.merge(report)
                    && let Some((replicas, report)) = shared
                {
                    replicas.reported(&self.envoy, report).await;
                }
                self.send(ToFilter::TelemetryAck(TelemetryAck { sequence })).await
            }
            Some(FromFilter::CommandResult(result)) => {
                self.plane.answered(&self.envoy, result);
                true
            }
            Some(FromFilter::Hello(_)) | None => true,
        }
    }

    /// A report that cannot be is counted and dropped, and acknowledged all the same: sent again it would be no better.
    /// True when it was merged.
    fn merge(&self, report: TelemetryReport) -> bool {
        let now_ms = now_ms();
        let mut domain = self.plane.domain();
        if let Err(refused) = optimizer_proto::telemetry::check_report(&report, now_ms) {
            let cause = refused.fault.as_str();
            domain.fleet.refused_report(&self.envoy, cause, &refused.field, now_ms);
            drop(domain);
            tracing::warn!(envoy = self.envoy, field = %refused.field, fault = refused.fault.as_str(), "telemetry refused");
            return false;
        }
        if report.instance_id != self.envoy {
            domain
                .fleet
                .refused_report(&self.envoy, "foreign", "instance_id", now_ms);
            drop(domain);
            tracing::warn!(
                envoy = self.envoy,
                named = report.instance_id,
                "telemetry of another Envoy refused"
            );
            return false;
        }
        match domain.fleet.reported(&self.envoy, &report, now_ms) {
            Reported::Merged => {
                let node = domain.fleet.node(&self.envoy).to_owned();
                drop(domain);
                let events = report.delta.iter().flat_map(|delta| &delta.breaker_events);
                events.for_each(|event| self.plane.announce(Event::new("breaker", breaker_event(&node, event))));
                let purges = report.delta.iter().flat_map(|delta| &delta.purges);
                purges.for_each(|made| service::made_by_client(&self.plane, &self.envoy, &node, made));
                return true;
            }
            Reported::Duplicate => tracing::debug!(envoy = self.envoy, "telemetry seen before"),
            Reported::Stranger => tracing::debug!(envoy = self.envoy, "telemetry of an Envoy forgotten meanwhile"),
        }
        false
    }
}
