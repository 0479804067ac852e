//! Settings that replicas agree on before they are in force, as in `settings/{service,recovery,adopt}.rs`. One thing is done at a time.

use super::{Replica, Seen, StreamId, Wire};
use crate::redis::{Answer, Ask, Version};
use control_domain::fleet::ConnectionId;
use control_domain::settings::change::Change;
use control_domain::settings::doubt::{Doubt, is_decided};
use control_domain::settings::history::{Author, SettingsHistory};
use control_domain::settings::recovery::{Recoveries, ahead};
use control_domain::settings::reported::{ReportedParts, ReportedSettings};
use control_domain::settings::shared_state::{Reconciled, SharedState, reconcile};
use optimizer_proto::v1::{CommandResult, Hello};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

/// Conflicting writers are retried this many times.
const ATTEMPTS: u32 = 8;

/// How often a loss is looked into again.
const RETRY_MS: u64 = 5_000;

/// What is to be done.
#[derive(Debug)]
enum Wish {
    /// Take in what others have changed.
    Refresh,
    /// An operator's change: a setting by its JSON pointer, and its value.
    Change { setting: &'static str, value: Value },
    /// What an Envoy runs on, where there are no settings.
    Adopt(Box<ReportedSettings>),
    /// An Envoy knows a later revision.
    Recover {
        stream: StreamId,
        number: ConnectionId,
        hello: Box<Hello>,
        believed: bool,
    },
}

/// What it waits for.
#[derive(Debug)]
enum Doing {
    Load,
    /// A state made here; or one that is put back.
    Put {
        new: Box<SharedState>,
        back: bool,
    },
}

#[derive(Debug)]
struct Work {
    wish: Wish,
    attempts: u32,
    doing: Doing,
}

/// The settings.
#[derive(Debug)]
pub(super) struct Agreeing {
    pub(super) history: SettingsHistory,
    version: Version,
    /// What is shared has been seen since the start.
    joined: bool,
    wishes: VecDeque<Wish>,
    work: Option<Work>,
    recoveries: Recoveries,
    /// There was no disk at the start, and nobody has decided yet.
    doubt: Option<Doubt>,
    /// Envoys that know a later revision, which could not be looked into; by stream, with the moment to try again.
    ahead: BTreeMap<StreamId, (u64, ConnectionId, Hello)>,
}

impl Agreeing {
    /// `lost`: there was nothing on the disk.
    pub(super) fn new(history: SettingsHistory, lost: bool, now_ms: u64) -> Self {
        Self {
            doubt: lost.then(|| Doubt::since(now_ms)),
            ahead: BTreeMap::new(),
            history,
            version: 0,
            joined: false,
            wishes: VecDeque::new(),
            work: None,
            recoveries: Recoveries::default(),
        }
    }

    /// The name of the shared state that is in force here.
    pub(super) fn version(&self) -> Version {
        self.version
    }
}

impl Replica {
    /// Whether there are settings to go by.
    pub(crate) fn is_ready(&self) -> bool {
        let agreeing = &self.agreeing;
        self.shared.is_none() || agreeing.joined || !agreeing.history.is_untouched()
    }

    /// An operator changes the settings.
    pub(crate) fn change(&mut self, setting: &'static str, value: Value, now_ms: u64) {
        self.agreeing.wishes.push_back(Wish::Change { setting, value });
        self.fulfil(now_ms);
    }

    /// Looks at what is shared.
    pub(super) fn refresh(&mut self, now_ms: u64) {
        let asked = self.agreeing.wishes.iter().any(|wish| matches!(wish, Wish::Refresh));
        if !asked {
            self.agreeing.wishes.push_back(Wish::Refresh);
            self.fulfil(now_ms);
        }
    }

    pub(super) fn recover(&mut self, stream: StreamId, number: ConnectionId, hello: Hello, now_ms: u64) {
        self.agreeing.wishes.push_back(Wish::Recover {
            stream,
            number,
            hello: Box::new(hello),
            believed: false,
        });
        self.fulfil(now_ms);
    }

    /// Tries again what could not be looked into, as long as the stream stands.
    pub(super) fn keep_recovering(&mut self, now_ms: u64) {
        let waiting = std::mem::take(&mut self.agreeing.ahead);
        for (stream, (at_ms, number, hello)) in waiting {
            if !self.is_open(stream) {
            } else if at_ms > now_ms {
                self.agreeing.ahead.insert(stream, (at_ms, number, hello));
            } else if ahead(&self.agreeing.history, None, &hello) > 0 {
                self.recover(stream, number, hello, now_ms);
            }
        }
    }

    fn fulfil(&mut self, now_ms: u64) {
        while self.agreeing.work.is_none()
            && let Some(wish) = self.agreeing.wishes.pop_front()
        {
            match wish {
                _ if self.shared.is_none() => self.make(wish, 0, now_ms),
                _ if !self.is_up(Wire::Shared) => self.finish(wish, false, now_ms),
                Wish::Change { .. } | Wish::Adopt(_) => self.make(wish, 0, now_ms),
                Wish::Refresh | Wish::Recover { .. } => self.load(wish, 0),
            }
        }
    }

    fn load(&mut self, wish: Wish, attempts: u32) {
        let doing = Doing::Load;
        self.agreeing.work = Some(Work { wish, attempts, doing });
        self.ask_settings(Ask::Load);
    }

    fn agreed(&self) -> SharedState {
        SharedState {
            history: self.agreeing.history.clone(),
            canary: None,
            seen: BTreeMap::new(),
        }
    }

    /// Makes the state that is wished for, and puts it.
    fn make(&mut self, mut wish: Wish, attempts: u32, now_ms: u64) {
        let mut new = self.agreed();
        let is_new = match &mut wish {
            Wish::Refresh => false,
            Wish::Change { setting, value } => {
                let parts = setting.rsplit('/').filter(|name| !name.is_empty());
                let patch = parts.fold(value.clone(), |inner, name| json!({ name: inner }));
                let change = Change::Merge(patch);
                let author = Author {
                    source: "rest".to_owned(),
                    ..Author::default()
                };
                match new.history.propose(&change, None, author, now_ms) {
                    Ok(proposed) if proposed.changed => new.history.accept(proposed.revision),
                    _ => false,
                }
            }
            // Another Envoy may have been first.
            Wish::Adopt(_) if self.agreeing.doubt.is_none() => false,
            Wish::Adopt(told) => {
                let author = Author {
                    source: "adopted".to_owned(),
                    ..Author::default()
                };
                new.history.adopt(told.document.clone(), author, now_ms);
                true
            }
            Wish::Recover { hello, believed, .. } => {
                let ahead = ahead(&new.history, None, hello);
                *believed = *believed || self.agreeing.recoveries.believes(&hello.node_id, ahead, now_ms);
                if *believed && ahead > 0 {
                    let author = Author {
                        source: "recovery".to_owned(),
                        ..Author::default()
                    };
                    new.history.reissue(hello.revision, author, now_ms);
                }
                *believed && ahead > 0
            }
        };
        if !is_new {
            self.finish(wish, true, now_ms);
        } else if self.shared.is_none() {
            self.adopt(new, now_ms);
            self.finish(wish, true, now_ms);
        } else {
            let (base, new) = (self.agreeing.version, Box::new(new));
            self.put_settings(wish, attempts, base, new, false);
        }
    }

    fn put_settings(&mut self, wish: Wish, attempts: u32, base: Version, new: Box<SharedState>, back: bool) {
        let state = new.clone();
        let doing = Doing::Put { new, back };
        self.agreeing.work = Some(Work { wish, attempts, doing });
        self.ask_settings(Ask::Put { base, state });
    }

    /// Redis has answered; `None`: it cannot be said what has become of it.
    pub(super) fn settings_answered(&mut self, answer: Option<Answer>, now_ms: u64) {
        let Some(Work { wish, attempts, doing }) = self.agreeing.work.take() else {
            return;
        };
        match (doing, answer) {
            (Doing::Load, Some(Answer::Loaded(found))) => self.loaded(wish, attempts, found, now_ms),
            (Doing::Put { new, back }, Some(Answer::Put(Some(version)))) => {
                self.agreeing.version = version;
                self.adopt(*new, now_ms);
                if back {
                    self.refreshed(wish, attempts, now_ms);
                } else {
                    self.finish(wish, true, now_ms);
                }
            }
            (Doing::Put { .. }, Some(Answer::Put(None))) if attempts < ATTEMPTS => self.load(wish, attempts + 1),
            _ => self.finish(wish, false, now_ms),
        }
        self.fulfil(now_ms);
    }

    fn loaded(&mut self, wish: Wish, attempts: u32, found: Option<(Version, SharedState)>, now_ms: u64) {
        let (base, theirs) = found.unzip();
        let base = base.unwrap_or_default();
        if base == self.agreeing.version && base != 0 {
            self.refreshed(wish, attempts, now_ms);
            return;
        }
        match reconcile(self.agreed(), theirs, now_ms) {
            Reconciled::Adopt(theirs) => {
                self.agreeing.version = base;
                self.adopt(theirs, now_ms);
                self.refreshed(wish, attempts, now_ms);
            }
            Reconciled::PutBack(new) => self.put_settings(wish, attempts, base, Box::new(new), true),
        }
    }

    fn refreshed(&mut self, wish: Wish, attempts: u32, now_ms: u64) {
        match wish {
            Wish::Refresh => self.finish(wish, true, now_ms),
            _ => self.make(wish, attempts, now_ms),
        }
    }

    fn finish(&mut self, wish: Wish, done: bool, now_ms: u64) {
        match wish {
            Wish::Refresh => self.agreeing.joined |= done,
            Wish::Change { setting, .. } if done => {
                let (epoch, revision, document) = self.in_force();
                // As the settings write it.
                let value = document.pointer(setting).cloned().unwrap_or_default();
                self.seen.push(Seen::Written {
                    epoch,
                    revision,
                    setting,
                    value,
                });
            }
            Wish::Change { .. } | Wish::Adopt(_) => {}
            Wish::Recover {
                stream, number, hello, ..
            } => {
                if !done {
                    let again = (now_ms + RETRY_MS, number, Hello::clone(&hello));
                    self.agreeing.ahead.insert(stream, again);
                }
                self.attach_held_up(stream, number, &hello, now_ms);
            }
        }
    }

    pub(super) fn in_force(&self) -> (String, u64, Value) {
        let present = self.agreeing.history.present();
        let epoch = self.agreeing.history.epoch().to_owned();
        (epoch, present.number, present.document.clone())
    }

    /// A state comes into force: it is kept on this machine and pushed.
    fn adopt(&mut self, new: SharedState, now_ms: u64) {
        if new.history == self.agreeing.history {
            return;
        }
        if is_decided(&self.agreeing.history, &new.history) {
            self.agreeing.doubt = None;
        }
        self.disk.older = Some(std::mem::replace(&mut self.disk.history, new.history.clone()));
        self.agreeing.history = new.history;
        let (epoch, revision, document) = self.in_force();
        self.seen.push(Seen::Published {
            epoch,
            revision,
            document,
        });
        self.push_to_all(now_ms);
    }

    /// Whether an Envoy is left on the settings that it has.
    pub(super) fn leaves_alone(&mut self, envoy: &str, hello: &Hello) -> bool {
        let foreign = !hello.epoch.is_empty() && hello.epoch != self.agreeing.history.epoch();
        let doubt = self.agreeing.doubt.as_mut().filter(|_| foreign);
        doubt.is_some_and(|doubt| {
            doubt.note(envoy, String::new());
            true
        })
    }

    /// Whether nothing is pushed to Envoys that have settings.
    pub(super) fn is_in_doubt(&mut self, now_ms: u64) -> bool {
        self.agreeing.doubt.take_if(|doubt| doubt.is_over(now_ms));
        self.agreeing.doubt.is_some()
    }

    /// An Envoy has told a part of its settings, or all; `None`: it has not answered.
    pub(super) fn told(&mut self, envoy: &str, mut parts: ReportedParts, answer: Option<&CommandResult>, now_ms: u64) {
        match answer.map(|answer| parts.take_part(answer.clone())) {
            Some(Ok(None)) => self.ask_settings_of(envoy, parts, now_ms),
            Some(Ok(Some(told))) => {
                self.agreeing.wishes.push_back(Wish::Adopt(Box::new(told)));
                self.fulfil(now_ms);
            }
            Some(Err(_)) | None => {}
        }
    }
}
