//! The state of one VM, and what its root context's callbacks do with it.
//!
//! It lives in a thread-local rather than in a root context: a configuration update makes a new root in the same VM while
//! streams of the old one finish, and both must see one cache index, one recorder and one control link.

use super::bootstrap::Bootstrap;
use super::host::{Host, LogLevel};
use super::link::Link;
use super::settings_cell;
use super::wake::Wake;
use super::{instance, key_secret, lease, mailbox, registry};
use crate::Millis;
use crate::breaker;
use crate::collapse;
use crate::learned::{self, Learned};
use crate::limit;
use crate::policy::{self, Policies};
use crate::shared_map::Cas;
use crate::store::{Stamps, Store};
use crate::telemetry::{Connections, Lost, Recorder, TopKeys};
use optimizer_proto::settings::{Settings, Violation, ViolationCode};
use optimizer_proto::v1::SettingsPush;
use std::cell::RefCell;
use std::rc::Rc;

/// Period of the tick: the bound on how late a VM learns of anything when a wake-up was lost.
const TICK_MS: u32 = 200;
/// Period of heartbeat and telemetry.
const SECOND_MS: u64 = 1_000;
/// Directory pages written and read per tick: a few hundred microseconds of a worker at most.
const FLUSH_PAGES: usize = 64;
const MAINTAIN_PAGES: usize = 64;

/// A root context of this VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootId(pub u32);

/// The settings that this VM runs on.
#[derive(Debug, Default, Clone)]
pub(super) struct InForce {
    /// 0 with an empty epoch: the bootstrap settings.
    pub(super) revision: u64,
    pub(super) epoch: String,
    pub(super) seen: Option<Cas>,
}

/// One VM.
#[derive(Debug)]
pub struct Vm {
    pub(super) uid: u64,
    pub(super) root: Option<RootId>,
    pub(super) queue: u32,
    pub(super) bootstrap: Bootstrap,
    /// Checksum of this VM's module, where the control plane gave it; else empty.
    pub(super) module: String,
    pub(super) in_force: InForce,
    pub(super) key_secret: key_secret::Held,
    /// Swapped whole between two requests; a stream keeps the one it began with.
    pub(super) policies: Rc<Policies>,
    pub(super) store: Store,
    pub(super) stamps: Stamps,
    pub(super) recorder: Recorder,
    pub(super) lost: Lost,
    pub(super) top: TopKeys,
    pub(super) trust: super::trust::Trust,
    pub(super) link: Link,
    pub(super) leads: bool,
    pub(super) control: super::control::ControlState,
    pub(super) counts: super::purge_targets::CountBudget,
    pub(super) background: super::background::Background,
    pub(super) waiting: super::waiting::Waiting,
    pub(super) limiter: super::limiter::Limiter,
    pub(super) breakers: breaker::Watch,
    pub(super) unshared: collapse::Unshared,
    pub(super) varied: Learned,
    pub(super) shares: Learned,
    pub(super) added: Learned,
    /// Clusters and routes of which this VM has seen a reply on its way out.
    pub(super) shown: std::collections::HashSet<u64>,
    /// Flights this VM has begun: makes their numbers.
    pub(super) flights: u64,
    pub(super) tier: super::tier::TierClient,
    /// VMs alive, as of the last heartbeat.
    pub(super) workers: u32,
    pub(super) stats: super::stats::Stats,
    pub(super) forwarding: super::forwarding::Forwarding,
    pub(super) connections: Connections,
    /// Bytes of response bodies being captured in this VM at the moment.
    pub(super) capturing: usize,
    last_second_ms: Millis,
    /// The other VMs know of this one.
    joined: bool,
    /// A plugin configuration was taken.
    configured: bool,
}

thread_local! {
    static VM: RefCell<Option<Vm>> = const { RefCell::new(None) };
}

/// Runs `work` on this VM's state. `None` when a callback is inside another one, or before the VM started: the caller then
/// lets the request pass.
pub fn with<R>(work: impl FnOnce(&mut Vm) -> R) -> Option<R> {
    VM.with(|cell| {
        let mut slot = cell.try_borrow_mut().ok()?;
        Some(work(slot.get_or_insert_with(Vm::new)))
    })
}

impl Vm {
    /// A VM that has not started yet. It serves with the built-in settings.
    #[must_use]
    pub fn new() -> Self {
        let settings = Settings::default();
        Self {
            uid: 0,
            root: None,
            queue: 0,
            bootstrap: Bootstrap::default(),
            module: String::new(),
            in_force: InForce::default(),
            key_secret: key_secret::Held::unset(),
            store: Store::new(policy::store_limits(&settings), policy::eviction(&settings)),
            stamps: Stamps::default(),
            policies: Rc::new(Policies::compile(&settings)),
            recorder: Recorder::default(),
            lost: Lost::default(),
            top: TopKeys::default(),
            trust: super::trust::Trust::default(),
            link: Link::default(),
            leads: false,
            control: super::control::ControlState::default(),
            counts: super::purge_targets::CountBudget::default(),
            background: super::background::Background::default(),
            waiting: super::waiting::Waiting::default(),
            limiter: super::limiter::Limiter::default(),
            breakers: breaker::Watch::default(),
            unshared: collapse::Unshared::default(),
            varied: Learned::new(learned::VARIED),
            shares: Learned::new(learned::SHARES),
            added: Learned::new(learned::ADDED),
            shown: std::collections::HashSet::new(),
            flights: 0,
            tier: super::tier::TierClient::default(),
            workers: 1,
            stats: super::stats::Stats::default(),
            forwarding: super::forwarding::Forwarding::default(),
            connections: Connections::default(),
            capturing: 0,
            last_second_ms: 0,
            joined: false,
            configured: false,
        }
    }

    /// The configuration of the VM came: it names the module. What is longer than a name is none.
    pub fn on_vm_configuration(&mut self, name: &[u8]) {
        self.module = match std::str::from_utf8(name) {
            Ok(name) if name.len() <= 64 => name.to_owned(),
            _ => String::new(),
        };
    }

    /// A root context started; the first one of a process also creates what all VMs share.
    pub fn on_start(&mut self, host: &impl Host) {
        if self.uid == 0 {
            self.uid = host.random().max(1);
        }
        lease::seed(host);
        registry::seed(host);
        mailbox::seed(host);
        collapse::seed(host);
        Learned::seed(host);
        breaker::seed(host);
        limit::seed(host);
        super::forwarding::seed(host);
        Store::seed(host);
        Stamps::seed(host);
        instance::seed(host);
        self.key_secret.start(host);
    }

    /// A plugin configuration came. The newest root takes over from older ones.
    pub fn on_configure(&mut self, host: &impl Host, root: RootId, document: &[u8]) {
        if let Some(stream) = self.link.stream() {
            // It belongs to the old root, which Envoy will end without a word to us.
            host.cancel(stream);
        }
        self.link = Link::default();
        self.root = Some(root);
        match Bootstrap::parse(document) {
            Ok(bootstrap) => {
                self.bootstrap = bootstrap;
                self.configured = true;
            }
            Err(violations) => {
                if !self.configured {
                    // There is no last good one, and what was to be kept private is not known.
                    self.bootstrap.settings.cache_enabled = false;
                    host.log(
                        LogLevel::Error,
                        "no plugin configuration: nothing is cached until settings come",
                    );
                }
                for violation in violations {
                    let text = format!("plugin configuration refused, last good stays: {violation}");
                    host.log(LogLevel::Error, &text);
                }
            }
        }
        if self.in_force.epoch.is_empty() {
            self.apply(&self.bootstrap.settings.clone());
        }
        self.adopt(host);
        let name = format!("ao1-wake-{:016x}", self.uid);
        match host.register_queue(name.as_bytes()) {
            Ok(queue) => self.queue = queue,
            Err(error) => host.log(LogLevel::Warn, &format!("no wake-up queue, ticks must do: {error}")),
        }
        if let Err(error) = host.set_tick_ms(TICK_MS) {
            host.log(
                LogLevel::Error,
                &format!("no tick, settings and telemetry stand still: {error}"),
            );
        }
    }

    /// The tick.
    pub fn on_tick(&mut self, host: &impl Host, root: RootId) {
        if self.root != Some(root) {
            return;
        }
        let now_ms = host.now_ns() / 1_000_000;
        self.adopt(host);
        self.notice_pause(host, now_ms);
        self.breakers.hand_in(host, &self.policies.breaker, now_ms);
        self.leads = lease::hold(host, self.uid, now_ms);
        if now_ms.abs_diff(self.last_second_ms) >= SECOND_MS {
            self.last_second_ms = now_ms;
            self.each_second(host, now_ms);
        }
        self.keep_house(host, now_ms);
        self.drive_link(host, now_ms);
        self.run_background(host, now_ms);
        self.varied.refresh(host);
        self.shares.refresh(host);
        self.added.refresh(host);
        self.end_overdue_waits(host, now_ms);
        self.release_some(host, now_ms);
        self.run_tier(host, now_ms);
        self.serve_queues(host, now_ms);
    }

    /// Another VM, or this one, has put something into our queue.
    pub fn on_wake(&mut self, host: &impl Host, root: RootId, queue: u32) {
        if self.root != Some(root) {
            return;
        }
        let mut places = false;
        while let Some(item) = host.dequeue(queue) {
            let Some((said, rest)) = Wake::read(&item) else {
                continue;
            };
            let now_ms = host.now_ns() / 1_000_000;
            match said {
                Wake::Settings => {
                    self.adopt(host);
                    if let Ok(leader) = rest.try_into().map(u32::from_le_bytes) {
                        // A lost wake-up costs the leader one tick.
                        let _ = host.enqueue(leader, &[Wake::Adopted.byte()]);
                    }
                }
                Wake::Adopted => self.acknowledge_settings(host, now_ms),
                Wake::Stamps => self.adopt_purges(host, rest),
                Wake::Purged => self.acknowledge_purges(host, now_ms),
                Wake::Landed => self.end_wait(rest),
                Wake::Tier => self.run_tier(host, now_ms),
                Wake::Share => self.renew_places(host, true, now_ms),
                Wake::Place => places = true,
                Wake::Report => self.report_at_once(host, now_ms),
                Wake::Forwarding => self.forwarding.refresh(host),
                Wake::Work => self.run_background(host, now_ms),
                // Those are released below, whatever woke this VM.
                Wake::Ready => {}
            }
        }
        // Once, after the queue is empty: what these leave for a further callback is not to be taken up in this one.
        let now_ms = host.now_ns() / 1_000_000;
        if places {
            self.serve_queues(host, now_ms);
        }
        self.release_some(host, now_ms);
    }

    /// A root ends: its configuration was replaced, or Envoy shuts down. The last counts go out with it.
    pub fn on_root_done(&mut self, host: &impl Host, root: RootId) {
        if self.root != Some(root) {
            return;
        }
        let now_ms = host.now_ns() / 1_000_000;
        self.hand_over_counts(host);
        if self.leads {
            self.report(host, now_ms);
            lease::release(host, self.uid);
        }
    }

    /// Takes over the secret and the settings in the shared cells, if they are new to this VM.
    pub(super) fn adopt(&mut self, host: &impl Host) {
        self.key_secret.adopt(host, self.bootstrap.key_secret.as_ref());
        let Some((push, cas)) = settings_cell::changed(host, self.in_force.seen) else {
            return;
        };
        self.in_force.seen = Some(cas);
        match parse_document(&push.document) {
            Ok((settings, _)) => {
                self.apply(&settings);
                self.in_force.revision = push.revision;
                self.in_force.epoch = push.epoch;
                self.beat(host, host.now_ns() / 1_000_000);
            }
            // Only checked documents get into the cell; a filter of another version may have other rules.
            Err(violations) => {
                for violation in violations {
                    host.log(
                        LogLevel::Error,
                        &format!("settings revision {} refused: {violation}", push.revision),
                    );
                }
            }
        }
    }

    fn apply(&mut self, settings: &Settings) {
        self.policies = Rc::new(Policies::compile(settings));
        self.store.configure(self.policies.limits, policy::eviction(settings));
        self.share_copies();
    }

    /// Bounded work on the store: what was purged, hits to note, entries over the limits.
    fn keep_house(&mut self, host: &impl Host, now_ms: Millis) {
        self.stamps.refresh(host, now_ms);
        self.store.flush(host, FLUSH_PAGES);
        if self.leads {
            self.store.maintain(host, &self.stamps, MAINTAIN_PAGES, now_ms);
        }
        let events = self.store.take_events();
        let cache = &mut self.recorder.cache;
        cache.evictions += events.evictions;
        cache.expirations += events.expirations;
        cache.invalidations += events.purged;
        cache.corrupt_slots += events.corrupt;
    }

    fn each_second(&mut self, host: &impl Host, now_ms: Millis) {
        self.hand_over_counts(host);
        self.forwarding.refresh(host);
        self.top.hand_over(host, now_ms);
        self.beat(host, now_ms);
        self.renew_places(host, false, now_ms);
        if self.leads {
            self.sweep_breakers(host, now_ms);
            self.report(host, now_ms);
            self.acknowledge_settings(host, now_ms);
            self.acknowledge_purges(host, now_ms);
        }
    }

    /// A VM that has not ticked yet is in nobody's list: settings could be acknowledged for all workers and pass it by. Its first
    /// request brings it in. Not its configuration: the VM that Envoy configures first is thrown away, and would be waited for.
    pub(super) fn join(&mut self, host: &impl Host, now_ms: Millis) {
        if !self.joined {
            self.adopt(host);
            self.forwarding.refresh(host);
            self.beat(host, now_ms);
        }
    }

    /// Tells the other VMs that this one is alive, and on which settings.
    pub(super) fn beat(&mut self, host: &impl Host, now_ms: Millis) {
        self.joined = true;
        let vms = registry::heartbeat(
            host,
            registry::Vm {
                uid: self.uid,
                queue: self.queue,
                seen_ms: now_ms,
                epoch: fingerprint(&self.in_force.epoch),
                revision: self.in_force.revision,
                purges: self.stamps.birth().number(),
            },
        );
        self.workers = u32::try_from(vms.len()).unwrap_or(u32::MAX);
        self.share_copies();
    }

    /// The memory for copies is the Envoy's: each VM has its share.
    fn share_copies(&mut self) {
        if !cfg!(feature = "no-copies") {
            self.store
                .allow_copies(self.policies.copies / u64::from(self.workers.max(1)));
        }
    }

    pub(super) fn hand_over_counts(&mut self, host: &impl Host) {
        let Some(delta) = self.recorder.drain() else { return };
        self.stats.count(host, &delta);
        if let Err(back) = mailbox::post(host, self.uid, delta) {
            self.recorder.carry(*back);
        }
    }
}

impl Default for Vm {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads the settings of a push.
///
/// With them the fields that this filter does not know, from a newer control plane: it does without.
pub(super) fn parse_document(document: &[u8]) -> Result<(Settings, Vec<Violation>), Vec<Violation>> {
    let value = serde_json::from_slice(document).map_err(|error| {
        vec![Violation {
            path: String::new(),
            code: ViolationCode::Malformed,
            message: error.to_string(),
        }]
    })?;
    Settings::parse_tolerant(&value)
}

/// A short stand-in for an epoch's name, to compare VMs by.
pub(super) fn fingerprint(epoch: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(epoch.as_bytes())
}

/// What a push says about itself, for a log line.
pub(super) fn title(push: &SettingsPush) -> String {
    format!("revision {} of epoch {}", push.revision, push.epoch)
}
