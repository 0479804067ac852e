//! What the root context's callbacks do: start, configuration, tick, wake-ups.

use super::host::ctx::Ctx;
use super::host::{Host, LogLevel};
use super::shared::wake::Wake;
use super::shared::{instance, lease, mailbox, registry, settings_cell};
use super::state::bootstrap::Bootstrap;
use super::state::link::Link;
use super::state::staleness_guard::Clocks;
use super::state::{forwarding, local_quarantine};
use super::vm::{RootId, Vm};
use super::workers::worker::TICK_MS;
use crate::learned::Learned;
use crate::store::{InvalidationLog, Store};
use crate::{breaker, collapse, limit};

/// Period of heartbeat and telemetry.
const SECOND_MS: u64 = 1_000;
/// Directory pages written and read per tick: a few hundred microseconds of a worker at most.
const FLUSH_PAGES: usize = 64;
const MAINTAIN_PAGES: usize = 64;

impl Vm {
    /// The configuration of the VM came: it names the module.
    pub fn on_vm_configuration(&mut self, name: &[u8]) {
        self.membership.of_module(name);
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
        forwarding::seed(host);
        local_quarantine::seed(host);
        Store::seed(host);
        InvalidationLog::seed(host);
        instance::seed(host);
        settings_cell::seed(host);
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
        // What was purged before this VM was there may still be in the store: a request may come before the first tick.
        let now_ms = host.now_ns() / 1_000_000;
        self.invalidation_log.refresh(host, now_ms);
        self.staleness.begins(Clocks::new(now_ms, host.steady_ms()));
        self.adopt(host);
        let name = format!("ao1-wake-{:016x}", self.uid);
        match host.register_queue(name.as_bytes()) {
            Ok(queue) => self.queue = queue,
            Err(error) => host.log(LogLevel::Warn, &format!("no wake-up queue, ticks must do: {error}")),
        }
        self.announce_start(host);
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
        let ctx = Ctx::new(host, host.now_ns() / 1_000_000);
        self.join(ctx);
        self.adopt(host);
        self.notice_pause(ctx);
        self.upstreams
            .breakers
            .hand_in(host, &self.policies.breaker, ctx.now_ms);
        self.membership.leads = !self.membership.yields_lease(ctx.now_ms) && lease::hold(host, self.uid, ctx.now_ms);
        if ctx.now_ms.abs_diff(self.last_second_ms) >= SECOND_MS {
            self.last_second_ms = ctx.now_ms;
            self.each_second(ctx);
        }
        self.housekeeping(ctx);
        self.drive_link(ctx);
        self.run_background(ctx);
        self.flights.varied.refresh(host);
        self.flights.shares.refresh(host);
        self.learned.refresh(host);
        self.complete_dropped(ctx);
        self.end_overdue_waits(ctx);
        self.grant_places(ctx);
        if self.parked.waits_for_place() {
            self.ask_for_places(ctx);
        }
        self.call_tier(ctx);
        self.resume_ready(ctx);
    }

    /// Another VM, or this one, has put something into our queue.
    pub fn on_wake(&mut self, host: &impl Host, root: RootId, queue: u32) {
        if self.root != Some(root) {
            return;
        }
        self.join(Ctx::new(host, host.now_ns() / 1_000_000));
        let (mut places, mut shares) = (false, false);
        while let Some(item) = host.dequeue(queue) {
            let Some((said, rest)) = Wake::read(&item) else {
                continue;
            };
            let ctx = Ctx::new(host, host.now_ns() / 1_000_000);
            match said {
                Wake::Settings => {
                    self.adopt(host);
                    if let Ok(leader) = rest.try_into().map(u32::from_le_bytes) {
                        // A lost wake-up costs the leader one tick.
                        let _ = host.enqueue(leader, &[Wake::Adopted.byte()]);
                    }
                }
                Wake::Adopted => self.acknowledge_settings(ctx),
                Wake::InvalidationLog => self.adopt_purges(host, rest),
                Wake::Purged => self.acknowledge_purges(ctx),
                Wake::Landed => self.flight_landed(rest),
                Wake::Tier => self.call_tier(ctx),
                Wake::Share => {
                    self.upstreams.limiter.note_wanted(ctx.now_ms);
                    shares = true;
                }
                Wake::Free => shares = true,
                Wake::Place => places = true,
                Wake::Report => self.report_at_once(ctx),
                Wake::Forwarding => {
                    self.learned.forwarding.refresh(host);
                    self.learned.given.refresh(host);
                    self.refresh_quarantine(host);
                }
                Wake::Started => self.note_successor(ctx, rest),
                Wake::Work => self.run_background(ctx),
                // Those go on below, whatever woke this VM.
                Wake::Ready => {}
            }
        }
        // Once, after the queue is empty: what these leave for a further callback is not to be taken up in this one.
        let ctx = Ctx::new(host, host.now_ns() / 1_000_000);
        if shares {
            self.share_places(ctx);
        }
        if places {
            self.grant_places(ctx);
        }
        self.resume_ready(ctx);
    }

    /// A gRPC call has ended, with a message of `size` bytes when `status` is 0.
    pub fn on_grpc_answer(&mut self, host: &impl Host, token: u32, status: u32, size: usize) {
        let ctx = Ctx::new(host, host.now_ns() / 1_000_000);
        self.join(ctx);
        self.take_tier_answer(ctx, token, status, size);
        self.resume_ready(ctx);
        self.call_tier(ctx);
    }

    /// Bounded work on the store: what was purged, hits to note, entries over the limits.
    fn housekeeping(&mut self, ctx: Ctx<'_, impl Host>) {
        self.invalidation_log.refresh(ctx.host, ctx.now_ms);
        self.store.flush(ctx.host, FLUSH_PAGES);
        if self.membership.leads {
            self.store
                .maintain(ctx.host, &self.invalidation_log, MAINTAIN_PAGES, ctx.now_ms);
        }
        let events = self.store.take_events();
        let cache = &mut self.recorder.cache;
        cache.evictions += events.evictions;
        cache.expirations += events.expirations;
        cache.invalidations += events.purged;
        cache.corrupt_slots += events.corrupt;
    }

    fn each_second(&mut self, ctx: Ctx<'_, impl Host>) {
        self.hand_over_counts(ctx.host);
        self.learned.forwarding.refresh(ctx.host);
        self.refresh_quarantine(ctx.host);
        self.figures.top.hand_over(ctx.host, ctx.now_ms);
        self.beat(ctx);
        self.renew_places(ctx, false);
        if self.membership.leads {
            self.sweep_breakers(ctx);
            self.check_health(ctx);
            self.report(ctx);
            self.acknowledge_settings(ctx);
            self.acknowledge_purges(ctx);
        }
    }
}
