//! The control streams of this replica: commands out, answers back.

use crate::kernel::ids::Ids;
use crate::kernel::sync::lock;
use control_domain::fleet::ConnectionId;
use optimizer_proto::v1::control_message::Body;
use optimizer_proto::v1::{Command, CommandResult, ControlMessage};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Commands that wait in a stream's queue; a stream that takes no more is given up on.
pub(crate) const COMMANDS_QUEUED: usize = 64;

/// The streams that stand, and who waits for an answer on them.
#[derive(Debug, Default)]
struct State {
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

impl State {
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

/// The streams.
#[derive(Debug)]
pub(super) struct Streams {
    state: Mutex<State>,
    ids: Arc<Ids>,
}

impl Streams {
    pub(super) fn new(ids: Arc<Ids>) -> Self {
        Self {
            state: Mutex::default(),
            ids,
        }
    }

    /// Makes a stream reachable for commands.
    pub(super) fn attach(&self, connection: ConnectionId, envoy: &str, sender: mpsc::Sender<ControlMessage>) {
        lock(&self.state).attach(connection, envoy, sender);
    }

    /// A stream ended.
    pub(super) fn detach(&self, connection: ConnectionId, envoy: &str) {
        lock(&self.state).detach(connection, envoy);
    }

    /// Hands a command's result to whoever waits for it. Nobody answers what another was asked.
    pub(super) fn answered(&self, envoy: &str, result: CommandResult) {
        let mut state = lock(&self.state);
        let asked = state.waiting.get(&result.id);
        if asked.is_none_or(|asked| asked.envoy != envoy) {
            return;
        }
        if let Some(waiting) = state.waiting.remove(&result.id) {
            // The caller may have timed out.
            let _ = waiting.answer.send(result);
        }
    }

    /// The newest stream of an Envoy that is connected here.
    pub(super) fn connection_of(&self, envoy: &str) -> Option<ConnectionId> {
        lock(&self.state).by_envoy.get(envoy).copied()
    }

    /// Whether an Envoy is connected here.
    pub(super) fn has(&self, envoy: &str) -> bool {
        lock(&self.state).to(envoy).is_some()
    }

    /// The names of the Envoys connected here.
    pub(super) fn connected(&self) -> Vec<String> {
        let mut names: Vec<String> = lock(&self.state)
            .senders
            .values()
            .map(|(name, _)| name.clone())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Sends a message over one stream. It is not answered.
    pub(super) fn tell(&self, connection: ConnectionId, body: Body) {
        if let Some((_, sender)) = lock(&self.state).senders.get(&connection) {
            // A stream that takes no more ends soon.
            let _ = sender.try_send(ControlMessage { body: Some(body) });
        }
    }

    /// Sends a command to all Envoys connected here and waits for their answers; `None` for one that did not answer in time.
    pub(super) async fn command(&self, command: Command, timeout: Duration) -> Vec<(String, Option<CommandResult>)> {
        let targets: Vec<Recipient> = lock(&self.state)
            .senders
            .iter()
            .map(|(connection, (envoy, sender))| (envoy.clone(), *connection, sender.clone()))
            .collect();
        self.ask(targets, command, timeout).await
    }

    /// Sends a command to one Envoy that is connected here.
    pub(super) async fn command_to(&self, envoy: &str, command: Command, timeout: Duration) -> Option<CommandResult> {
        let target = lock(&self.state).to(envoy)?;
        let (_, answer) = self.ask(vec![target], command, timeout).await.pop()?;
        answer
    }

    async fn ask(
        &self,
        targets: Vec<Recipient>,
        command: Command,
        timeout: Duration,
    ) -> Vec<(String, Option<CommandResult>)> {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut asked = Vec::new();
        for (envoy, connection, sender) in targets {
            let id = format!("{}-{}", self.ids.process(), self.ids.next());
            let (answer, answered) = oneshot::channel();
            let waiting = Waiting {
                envoy: envoy.clone(),
                connection,
                answer,
            };
            lock(&self.state).waiting.insert(id.clone(), waiting);
            let command = Command {
                id: id.clone(),
                ..command.clone()
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
            lock(&self.state).waiting.remove(&id);
            results.push((envoy, result));
        }
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use optimizer_proto::v1::SweepCommand;
    use optimizer_proto::v1::command::Body as CommandBody;

    #[tokio::test]
    async fn who_waits_for_an_answer_over_a_stream_that_ends_waits_no_more() {
        let (mut streams, sender) = (State::default(), mpsc::channel(1).0);
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

    #[tokio::test]
    async fn what_another_replica_asks_is_sent_as_it_asks_it_under_an_id_of_its_own() {
        let streams = Streams::new(Arc::new(Ids::new()));
        let (sender, mut asked) = mpsc::channel(8);
        streams.attach(1, "envoy", sender);
        for typed_answer in [true, false] {
            let command = Command {
                id: "foreign".to_owned(),
                typed_answer,
                body: Some(CommandBody::Sweep(SweepCommand::default())),
            };
            let answer = streams.command_to("envoy", command, Duration::from_secs(9));
            let envoy = async {
                let Some(Body::Command(command)) = asked.recv().await.and_then(|message| message.body) else {
                    panic!("no command")
                };
                let result = CommandResult {
                    id: command.id.clone(),
                    detail: r#"{"next":1}"#.to_owned(),
                    ..CommandResult::default()
                };
                streams.answered("envoy", result.clone());
                (command, result)
            };
            let (answer, (sent, result)) = tokio::join!(answer, envoy);
            assert_eq!(sent.typed_answer, typed_answer);
            assert_ne!(sent.id, "foreign");
            assert_eq!(
                answer,
                Some(result),
                "what the other replica reads itself is not changed"
            );
        }
    }
}
