//! The VM's part in the control link: settings in, acknowledgements and telemetry out.

use crate::cache::KeySecret;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::{Host, LogLevel};
use crate::driver::shared::instance;
use crate::driver::shared::settings_cell::{Published, parse_document, title};
use crate::driver::shared::{key_secret, lease, mailbox, proof, registry, settings_cell};
use crate::driver::state::link;
use crate::driver::state::link::Step;
use crate::driver::state::pending_acks::{ControlState, PendingAck, PendingPurgeAck};
use crate::driver::vm::{RootId, Vm};
use optimizer_proto::settings::{Violation, ViolationCode};
use optimizer_proto::v1::control_message::Body as FromControl;
use optimizer_proto::v1::filter_message::Body as ToControl;
use optimizer_proto::v1::{
    Command, ControlMessage, Hello, SettingsAck, SettingsPush, Violation as WireViolation, Welcome,
};
use prost::Message;

const SERVICE: &str = "optimizer.v1.ControlLink";
const METHOD: &str = "Connect";
/// What this filter can do, by name, for the control plane's fleet view.
const CAPABILITIES: [&str; 6] = ["cache", "breaker", "explain", "purge", "snapshot", "concurrency"];

impl Vm {
    pub(crate) fn drive_link(&mut self, ctx: Ctx<'_, impl Host>) {
        let Some(target) = self.bootstrap.control_target() else {
            return;
        };
        match self.link.tick(self.membership.leads, ctx.now_ms, ctx.host.random()) {
            Step::Wait => {}
            Step::Cancel(stream) => ctx.host.cancel(stream),
            Step::Open => match ctx.host.open_stream(&target, SERVICE, METHOD) {
                Ok(stream) => {
                    self.link.opened(stream, ctx.now_ms);
                    self.staleness.reconnected();
                    self.control = ControlState {
                        last_closed_ms: self.control.last_closed_ms,
                        ..ControlState::default()
                    };
                    let hello = self.hello(ctx);
                    link::send_on(ctx.host, stream, ToControl::Hello(hello));
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
            workers: u32::try_from(registry::vms(ctx.host, ctx.steady_ms()).len()).unwrap_or(u32::MAX),
            capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
            started_at_ms: instance::started_ms(ctx.host),
            epoch: self.in_force.epoch.clone(),
            proof: proof::load(ctx.host),
            module: self.membership.module().to_owned(),
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
        if self.root != Some(root) || !self.link.received(stream, now_ms) {
            return;
        }
        // It was away, and another VM speaks for this Envoy: what this stream still holds is older than what that one has heard.
        if lease::is_anothers(host, self.uid, now_ms) {
            self.membership.leads = false;
            if let Some(stream) = self.link.renew() {
                host.cancel(stream);
            }
            return;
        }
        // Before anything else: what follows must not renew the freshness lease for what came while everything stood still.
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
            Some(FromControl::Command(command)) => self.handle_command(Ctx::new(host, now_ms), stream, &command),
            Some(FromControl::Welcome(welcome)) => {
                proof::save(host, &welcome.proof);
                self.take_key_secret(Ctx::new(host, now_ms), &welcome);
            }
            Some(FromControl::CaughtUp(_)) => self.staleness.caught_up(),
            // A body this version does not know: the control plane is newer and must live with it.
            None => {}
        }
        self.staleness.confirm_in_sync(host, host.steady_ms());
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
                self.refuse_push(ctx.host, push, violations);
                return;
            }
        };
        if !known || push.revision > self.in_force.revision {
            let published = settings_cell::publish(ctx.host, push);
            if published == Published::Older {
                self.adopt(ctx.host);
                return;
            }
            if published == Published::Refused {
                let message = "shared data of the Envoy did not take the settings".to_owned();
                let failed = Violation {
                    path: String::new(),
                    code: ViolationCode::Conflict,
                    message,
                };
                self.refuse_push(ctx.host, push, vec![failed]);
                return;
            }
            self.adopt(ctx.host);
            self.announce_settings(ctx);
        }
        self.control.owed = Some(PendingAck {
            epoch: push.epoch.clone(),
            revision: push.revision,
            ignored: ignored.into_iter().map(WireViolation::from).collect(),
        });
        self.acknowledge_settings(ctx);
    }

    fn refuse_push(&self, host: &impl Host, push: &SettingsPush, violations: Vec<Violation>) {
        let violations = violations.into_iter().map(WireViolation::from).collect();
        let ack = SettingsAck {
            revision: push.revision,
            epoch: push.epoch.clone(),
            accepted: false,
            violations,
            workers: 0,
        };
        self.link.send(host, ToControl::SettingsAck(ack));
    }

    fn handle_command(&mut self, ctx: Ctx<'_, impl Host>, stream: u32, command: &Command) {
        let done = self.execute(ctx, command);
        if let Some(stamp) = done.purge {
            self.control.purges.push(PendingPurgeAck {
                stream,
                stamp,
                since_ms: ctx.now_ms,
                result: done.result(command),
            });
            self.acknowledge_purges(ctx);
            return;
        }
        link::send_on(ctx.host, stream, ToControl::CommandResult(done.result(command)));
    }

    /// The control plane tells the secret of the fleet; an older one does not.
    pub(super) fn take_key_secret(&mut self, ctx: Ctx<'_, impl Host>, welcome: &Welcome) {
        if welcome.key_secret.is_empty() {
            return;
        }
        let Some(secret) = KeySecret::derived(&welcome.key_secret) else {
            ctx.host
                .log(LogLevel::Warn, "the fleet's secret is too short and is ignored");
            return;
        };
        if key_secret::publish(ctx.host, &secret) {
            self.adopt(ctx.host);
            self.announce_settings(ctx);
        }
    }
}
