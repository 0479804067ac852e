//! All Envoys of the fleet, and the way to each: here, or at another replica.

use super::streams::Streams;
use crate::kernel::clock::now_ms;
use crate::kernel::events::{Event, Events};
use crate::kernel::ids::Ids;
use crate::kernel::ports::RemoteEnvoys;
use crate::kernel::sync::lock;
use control_domain::breakers::status::breaker_event;
use control_domain::fleet::EnvoyUpdate;
use control_domain::fleet::{ConnectionId, Fleet, Reported};
use control_domain::telemetry::envoy_stats::{EnvoyStats, Statistics};
use optimizer_proto::answers;
use optimizer_proto::v1::command::Body as CommandBody;
use optimizer_proto::v1::control_message::Body;
use optimizer_proto::v1::{Command, CommandResult, ControlMessage, Hello, SettingsAck, TelemetryReport};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

/// An Envoy's name and its answer, if it gave one.
pub(crate) type Answer = (String, Option<CommandResult>);

#[derive(Debug, Default)]
struct State {
    fleet: Fleet,
    stats: EnvoyStats,
}

/// The fleet. Its lock is never held while another service is called.
#[derive(Debug)]
pub(crate) struct FleetService {
    state: Mutex<State>,
    streams: Streams,
    ids: Arc<Ids>,
    events: Events,
    remote: Arc<dyn RemoteEnvoys>,
    /// Told whenever an Envoy has done, acknowledged or refused something, or is gone.
    progress: Notify,
}

impl FleetService {
    pub(crate) fn new(ids: Arc<Ids>, events: Events, remote: Arc<dyn RemoteEnvoys>) -> Self {
        Self {
            state: Mutex::default(),
            streams: Streams::new(Arc::clone(&ids)),
            ids,
            events,
            remote,
            progress: Notify::new(),
        }
    }

    /// Looks at the Envoys and at their own statistics. For computations only: nothing else is asked meanwhile.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Fleet, &EnvoyStats) -> T) -> T {
        let state = lock(&self.state);
        look(&state.fleet, &state.stats)
    }

    // Envoys that come, tell and go.

    /// A name for a connection that begins now.
    pub(crate) fn connection_id(&self) -> ConnectionId {
        self.remote.connection_id().unwrap_or_else(|| self.ids.next())
    }

    /// An Envoy has introduced itself on a stream.
    pub(crate) fn hello(&self, envoy: &str, hello: &Hello, connection: ConnectionId) {
        lock(&self.state).fleet.hello(hello, connection, now_ms());
        self.remote.connected(envoy, hello, connection);
    }

    /// Makes a stream reachable for commands.
    pub(crate) fn attach(&self, connection: ConnectionId, envoy: &str, sender: mpsc::Sender<ControlMessage>) {
        self.streams.attach(connection, envoy, sender);
    }

    /// A stream ended.
    pub(crate) fn detach(&self, connection: ConnectionId, envoy: &str) {
        self.streams.detach(connection, envoy);
        lock(&self.state).fleet.gone(envoy, connection);
        self.remote.left(envoy, connection);
        self.notify_progress();
    }

    /// An Envoy has acknowledged or rejected a revision.
    pub(crate) fn acknowledged(&self, envoy: &str, ack: &SettingsAck) {
        lock(&self.state).fleet.acknowledged(envoy, ack, now_ms());
        self.remote.acknowledged(envoy, ack);
        self.notify_progress();
    }

    /// What an Envoy has sent cannot be: `cause`, and the field that shows it.
    pub(crate) fn refused_report(&self, envoy: &str, cause: &'static str, field: &str) {
        lock(&self.state).fleet.refused_report(envoy, cause, field, now_ms());
    }

    /// Merges a valid report, and announces its breaker transitions. Returns the Envoy's node id.
    pub(crate) fn reported(&self, envoy: &str, report: &TelemetryReport) -> (Reported, String) {
        let (reported, node) = {
            let mut state = lock(&self.state);
            let reported = state.fleet.reported(envoy, report, now_ms());
            (reported, state.fleet.node(envoy).to_owned())
        };
        if reported == Reported::Merged {
            self.announce_breakers(&node, report);
        }
        (reported, node)
    }

    /// Shares a report with the other replicas; it may be acknowledged to the Envoy when this returns.
    pub(crate) async fn share_report(&self, envoy: &str, report: TelemetryReport) {
        self.remote.reported(envoy, report).await;
    }

    /// An Envoy's own statistics.
    pub(crate) fn statistics(&self, node: &str, statistics: Statistics) {
        lock(&self.state).stats.report(node, statistics, now_ms());
    }

    /// What another replica reports of an Envoy.
    pub(crate) fn observe(&self, envoy: &str, update: &EnvoyUpdate, is_here: bool) {
        let observed = lock(&self.state).fleet.observe(envoy, update, is_here, now_ms());
        if let (Some(Reported::Merged), Some(report)) = (observed, &update.report) {
            self.announce_breakers(&update.hello.node_id, report);
        }
    }

    /// Forgets connections to replicas that are gone.
    pub(crate) fn keep_connections_of(&self, is_there: impl Fn(u64) -> bool) {
        lock(&self.state).fleet.keep_connections_of(is_there);
    }

    fn announce_breakers(&self, node: &str, report: &TelemetryReport) {
        let events = report.delta.iter().flat_map(|delta| &delta.breaker_events);
        events.for_each(|event| self.events.announce(Event::new("breaker", breaker_event(node, event))));
    }

    /// Something has come forward that others may wait for.
    pub(crate) fn notify_progress(&self) {
        self.progress.notify_waiters();
    }

    /// Returns with the next progress.
    pub(crate) fn progress(&self) -> Notified<'_> {
        self.progress.notified()
    }

    // Who is where.

    /// The number of this replica; `None` when there are no others.
    pub(crate) fn replica(&self) -> Option<u64> {
        self.remote.replica()
    }

    /// The newest stream of an Envoy that is connected here.
    pub(crate) fn connection_of(&self, envoy: &str) -> Option<ConnectionId> {
        self.streams.connection_of(envoy)
    }

    /// Whether an Envoy is connected here.
    pub(crate) fn is_here(&self, envoy: &str) -> bool {
        self.streams.has(envoy)
    }

    /// The names of the Envoys connected here.
    pub(crate) fn connected_here(&self) -> Vec<String> {
        self.streams.connected()
    }

    /// The names of the Envoys connected to any replica.
    pub(crate) fn connected_envoys(&self) -> Vec<String> {
        if self.remote.replica().is_none() {
            return self.connected_here();
        }
        self.read(|fleet, _| {
            let there = fleet.envoys().filter(|(_, envoy)| envoy.connection.is_some());
            there.map(|(name, _)| name.to_owned()).collect()
        })
    }

    /// Whether an Envoy is connected to any replica.
    pub(crate) fn is_connected(&self, envoy: &str) -> bool {
        self.read(|fleet, _| fleet.get(envoy).is_some_and(|envoy| envoy.connection.is_some()))
    }

    /// Envoys that were heard of a moment ago and are connected to no replica: nothing can be asked of them.
    pub(crate) fn recently_disconnected(&self) -> Vec<String> {
        self.read(|fleet, _| {
            let present = fleet.present(now_ms());
            let away = present.filter(|(_, envoy)| envoy.connection.is_none());
            away.map(|(name, _)| name.to_owned()).collect()
        })
    }

    /// When the process of an Envoy started; 0 when that is not known.
    pub(crate) fn started_ms(&self, envoy: &str) -> u64 {
        self.read(|fleet, _| fleet.get(envoy).map_or(0, |envoy| envoy.started_ms))
    }

    /// The node id of an Envoy.
    pub(crate) fn node(&self, envoy: &str) -> String {
        self.read(|fleet, _| fleet.node(envoy).to_owned())
    }

    /// The connected Envoys, of all or of those with this instance or node id.
    pub(crate) fn targets(&self, wanted: Option<&str>) -> Vec<String> {
        let connected = self.connected_envoys();
        let Some(wanted) = wanted else { return connected };
        self.read(|fleet, _| {
            let named = |name: &String| {
                let envoy = fleet.get(name);
                envoy.is_some_and(|envoy| name == wanted || envoy.node_id == wanted)
            };
            connected.into_iter().filter(named).collect()
        })
    }

    // Commands.

    /// Hands a command's result to whoever waits for it.
    pub(crate) fn answered(&self, envoy: &str, result: CommandResult) {
        self.streams.answered(envoy, result);
    }

    /// Sends a message over one stream. It is not answered.
    pub(crate) fn tell(&self, connection: ConnectionId, body: Body) {
        self.streams.tell(connection, body);
    }

    /// Sends a command to all Envoys connected here and waits for their answers; `None` for one that did not answer in time.
    pub(crate) async fn command_all_here(&self, body: CommandBody, timeout: Duration) -> Vec<Answer> {
        self.streams.command(answers::command(body), timeout).await
    }

    /// Sends a command to one Envoy that is connected here.
    pub(crate) async fn command_here(
        &self,
        envoy: &str,
        body: CommandBody,
        timeout: Duration,
    ) -> Option<CommandResult> {
        self.streams.command_to(envoy, answers::command(body), timeout).await
    }

    /// Sends a command of another replica to one Envoy that is connected here. Its answer is in the form which that replica reads.
    pub(crate) async fn relayed(&self, envoy: &str, command: Command, timeout: Duration) -> Option<CommandResult> {
        self.streams.command_to(envoy, command, timeout).await
    }

    /// Sends a command to one Envoy, here or at another replica; `None` when it is not connected or does not answer in time.
    pub(crate) async fn command(&self, envoy: &str, body: CommandBody, timeout: Duration) -> Option<CommandResult> {
        if self.is_here(envoy) || self.remote.replica().is_none() {
            return self.command_here(envoy, body, timeout).await;
        }
        let connection = self.read(|fleet, _| fleet.get(envoy).and_then(|envoy| envoy.connection))?;
        self.remote.ask(connection, envoy, body, timeout).await
    }

    /// Sends a command to all Envoys of all replicas, and names with no answer also those heard of a moment ago that are away.
    pub(crate) async fn command_all(self: &Arc<Self>, body: CommandBody, timeout: Duration) -> Vec<Answer> {
        let mut asking = JoinSet::new();
        for envoy in self.connected_envoys() {
            let (fleet, body) = (Arc::clone(self), body.clone());
            asking.spawn(async move {
                let answer = fleet.command(&envoy, body, timeout).await;
                (envoy, answer)
            });
        }
        let mut answers = asking.join_all().await;
        answers.extend(self.recently_disconnected().into_iter().map(|envoy| (envoy, None)));
        answers.sort_by(|one, other| one.0.cmp(&other.0));
        answers
    }
}
