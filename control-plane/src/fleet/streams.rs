//! The control streams: commands out, answers back.

use crate::kernel::sync::lock;
use crate::plane::Plane;
use control_domain::fleet::ConnectionId;
use optimizer_proto::v1::command::Body as CommandBody;
use optimizer_proto::v1::control_message::Body;
use optimizer_proto::v1::{Command, CommandResult, ControlMessage};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// The streams that stand, and who waits for an answer on them.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    senders: HashMap<ConnectionId, (String, mpsc::Sender<ControlMessage>)>,
    /// The newest connection of each Envoy.
    by_envoy: HashMap<String, ConnectionId>,
    /// By the command's id.
    waiting: HashMap<String, Waiting>,
}

/// Somebody waits for the answer to a command.
#[derive(Debug)]
struct Waiting {
    envoy: String,
    /// The stream that the command went over. With it the answer is lost.
    connection: ConnectionId,
    answer: oneshot::Sender<CommandResult>,
}

/// The name of an Envoy, one of its streams, and the way to it.
type Recipient = (String, ConnectionId, mpsc::Sender<ControlMessage>);

impl Streams {
    fn to(&self, envoy: &str) -> Option<Recipient> {
        let connection = *self.by_envoy.get(envoy)?;
        let (_, sender) = self.senders.get(&connection)?;
        Some((envoy.to_owned(), connection, sender.clone()))
    }

    fn attach(&mut self, connection: ConnectionId, envoy: &str, sender: mpsc::Sender<ControlMessage>) {
        self.senders.insert(connection, (envoy.to_owned(), sender));
        // One Envoy, one stream. The Hello of an abandoned one may come last, over another connection: were both kept, the end of that
        // one would leave an Envoy that is connected and not known to be. So the one before ends, and whoever speaks for the Envoy opens another.
        if let Some(before) = self.by_envoy.insert(envoy.to_owned(), connection) {
            self.senders.remove(&before);
        }
    }

    fn detach(&mut self, connection: ConnectionId, envoy: &str) {
        self.senders.remove(&connection);
        if self.by_envoy.get(envoy) == Some(&connection) {
            self.by_envoy.remove(envoy);
        }
        // Who waits for an answer over it need not wait until the deadline.
        self.waiting.retain(|_, waiting| waiting.connection != connection);
    }
}

impl Plane {
    /// Makes a stream reachable for commands.
    pub(crate) fn attach(&self, connection: ConnectionId, envoy: &str, sender: mpsc::Sender<ControlMessage>) {
        lock(&self.streams).attach(connection, envoy, sender);
    }

    /// A stream ended.
    pub(crate) fn detach(&self, connection: ConnectionId, envoy: &str) {
        lock(&self.streams).detach(connection, envoy);
        self.domain().fleet.gone(envoy, connection);
        if let Some(replicas) = &self.replicas {
            replicas.left(envoy, connection);
        }
        self.acknowledged.notify_waiters();
    }

    /// Hands a command's result to whoever waits for it. Nobody answers what another was asked.
    pub(crate) fn answered(&self, envoy: &str, result: CommandResult) {
        let mut streams = lock(&self.streams);
        let asked = streams.waiting.get(&result.id);
        if asked.is_none_or(|asked| asked.envoy != envoy) {
            return;
        }
        if let Some(waiting) = streams.waiting.remove(&result.id) {
            // Whoever asked may have given up.
            let _ = waiting.answer.send(result);
        }
    }

    /// Sends a command to all Envoys connected here and waits for their answers; `None` for one that did not answer in time.
    pub(crate) async fn command(&self, body: CommandBody, timeout: Duration) -> Vec<(String, Option<CommandResult>)> {
        let targets: Vec<Recipient> = lock(&self.streams)
            .senders
            .iter()
            .map(|(connection, (envoy, sender))| (envoy.clone(), *connection, sender.clone()))
            .collect();
        self.ask(targets, body, timeout).await
    }

    /// Sends a command to one Envoy, here or at another replica; `None` when it is not connected or does not answer in time.
    pub(crate) async fn command_to(&self, envoy: &str, body: CommandBody, timeout: Duration) -> Option<CommandResult> {
        if self.is_here(envoy) || self.replicas.is_none() {
            return self.command_here(envoy, body, timeout).await;
        }
        let replicas = self.replicas.as_ref()?;
        let connection = self.domain().fleet.get(envoy)?.connection?;
        replicas.ask_elsewhere(connection, envoy, body, timeout).await
    }

    /// Sends a command to one Envoy that is connected here.
    pub(crate) async fn command_here(
        &self,
        envoy: &str,
        body: CommandBody,
        timeout: Duration,
    ) -> Option<CommandResult> {
        let target = lock(&self.streams).to(envoy)?;
        let (_, answer) = self.ask(vec![target], body, timeout).await.pop()?;
        answer
    }

    /// Sends a command to all Envoys of all replicas, and names with no answer also those heard of a moment ago that are away.
    pub(crate) async fn command_everywhere(
        self: &Arc<Self>,
        body: CommandBody,
        timeout: Duration,
    ) -> Vec<(String, Option<CommandResult>)> {
        let mut asking = JoinSet::new();
        for envoy in self.everywhere() {
            let (plane, body) = (Arc::clone(self), body.clone());
            asking.spawn(async move {
                let answer = plane.command_to(&envoy, body, timeout).await;
                (envoy, answer)
            });
        }
        let mut answers = asking.join_all().await;
        answers.extend(self.away().into_iter().map(|envoy| (envoy, None)));
        answers.sort_by(|one, other| one.0.cmp(&other.0));
        answers
    }

    /// Sends a message over one stream. It is not answered.
    pub(crate) fn tell(&self, connection: ConnectionId, body: Body) {
        if let Some((_, sender)) = lock(&self.streams).senders.get(&connection) {
            // A stream that takes no more ends soon.
            let _ = sender.try_send(ControlMessage { body: Some(body) });
        }
    }

    /// The newest stream of an Envoy that is connected here.
    pub(crate) fn connection_of(&self, envoy: &str) -> Option<ConnectionId> {
        lock(&self.streams).by_envoy.get(envoy).copied()
    }

    /// Whether an Envoy is connected here.
    pub(crate) fn is_here(&self, envoy: &str) -> bool {
        lock(&self.streams).to(envoy).is_some()
    }

    /// The names of the Envoys connected here.
    pub(crate) fn connected(&self) -> Vec<String> {
        let mut names: Vec<String> = lock(&self.streams)
            .senders
            .values()
            .map(|(name, _)| name.clone())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    async fn ask(
        &self,
        targets: Vec<Recipient>,
        body: CommandBody,
        timeout: Duration,
    ) -> Vec<(String, Option<CommandResult>)> {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut asked = Vec::new();
        for (envoy, connection, sender) in targets {
            let id = format!("{}-{}", self.ids.process(), self.next_id());
            let (answer, answered) = oneshot::channel();
            let waiting = Waiting {
                envoy: envoy.clone(),
                connection,
                answer,
            };
            lock(&self.streams).waiting.insert(id.clone(), waiting);
            let command = Command {
                id: id.clone(),
                body: Some(body.clone()),
            };
            let sent = sender
                .try_send(ControlMessage {
                    body: Some(Body::Command(command)),
                })
                .is_ok();
            asked.push((envoy, id, sent.then_some(answered)));
        }
        let mut results = Vec::new();
        for (envoy, id, answered) in asked {
            let result = match answered {
                Some(answered) => tokio::time::timeout_at(deadline, answered)
                    .await
                    .ok()
                    .and_then(Result::ok),
                None => None,
            };
            lock(&self.streams).waiting.remove(&id);
            results.push((envoy, result));
        }
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_an_answer_over_a_stream_that_ends_waits_no_more() {
        let (mut streams, sender) = (Streams::default(), mpsc::channel(1).0);
        let (old, new) = (1, 2);
        streams.attach(old, "envoy", sender.clone());
        let mut asked = Vec::new();
        for (id, connection) in [("a", old), ("b", new)] {
            let (answer, answered) = oneshot::channel();
            let envoy = "envoy".to_owned();
            let waiting = Waiting {
                envoy,
                connection,
                answer,
            };
            streams.waiting.insert(id.to_owned(), waiting);
            asked.push(answered);
        }
        streams.attach(new, "envoy", sender);
        streams.detach(old, "envoy");
        assert!(
            asked[0]
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
        );
        assert!(
            asked[1]
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Empty)
        );
        assert_eq!(streams.to("envoy").map(|(_, connection, _)| connection), Some(new));
    }
}
