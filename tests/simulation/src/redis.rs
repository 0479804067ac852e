//! Redis, as replicas of the control plane use it: each step is taken as a whole, an answer may be lost, and a failover may bring back an
//! older data set.

use control_domain::fleet::EnvoyUpdate;
use control_domain::purges::tier_order::{Fence, Known, Subject};
use control_domain::settings::shared_state::SharedState;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// A replica that was not there for so long is gone.
const GONE_MS: u64 = 5_000;
/// Data sets that a failover may bring back.
const KEPT: usize = 5;

/// Names a state of the settings; 0 = there is none.
pub(crate) type Version = u64;
/// Key and variant.
pub(crate) type Slot = (Vec<u8>, u64);

/// What a replica appends to a stream.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// A fact as it is written in the journal.
    Fact(Rc<str>),
    Update(Rc<EnvoyUpdate>),
}

/// A stored response of the shared tier.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fence: Fence,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) usable_until_ms: u64,
    pub(crate) ahead_ms: i64,
}

/// How far a replica has read the streams.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Places {
    pub(crate) journal: Fence,
    pub(crate) news: Fence,
}

/// What is asked in one step.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// The settings that are shared.
    Load,
    /// Settings in place of those named `base`.
    Put {
        base: Version,
        state: Box<SharedState>,
    },
    Append(Vec<Entry>),
    /// Whether the journal has what was read last, and the oldest entry of its own that a replica has not seen again.
    Has(Fence, Option<Fence>),
    /// What has come in the streams; whether the journal goes on is asked as in `Has`.
    Read(Places, Option<Fence>),
    /// I am here; who else is?
    Beat,
    /// A purge of everything where the server is another one; then the newest place, and the first from each of the known ones on.
    LookAtOrder(Known),
    /// All purges after a place.
    OrderAfter(Fence),
    Purge(Vec<Subject>),
    /// A value, and then all purges from a place on.
    Get {
        slot: Slot,
        from: Fence,
    },
    Set {
        slot: Slot,
        value: Rc<Value>,
    },
}

/// An answer to it.
#[derive(Debug)]
pub(crate) enum Answer {
    Loaded(Option<(Version, SharedState)>),
    /// `None`: another state was put since.
    Put(Option<Version>),
    /// The ids in the journal.
    Appended(Vec<Fence>),
    Has(bool),
    Read(Batch),
    Alive(Vec<u64>),
    Order {
        newest: Option<Fence>,
        from_read: Option<Fence>,
        from_newest: Option<Fence>,
    },
    Purges(Vec<(Fence, Subject)>),
    /// The place of the last.
    Purged(Fence),
    Got {
        value: Option<Rc<Value>>,
        purges: Vec<(Fence, Subject)>,
    },
    Set,
}

/// What has come in the streams.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The journal still has what was read last.
    pub(crate) goes_on: bool,
    pub(crate) facts: Vec<Rc<str>>,
    /// Entries of the journal that the reader wrote itself.
    pub(crate) own: Vec<Fence>,
    pub(crate) updates: Vec<Rc<EnvoyUpdate>>,
    pub(crate) places: Places,
    /// The settings have changed since.
    pub(crate) version: Version,
}

#[derive(Debug, Clone)]
struct Stream<T> {
    entries: Vec<(Fence, u64, T)>,
    last: Fence,
}

impl<T> Default for Stream<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            last: Fence::default(),
        }
    }
}

impl<T: Clone> Stream<T> {
    fn append(&mut self, from: u64, item: T, now_ms: u64) -> Fence {
        self.last = self.last.next(now_ms);
        self.entries.push((self.last, from, item));
        self.last
    }

    fn has(&self, place: Fence) -> bool {
        self.entries.binary_search_by_key(&place, |entry| entry.0).is_ok()
    }

    fn from(&self, place: Fence) -> &[(Fence, u64, T)] {
        &self.entries[self.entries.partition_point(|entry| entry.0 < place)..]
    }

    /// What a replica itself has written after a place.
    fn own(&self, me: u64, place: Fence) -> Vec<Fence> {
        let after = self.entries.partition_point(|entry| entry.0 <= place);
        let own = self.entries[after..].iter().filter(|entry| entry.1 == me);
        own.map(|entry| entry.0).collect()
    }

    /// What others have written after a place.
    fn of_others(&self, me: u64, place: &mut Fence) -> Vec<T> {
        let after = self.entries.partition_point(|entry| entry.0 <= *place);
        let new = &self.entries[after..];
        *place = new.last().map_or(*place, |entry| entry.0);
        let others = new.iter().filter(|entry| entry.1 != me);
        others.map(|entry| entry.2.clone()).collect()
    }
}

#[derive(Debug, Clone, Default)]
struct Data {
    settings: Option<(Version, Rc<SharedState>)>,
    journal: Stream<Rc<str>>,
    news: Stream<Rc<EnvoyUpdate>>,
    alive: BTreeMap<u64, u64>,
    values: BTreeMap<Slot, Rc<Value>>,
    order: Stream<Subject>,
    /// The run of a server that the order was last looked into on.
    run: u64,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Redis {
    data: Data,
    run: u64,
    versions: Version,
    kept: VecDeque<Data>,
    /// Its clock against the world's.
    ahead_ms: i64,
}

impl Redis {
    pub(crate) fn new() -> Self {
        Self {
            data: Data::default(),
            run: 1,
            versions: 0,
            kept: VecDeque::new(),
            ahead_ms: 0,
        }
    }

    /// What a failover may bring back later.
    pub(crate) fn keep(&mut self) {
        self.kept.push_back(self.data.clone());
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
    }

    /// It starts again, with all its data.
    pub(crate) fn restart(&mut self) {
        self.run += 1;
    }

    /// Another server takes over, with the data of some while ago, or with none.
    pub(crate) fn fail_over(&mut self, back: usize, clock_ms: i64) {
        self.restart();
        let at = self.kept.len().checked_sub(back + 1);
        self.data = at.and_then(|at| self.kept.get(at).cloned()).unwrap_or_default();
        self.kept.clear();
        self.ahead_ms = clock_ms;
    }

    /// The number of the newest revision that is shared.
    pub(crate) fn revision(&self) -> u64 {
        let state = self.data.settings.as_ref();
        state.map_or(0, |(_, state)| state.history.present().number)
    }

    /// Takes a step for a replica.
    pub(crate) fn serve(&mut self, me: u64, ask: Ask, now_ms: u64) -> Answer {
        let now_ms = now_ms.saturating_add_signed(self.ahead_ms);
        let data = &mut self.data;
        match ask {
            Ask::Load => {
                let state = data.settings.as_ref();
                Answer::Loaded(state.map(|(version, state)| (*version, SharedState::clone(state))))
            }
            Ask::Put { base, state } => {
                let present = data.settings.as_ref().map_or(0, |(version, _)| *version);
                if base != present {
                    return Answer::Put(None);
                }
                self.versions += 1;
                data.settings = Some((self.versions, Rc::new(*state)));
                Answer::Put(Some(self.versions))
            }
            Ask::Append(entries) => {
                let mut ids = Vec::new();
                for entry in entries {
                    match entry {
                        Entry::Fact(text) => ids.push(data.journal.append(me, text, now_ms)),
                        Entry::Update(update) => drop(data.news.append(me, update, now_ms)),
                    }
                }
                Answer::Appended(ids)
            }
            Ask::Has(place, unseen) => {
                let has = |place| data.journal.has(place);
                Answer::Has(has(place) && unseen.is_none_or(has))
            }
            Ask::Read(mut places, unseen) => {
                let nothing_read = places.journal == Fence::default();
                let has = |place| data.journal.has(place);
                Answer::Read(Batch {
                    goes_on: (nothing_read || has(places.journal)) && unseen.is_none_or(has),
                    own: data.journal.own(me, places.journal),
                    facts: data.journal.of_others(me, &mut places.journal),
                    updates: data.news.of_others(me, &mut places.news),
                    places,
                    version: data.settings.as_ref().map_or(0, |(version, _)| *version),
                })
            }
            Ask::Beat => {
                data.alive.insert(me, now_ms);
                data.alive.retain(|_, at| at.saturating_add(GONE_MS) > now_ms);
                Answer::Alive(data.alive.keys().copied().collect())
            }
            Ask::LookAtOrder(known) => {
                if data.run != self.run {
                    data.run = self.run;
                    data.order.append(me, Subject::All, now_ms);
                }
                let first = |place| data.order.from(place).first().map(|entry| entry.0);
                Answer::Order {
                    newest: data.order.entries.last().map(|entry| entry.0),
                    from_read: first(known.read),
                    from_newest: first(known.newest),
                }
            }
            Ask::OrderAfter(place) => {
                let purges = purges(data.order.from(place));
                Answer::Purges(purges.into_iter().filter(|(at, _)| *at > place).collect())
            }
            Ask::Purge(subjects) => {
                let mut last = Fence::default();
                for subject in subjects {
                    last = data.order.append(me, subject, now_ms);
                }
                Answer::Purged(last)
            }
            Ask::Get { slot, from } => Answer::Got {
                value: data.values.get(&slot).cloned(),
                purges: purges(data.order.from(from)),
            },
            Ask::Set { slot, value } => {
                data.values.insert(slot, value);
                Answer::Set
            }
        }
    }
}

fn purges(entries: &[(Fence, u64, Subject)]) -> Vec<(Fence, Subject)> {
    entries.iter().map(|(at, _, subject)| (*at, subject.clone())).collect()
}
