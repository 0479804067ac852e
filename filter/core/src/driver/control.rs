//! The VM's part in the control link: settings in, acknowledgements and telemetry out.

use super::ctx::Ctx;
use super::host::{Host, LogLevel};
use super::instance;
use super::link::Step;
use super::vm::{RootId, Vm, fingerprint, parse_document, title};
use super::wake::Wake;
use super::{mailbox, proof, registry, settings_cell};
use crate::Millis;
use optimizer_proto::settings::{Violation, ViolationCode};
use optimizer_proto::v1::control_message::Body as FromControl;
use optimizer_proto::v1::filter_message::Body as ToControl;
use optimizer_proto::v1::{
    Command, CommandResult, ConcurrencyGauge, ControlMessage, FilterGauges, FilterMessage, Hello, PurgeCount,
    SettingsAck, SettingsPush, TelemetryReport, Violation as WireViolation,
};
use prost::Message;

const SERVICE: &str = "optimizer.v1.ControlLink";
const METHOD: &str = "Connect";
/// What this filter can do, by name, for the control plane's fleet view.
const CAPABILITIES: [&str; 6] = ["cache", "breaker", "explain", "purge", "snapshot", "concurrency"];

/// Longest time a report says to cover; the control plane refuses more than a week.
const MAX_SPAN_MS: u64 = 6 * 24 * 60 * 60 * 1_000;

/// The acknowledgement of a push.
#[derive(Debug, Clone)]
struct Owed {
    epoch: String,
    revision: u64,
    /// Fields of a newer control plane that this filter does not know.
    ignored: Vec<WireViolation>,
}

/// The acknowledgement of a purge.
#[derive(Debug)]
struct OwedPurge {
    stream: u32,
    /// Of the command.
    id: String,
    /// Number of the purge.
    stamp: u32,
    since_ms: Millis,
    count: Option<PurgeCount>,
}

/// What the leader still owes the control plane.
#[derive(Debug, Default)]
pub struct ControlState {
    /// The push whose acknowledgement waits for all VMs.
    owed: Option<Owed>,
    /// Sequence of the report sent last on this stream.
    sent: u64,
    /// Something is to be reported as soon as the report under way is acknowledged.
    hurry: bool,
    last_closed_ms: Millis,
    /// Purges whose acknowledgement waits for all VMs.
    purges: Vec<OwedPurge>,
    /// Parts of a response that is being restored.
    pub(super) importing: Vec<u8>,
}

/// A VM that has not taken a purge over by then is hung or dead; the purge is not acknowledged.
const PURGE_PATIENCE_MS: u64 = 10_000;

impl Vm {
    pub(super) fn drive_link(&mut self, ctx: Ctx<'_, impl Host>) {
        let Some(target) = self.bootstrap.control_target() else {
            return;
        };
        match self.link.tick(self.leads, ctx.now_ms, ctx.host.random()) {
            Step::Wait => {}
            Step::Cancel(stream) => ctx.host.cancel(stream),
            Step::Open => match ctx.host.open_stream(&target, SERVICE, METHOD) {
                Ok(stream) => {
                    self.link.opened(stream, ctx.now_ms);
                    self.trust.reconnected();
                    self.control = ControlState {
                        last_closed_ms: self.control.last_closed_ms,
                        ..ControlState::default()
                    };
                    let hello = self.hello(ctx);
                    self.send_on(ctx.host, stream, ToControl::Hello(hello));
                }
                Err(_) => self.link.failed(ctx.now_ms, ctx.host.random()),
            },
        }
    }

    fn hello(&self, ctx: Ctx<'_, impl Host>) -> Hello {
        Hello {
            node_id: self.node_id(ctx.host),
            instance_id: instance::name(ctx.host),
            filter_version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: optimizer_proto::PROTOCOL,
            revision: self.in_force.revision,
            workers: u32::try_from(registry::vms(ctx.host, ctx.now_ms).len()).unwrap_or(u32::MAX),
            capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
            started_at_ms: instance::started_ms(ctx.host),
            epoch: self.in_force.epoch.clone(),
            proof: proof::kept(ctx.host),
            module: self.module.clone(),
        }
    }

    fn node_id(&self, host: &impl Host) -> String {
        if !self.bootstrap.node_id.is_empty() {
            return self.bootstrap.node_id.clone();
        }
        let node = host
            .property(b"xds\0node\0id")
            .or_else(|| host.property(b"node\0id"))
            .unwrap_or_default();
        String::from_utf8_lossy(&node).into_owned()
    }

    /// A message on the control stream.
    pub fn on_control_message(&mut self, host: &impl Host, root: RootId, stream: u32, size: usize) {
        let now_ms = host.now_ns() / 1_000_000;
        if self.root != Some(root) || !self.link.heard(stream, now_ms) {
            return;
        }
        // Before anything else: what follows must not vouch for what came while everything stood still.
        if self.notice_pause(Ctx::new(host, now_ms)) {
            return;
        }
        let Ok(bytes) = host.message(size) else { return };
        let Ok(message) = ControlMessage::decode(bytes.as_slice()) else {
            host.log(
                LogLevel::Warn,
                "a message of the control plane cannot be read and is ignored",
            );
            return;
        };
        match message.body {
            Some(FromControl::Settings(push)) => self.take_push(Ctx::new(host, now_ms), &push),
            Some(FromControl::TelemetryAck(ack)) => {
                mailbox::acknowledged(host, ack.sequence);
                if self.control.hurry {
                    self.report(Ctx::new(host, now_ms));
                }
            }
            Some(FromControl::Command(command)) => self.obey(Ctx::new(host, now_ms), stream, &command),
            Some(FromControl::Welcome(welcome)) => {
                proof::keep(host, &welcome.proof);
                self.take_key_secret(Ctx::new(host, now_ms), &welcome);
            }
            Some(FromControl::CaughtUp(_)) => self.trust.caught_up(),
            // A body this version does not know: the control plane is newer and must live with it.
            None => {}
        }
        self.trust.vouch(host, now_ms);
    }

    /// The control stream ended.
    pub fn on_control_close(&mut self, host: &impl Host, stream: u32, status: u32) {
        let was_up = self.link.up().is_some();
        if self.link.closed(stream, host.now_ns() / 1_000_000, host.random()) && was_up {
            host.log(
                LogLevel::Warn,
                &format!("control plane lost (gRPC status {status}); settings in force stay"),
            );
        }
    }

    fn take_push(&mut self, ctx: Ctx<'_, impl Host>, push: &SettingsPush) {
        let known = push.epoch == self.in_force.epoch;
        if known && push.revision < self.in_force.revision {
            return;
        }
        let ignored = match parse_document(&push.document) {
            Ok((_, ignored)) => ignored,
            Err(violations) => {
                ctx.host.log(
                    LogLevel::Error,
                    &format!("settings refused, last good stays: {}", title(push)),
                );
                self.refuse(ctx.host, push, violations);
                return;
            }
        };
        if !known || push.revision > self.in_force.revision {
            if !settings_cell::publish(ctx.host, push) {
                let message = "shared data of the Envoy did not take the settings".to_owned();
                let failed = Violation {
                    path: String::new(),
                    code: ViolationCode::Conflict,
                    message,
                };
                self.refuse(ctx.host, push, vec![failed]);
                return;
            }
            self.adopt(ctx.host);
            self.wake_others(ctx);
        }
        self.control.owed = Some(Owed {
            epoch: push.epoch.clone(),
            revision: push.revision,
            ignored: ignored.into_iter().map(WireViolation::from).collect(),
        });
        self.acknowledge_settings(ctx);
    }

    fn refuse(&self, host: &impl Host, push: &SettingsPush, violations: Vec<Violation>) {
        let violations = violations.into_iter().map(WireViolation::from).collect();
        let ack = SettingsAck {
            revision: push.revision,
            epoch: push.epoch.clone(),
            accepted: false,
            violations,
            workers: 0,
        };
        self.send(host, ToControl::SettingsAck(ack));
    }

    pub(super) fn wake_others(&self, ctx: Ctx<'_, impl Host>) {
        let mut item = vec![Wake::Settings.byte()];
        item.extend_from_slice(&self.queue.to_le_bytes());
        for vm in registry::vms(ctx.host, ctx.now_ms) {
            if vm.uid != self.uid {
                // A VM that cannot be woken sees the change at its next tick.
                let _ = ctx.host.enqueue(vm.queue, &item);
            }
        }
    }

    /// Acknowledges the settings once every VM alive runs on them.
    pub(super) fn acknowledge_settings(&mut self, ctx: Ctx<'_, impl Host>) {
        let Some(owed) = self.control.owed.clone() else {
            return;
        };
        let vms = registry::vms(ctx.host, ctx.now_ms);
        let wanted = fingerprint(&owed.epoch);
        if vms.is_empty() || vms.iter().any(|vm| vm.epoch != wanted || vm.revision < owed.revision) {
            return;
        }
        let workers = u32::try_from(vms.len()).unwrap_or(u32::MAX);
        let ack = SettingsAck {
            revision: owed.revision,
            epoch: owed.epoch,
            accepted: true,
            violations: owed.ignored,
            workers,
        };
        if self.send(ctx.host, ToControl::SettingsAck(ack)) {
            self.control.owed = None;
        }
    }

    /// Sends the report in the outbox; closes a new one when the last is acknowledged.
    pub(super) fn report(&mut self, ctx: Ctx<'_, impl Host>) {
        if self.link.up().is_none() {
            return;
        }
        let report = match mailbox::waiting(ctx.host) {
            Some(waiting) if waiting.sequence == self.control.sent => return,
            Some(waiting) => Some(waiting),
            None => {
                self.control.hurry = false;
                mailbox::close_report(ctx.host, self.open_report(ctx))
            }
        };
        let Some(report) = report else { return };
        let sequence = report.sequence;
        if self.send(ctx.host, ToControl::Telemetry(report)) {
            self.control.sent = sequence;
            self.control.last_closed_ms = ctx.now_ms;
        }
    }

    /// Reports what cannot wait for the next second; now, or when the report under way is acknowledged.
    pub(super) fn report_at_once(&mut self, ctx: Ctx<'_, impl Host>) {
        if self.leads {
            self.control.hurry = true;
            self.report(ctx);
        }
    }

    fn open_report(&self, ctx: Ctx<'_, impl Host>) -> TelemetryReport {
        TelemetryReport {
            sequence: 0,
            instance_id: instance::name(ctx.host),
            closed_at_ms: ctx.now_ms,
            // A VM that has just become leader does not know when the last report was closed.
            span_ms: match self.control.last_closed_ms {
                0 => 1_000,
                closed_ms => ctx.now_ms.saturating_sub(closed_ms).min(MAX_SPAN_MS),
            },
            delta: None,
            gauges: Some(self.gauges(ctx)),
        }
    }

    fn gauges(&self, ctx: Ctx<'_, impl Host>) -> FilterGauges {
        let usage = self.store.usage(ctx.host, ctx.now_ms);
        let limits = self.policies.limits;
        FilterGauges {
            cache_entries: usage.entries,
            cache_bytes: usage.bytes,
            cache_limit_entries: u64::from(limits.entries),
            cache_limit_bytes: limits.bytes,
            cache_age_sum_ms: usage.age_sum_ms,
            breakers: crate::breaker::all(ctx.host, &self.policies.breaker, ctx.now_ms)
                .into_iter()
                .map(|view| super::guard::gauge(view, &self.policies.breaker))
                .collect(),
            workers: u32::try_from(registry::vms(ctx.host, ctx.now_ms).len()).unwrap_or(u32::MAX),
            concurrency: self.concurrency(ctx),
        }
    }

    fn concurrency(&self, ctx: Ctx<'_, impl Host>) -> Vec<ConcurrencyGauge> {
        let policy = &self.policies.limit;
        if !policy.enabled {
            return Vec::new();
        }
        crate::limit::all(ctx.host, policy.limit, ctx.now_ms)
            .into_iter()
            .map(|standing| ConcurrencyGauge {
                upstream: standing.upstream,
                in_use: standing.in_use,
                limit: standing.limit,
                waiting: standing.waiting,
                refused_total: standing.refused,
            })
            .collect()
    }

    fn obey(&mut self, ctx: Ctx<'_, impl Host>, stream: u32, command: &Command) {
        let done = self.execute(ctx, command);
        if let (true, Some(stamp)) = (done.ok, done.purge) {
            self.control.purges.push(OwedPurge {
                stream,
                id: command.id.clone(),
                stamp,
                since_ms: ctx.now_ms,
                count: done.count,
            });
            self.acknowledge_purges(ctx);
            return;
        }
        let result = CommandResult {
            id: command.id.clone(),
            ok: done.ok,
            detail: done.detail,
            page: done.page,
            count: done.count,
        };
        self.send_on(ctx.host, stream, ToControl::CommandResult(result));
    }

    /// Takes a purge over and tells the leader.
    pub(super) fn adopt_purges(&mut self, host: &impl Host, leader: &[u8]) {
        let now_ms = host.now_ns() / 1_000_000;
        self.stamps.refresh(host, now_ms);
        self.beat(Ctx::new(host, now_ms));
        if let Ok(leader) = leader.try_into().map(u32::from_le_bytes) {
            // A lost wake-up costs the leader a second.
            let _ = host.enqueue(leader, &[Wake::Purged.byte()]);
        }
    }

    /// Acknowledges the purges that are in force in every VM alive.
    pub(super) fn acknowledge_purges(&mut self, ctx: Ctx<'_, impl Host>) {
        if self.control.purges.is_empty() {
            return;
        }
        let reached = registry::vms(ctx.host, ctx.now_ms)
            .iter()
            .map(|vm| vm.purges)
            .min()
            .unwrap_or(0);
        let waiting = std::mem::take(&mut self.control.purges);
        for owed in waiting {
            if owed.stamp <= reached {
                let result = CommandResult {
                    id: owed.id,
                    ok: true,
                    detail: serde_json::json!({ "stamp": owed.stamp }).to_string(),
                    page: None,
                    count: owed.count,
                };
                self.send_on(ctx.host, owed.stream, ToControl::CommandResult(result));
            } else if ctx.now_ms.saturating_sub(owed.since_ms) < PURGE_PATIENCE_MS {
                self.control.purges.push(owed);
            }
        }
    }

    /// Sends on the stream that is up; false when there is none or it just broke.
    fn send(&self, host: &impl Host, body: ToControl) -> bool {
        self.link.up().is_some_and(|stream| self.send_on(host, stream, body))
    }

    fn send_on(&self, host: &impl Host, stream: u32, body: ToControl) -> bool {
        host.send(stream, &FilterMessage { body: Some(body) }.encode_to_vec())
            .is_ok()
    }
}
