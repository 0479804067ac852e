//! The control stream of an Envoy.

use super::pushed::Pushed;
use crate::breakers::BreakerService;
use crate::cache::WarmupService;
use crate::credentials::{KeySecret, Peer, Proofs};
use crate::fleet::{COMMANDS_QUEUED, FleetService};
use crate::kernel::clock::now_ms;
use crate::kernel::ids::Ids;
use crate::kernel::trace::Cause;
use crate::net::fault_of;
use crate::net::outbox::{self, Messages, Outbox};
use crate::purges::PurgeService;
use crate::settings::{Published, SettingsService};
use control_domain::fleet::{ConnectionId, Envoy, Fleet, Reported, instance};
use optimizer_proto::v1::control_link_server::ControlLink;
use optimizer_proto::v1::control_message::Body as ToFilter;
use optimizer_proto::v1::filter_message::Body as FromFilter;
use optimizer_proto::v1::{
    ControlMessage, FilterMessage, Hello, SettingsAck, SettingsPush, TelemetryAck, TelemetryReport, Welcome,
};
use prost::Message as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status, Streaming};

/// A stream must say hello within this time.
pub(crate) const HELLO: Duration = Duration::from_secs(10);

/// What control streams reach.
#[derive(Debug, Clone)]
pub(crate) struct LinkServices {
    pub(crate) settings: Arc<SettingsService>,
    pub(crate) fleet: Arc<FleetService>,
    pub(crate) purges: Arc<PurgeService>,
    pub(crate) breakers: Arc<BreakerService>,
    pub(crate) warmup: Arc<WarmupService>,
    pub(crate) key_secret: Arc<KeySecret>,
    pub(crate) proofs: Arc<Proofs>,
    pub(crate) ids: Arc<Ids>,
    /// Envoys' streams that were refused.
    pub(crate) refused: Arc<AtomicU64>,
}

/// The service.
#[derive(Debug)]
pub(crate) struct Link {
    services: LinkServices,
    stopped: watch::Receiver<bool>,
}

impl Link {
    pub(crate) fn new(services: LinkServices, stopped: watch::Receiver<bool>) -> Self {
        Self { services, stopped }
    }
}

#[tonic::async_trait]
impl ControlLink for Link {
    type ConnectStream = Messages<ControlMessage>;

    async fn connect(
        &self,
        request: Request<Streaming<FilterMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (sender, messages) = outbox::channel(Outbox::of(&request));
        let conversation = ControlSession {
            services: self.services.clone(),
            connection: self.services.fleet.connection_id(),
            envoy: String::new(),
            out: sender,
            peer: Peer::of(&request),
            sent: (String::new(), 0),
            pushed: Pushed::default(),
        };
        tokio::spawn(conversation.hold(request.into_inner(), self.stopped.clone()));
        Ok(Response::new(messages))
    }
}

fn message(body: ToFilter) -> ControlMessage {
    ControlMessage { body: Some(body) }
}

struct ControlSession {
    services: LinkServices,
    connection: ConnectionId,
    envoy: String,
    out: outbox::Sender<ControlMessage>,
    peer: Peer,
    /// Epoch and revision of the newest settings that it was sent.
    sent: (String, u64),
    pushed: Pushed,
}

impl ControlSession {
    async fn hold(mut self, mut incoming: Streaming<FilterMessage>, mut stopped: watch::Receiver<bool>) {
        let first = tokio::time::timeout(HELLO, incoming.message()).await;
        let hello = match first {
            Ok(Ok(Some(FilterMessage {
                body: Some(FromFilter::Hello(hello)),
            }))) => hello,
            other => {
                let fault = other.ok().and_then(Result::err);
                let refused = match fault.filter(|status| fault_of(status).is_some()) {
                    Some(fault) => {
                        self.services.refused.fetch_add(1, Ordering::Relaxed);
                        fault
                    }
                    None => Status::failed_precondition("the first message must be Hello"),
                };
                self.out.end(refused).await;
                return;
            }
        };
        self.envoy = instance(&hello);
        if let Err(refused) = self.admit(&hello) {
            self.services.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                envoy = self.envoy,
                node = hello.node_id,
                reason = refused.message(),
                "Envoy refused"
            );
            self.out.end(refused).await;
            return;
        }
        let services = self.services.clone();
        services.fleet.hello(&self.envoy, &hello, self.connection);
        let mut caught_up = services.settings.catch_up_with(&hello).await;
        let (commands, mut to_send) = mpsc::channel(COMMANDS_QUEUED);
        services.fleet.attach(self.connection, &self.envoy, commands);
        tracing::info!(
            envoy = self.envoy,
            node = hello.node_id,
            version = hello.filter_version,
            "Envoy connected"
        );
        let mut secret = services.key_secret.follow();
        let mut proofs = services.proofs.follow();
        let welcome = self.welcome(secret.borrow_and_update().clone());
        let mut published = services.settings.follow();
        let mut last = name_of(published.borrow_and_update().to(&self.envoy));
        let mut open = self.send(ToFilter::Welcome(welcome)).await;
        let alone = services.settings.leaves_alone(&self.envoy, &hello);
        if alone {
            last = (String::new(), 0);
            let (settings, envoy) = (Arc::clone(&services.settings), self.envoy.clone());
            tokio::spawn(async move { settings.adopt_from(&envoy).await });
        } else {
            // Whatever it was that changed them, this comes from the Envoy that came.
            open = open && self.push(&published, &Cause::default()).await;
        }
        tokio::spawn(Arc::clone(&services.purges).replay_missed(self.envoy.clone()));
        services.warmup.connected(&self.envoy);
        let (breakers, envoy) = (Arc::clone(&services.breakers), self.envoy.clone());
        tokio::spawn(async move { breakers.replay_missed(&envoy).await });
        let peer = self.peer.clone();
        let mut revoked = pin!(peer.revoked());
        let mut catching_up = pin!(services.settings.keep_catching_up_with(&hello));
        while open {
            open = tokio::select! {
                refused = &mut revoked => {
                    self.services.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(envoy = self.envoy, reason = refused.message(), "Envoy refused");
                    self.out.end(refused).await;
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
                changed = published.changed() => if alone && services.settings.is_in_doubt() {
                    changed.is_ok()
                } else {
                    // Only the newest matters: an Envoy that was slow skips what came between.
                    let named = name_of(published.borrow_and_update().to(&self.envoy));
                    // Envoys outside of a canary get nothing new by it.
                    let changed_names = named != std::mem::replace(&mut last, named.clone());
                    let cause = published.borrow().cause().clone();
                    changed.is_ok() && (!changed_names || self.push(&published, &cause).await)
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
                    Some(command) => self.hand_on(command).await,
                    // Another stream has taken its place.
                    None => false,
                },
                () = &mut catching_up, if !caught_up => {
                    caught_up = true;
                    true
                }
                _ = stopped.changed() => false,
            };
        }
        services.fleet.detach(self.connection, &self.envoy);
        tracing::info!(envoy = self.envoy, "Envoy disconnected");
    }

    /// Whether the sender may use this name. If its process is connected and reports, or was here before, it must
    /// present the proof from its first Welcome: receipts and figures are recorded under its name.
    fn admit(&self, hello: &Hello) -> Result<(), Status> {
        if let Some(field) = Fleet::too_long(hello) {
            return Err(Status::invalid_argument(format!("{field} of Hello is too long")));
        }
        self.peer.speaks_for(&hello.node_id)?;
        if self.is_known() && !self.services.proofs.holds(&self.envoy, &hello.proof) {
            return Err(Status::already_exists(
                "this Envoy has been here; another stream in its name must prove that it is the same",
            ));
        }
        Ok(())
    }

    /// Whether its process has been welcomed before. What it answers comes after the Welcome, so whoever has answered has its proof.
    fn is_known(&self) -> bool {
        let LinkServices {
            fleet, proofs, purges, ..
        } = &self.services;
        let (answered, reports) = fleet.read(|fleet, _| {
            let answered = fleet.get(&self.envoy).is_some_and(Envoy::has_answered);
            (answered, fleet.is_reporting(&self.envoy, now_ms()))
        });
        // An earlier process has met it. Under a key of that time, which is the replicas' as soon as they agree.
        let keyed = proofs.is_persistent() && fleet.replica().is_none();
        answered || reports || (keyed && purges.knows(&self.envoy))
    }

    /// Sends the settings as they are when there is memory for them: they are not copied before.
    async fn push(&mut self, published: &watch::Receiver<Arc<Published>>, cause: &Cause) -> bool {
        let bytes = message(ToFilter::Settings(SettingsPush::default())).encoded_len()
            + published.borrow().to(&self.envoy).encoded_len();
        let Some(reservation) = self.out.reserve(bytes).await else {
            return false;
        };
        let push = published.borrow().to(&self.envoy).clone();
        self.sent = (push.epoch.clone(), push.revision.max(self.newest_sent(&push.epoch)));
        self.pushed.begin(&self.envoy, push.revision, cause);
        self.out.send(message(ToFilter::Settings(push)), reservation).await
    }

    /// The newest revision of a history that it was sent.
    fn newest_sent(&self, epoch: &str) -> u64 {
        let (of, revision) = &self.sent;
        if of == epoch { *revision } else { 0 }
    }

    /// Nobody has in force what it was not sent. What it has of another history, or had before it came here, proves nothing about ours.
    fn acknowledge(&self, ack: &SettingsAck) {
        let ours = self.services.settings.published().epoch() == ack.epoch;
        if ours && ack.revision > self.newest_sent(&ack.epoch) {
            let field = "settings_ack.revision";
            self.services.fleet.refused_report(&self.envoy, "not_sent", field);
            tracing::warn!(
                envoy = self.envoy,
                revision = ack.revision,
                "a revision acknowledged that it was not sent"
            );
            return;
        }
        self.services.fleet.acknowledged(&self.envoy, ack);
    }

    /// The stream ended with an error. A message too large to be read or not readable at all is the Envoy's fault and is counted; it
    /// costs the stream, which the Envoy opens again.
    fn broken(&self, status: &Status) {
        let Some(cause) = fault_of(status) else { return };
        self.services.fleet.refused_report(&self.envoy, cause, "message");
        tracing::warn!(envoy = self.envoy, cause, %status, "message refused");
    }

    fn welcome(&self, key_secret: Vec<u8>) -> Welcome {
        Welcome {
            control_plane_id: self.services.ids.process().to_owned(),
            protocol: optimizer_proto::PROTOCOL,
            key_secret,
            proof: self.services.proofs.of(&self.envoy),
        }
    }

    async fn send(&self, body: ToFilter) -> bool {
        self.hand_on(message(body)).await
    }

    async fn hand_on(&self, message: ControlMessage) -> bool {
        match self.out.reserve(message.encoded_len()).await {
            Some(reservation) => self.out.send(message, reservation).await,
            None => false,
        }
    }

    async fn take(&mut self, message: FilterMessage) -> bool {
        match message.body {
            Some(FromFilter::SettingsAck(ack)) => {
                self.pushed.end(&ack);
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
                if self.merge(&report) {
                    self.services.fleet.share_report(&self.envoy, report).await;
                }
                self.send(ToFilter::TelemetryAck(TelemetryAck { sequence })).await
            }
            Some(FromFilter::CommandResult(result)) => {
                self.services.fleet.answered(&self.envoy, result);
                true
            }
            Some(FromFilter::Hello(_)) | None => true,
        }
    }

    /// A report that cannot be is counted and dropped, and acknowledged all the same: sent again it would be no better.
    /// True when it was merged.
    fn merge(&self, report: &TelemetryReport) -> bool {
        let LinkServices {
            fleet,
            purges,
            settings,
            ..
        } = &self.services;
        if let Err(refused) = optimizer_proto::telemetry::check_report(report, now_ms()) {
            let cause = refused.fault.as_str();
            fleet.refused_report(&self.envoy, cause, &refused.field);
            tracing::warn!(envoy = self.envoy, field = %refused.field, fault = refused.fault.as_str(), "telemetry refused");
            return false;
        }
        if report.instance_id != self.envoy {
            fleet.refused_report(&self.envoy, "foreign", "instance_id");
            tracing::warn!(
                envoy = self.envoy,
                named = report.instance_id,
                "telemetry of another Envoy refused"
            );
            return false;
        }
        let (reported, node) = fleet.reported(&self.envoy, report);
        match reported {
            Reported::Merged => {
                let made = report.delta.iter().flat_map(|delta| &delta.purges);
                made.for_each(|made| purges.made_by_client(&self.envoy, &node, made));
                let found = report.delta.iter().flat_map(|delta| &delta.findings);
                found.for_each(|found| settings.found(&self.envoy, &node, found));
                return true;
            }
            Reported::Duplicate => tracing::debug!(envoy = self.envoy, "telemetry seen before"),
            Reported::Stranger => tracing::debug!(envoy = self.envoy, "telemetry of an Envoy forgotten meanwhile"),
        }
        false
    }
}

/// The name of settings: their history, and the number in it. Histories may have the same numbers.
fn name_of(push: &SettingsPush) -> (String, u64) {
    (push.epoch.clone(), push.revision)
}
