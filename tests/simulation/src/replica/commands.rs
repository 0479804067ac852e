//! Commands to Envoys and their answers, as in `fleet/streams.rs`.

use super::{Replica, StreamId};
use control_domain::purges::Purge;
use control_domain::settings::reported::ReportedParts;
use optimizer_proto::answers;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::control_message::Body as ToFilter;
use optimizer_proto::v1::{Command, CommandResult};
use std::collections::{BTreeMap, VecDeque};

/// An Envoy gets so long to have a purge in force in all its workers.
const ANSWER_MS: u64 = 12_000;

/// A command under way.
#[derive(Debug)]
pub(super) struct AskedEnvoy {
    pub(super) envoy: String,
    /// With this stream the answer is lost.
    pub(super) over: StreamId,
    pub(super) deadline_ms: u64,
    task: Task,
}

/// Why it was sent.
#[derive(Debug)]
pub(super) enum Task {
    /// One purge to one Envoy.
    Tell(Box<Purge>),
    /// What it missed, one after the other; the first is under way. `None`: everything is purged before.
    CatchUp {
        stream: StreamId,
        under_way: Option<Box<Purge>>,
        rest: VecDeque<Purge>,
    },
    /// An override of a breaker.
    Override,
    /// What it runs on, where there are no settings.
    Settings(ReportedParts),
}

/// Commands that wait for an answer, by id.
#[derive(Debug, Default)]
pub(super) struct Commands {
    waiting: BTreeMap<String, AskedEnvoy>,
}

impl Replica {
    /// Commands under way, as somebody who guesses them would name them.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.commands.waiting.keys().cloned().collect()
    }

    /// Asks the newest stream of an Envoy; without one, or when it does not take it, that is no answer.
    pub(super) fn ask_envoy(&mut self, envoy: &str, body: Body, task: Task, now_ms: u64) {
        let id = self.id("command");
        let stream = self.links.by_envoy.get(envoy).copied();
        let asked = AskedEnvoy {
            envoy: envoy.to_owned(),
            over: stream.unwrap_or_default(),
            deadline_ms: now_ms + ANSWER_MS,
            task,
        };
        let Some(stream) = stream else {
            self.done(asked, None, now_ms);
            return;
        };
        self.commands.waiting.insert(id.clone(), asked);
        let command = Command {
            id,
            ..answers::command(body)
        };
        self.send(stream, ToFilter::Command(command));
    }

    /// An Envoy has answered. Nobody answers what another was asked.
    pub(super) fn answered(&mut self, envoy: &str, result: &CommandResult, now_ms: u64) {
        let asked = self.commands.waiting.get(&result.id);
        if asked.is_none_or(|asked| asked.envoy != envoy) {
            return;
        }
        if let Some(asked) = self.commands.waiting.remove(&result.id) {
            self.done(asked, Some(result), now_ms);
        }
    }

    /// Commands that nobody will answer are over.
    pub(super) fn give_up(&mut self, is_over: impl Fn(&AskedEnvoy) -> bool, now_ms: u64) {
        let over = self.commands.waiting.iter().filter(|(_, asked)| is_over(asked));
        for id in over.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            if let Some(asked) = self.commands.waiting.remove(&id) {
                self.done(asked, None, now_ms);
            }
        }
    }

    /// Asks an Envoy for the settings that it runs on.
    pub(super) fn ask_settings_of(&mut self, envoy: &str, parts: ReportedParts, now_ms: u64) {
        let body = Body::Settings(parts.next());
        self.ask_envoy(envoy, body, Task::Settings(parts), now_ms);
    }

    fn done(&mut self, asked: AskedEnvoy, answer: Option<&CommandResult>, now_ms: u64) {
        let envoy = asked.envoy;
        let ok = answer.is_some_and(|answer| answer.ok);
        match asked.task {
            Task::Override => {}
            Task::Settings(parts) => self.told(&envoy, parts, answer, now_ms),
            Task::Tell(purge) if ok => self.note_applied(&purge, &envoy, now_ms),
            Task::Tell(_) => {}
            Task::CatchUp { stream, .. } if !ok => self.end_catch_up(&envoy, stream, false),
            Task::CatchUp {
                stream,
                under_way,
                rest,
            } => {
                if let Some(purge) = under_way {
                    self.note_applied(&purge, &envoy, now_ms);
                }
                self.go_on(&envoy, stream, rest, now_ms);
            }
        }
    }
}
