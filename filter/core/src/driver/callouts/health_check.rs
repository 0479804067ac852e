//! Active health checks: where a breaker is half-open and no client's request has probed for a while, the leader asks the upstream itself.
//!
//! One request at a time per breaker, as one of its probes, and none while it is closed, or open with its wait not over.

use crate::breaker::{self, Permit};
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map;
use crate::driver::host::{Host, MapKind};
use crate::driver::state::health_checks::{GRACE_MS, HealthChecks, UnderWay};
use crate::driver::vm::Vm;
use crate::http::fields::Fields;
use optimizer_proto::settings::ActiveHealthCheck;
use optimizer_proto::v1::ActiveHealthCheck as Reported;
use std::rc::Rc;
use std::time::Duration;

/// Checks under way at once in one VM.
const MAX_CALLS: usize = 16;
const USER_AGENT: &[u8] = b"api-optimizer-health-check";

impl Vm {
    /// Checks what is due. By the leader, once a second, after the breakers were swept.
    pub(crate) fn check_health(&mut self, ctx: Ctx<'_, impl Host>) {
        if self.policies.settings.breaker.active_health_checks.is_empty() {
            self.upstreams.health_checks.quiet.clear();
            return;
        }
        self.upstreams.health_checks.forget_lost(ctx.now_ms);
        let policies = Rc::clone(&self.policies);
        let quiet = breaker::quiet(ctx.host, &policies.breaker, ctx.now_ms);
        let HealthChecks {
            quiet: known, calls, ..
        } = &mut self.upstreams.health_checks;
        known.retain(|name, _| {
            let checked = calls.values().any(|call| call.permit.upstream() == name);
            checked || quiet.iter().any(|one| one.upstream == *name)
        });
        for quiet in quiet {
            let Some((check, cluster)) = policies.health_check(&quiet.upstream) else {
                continue;
            };
            // What keeps clients from the route keeps the check from it.
            let reachable =
                cluster == quiet.upstream || breaker::is_closed(ctx.host, cluster, &policies.breaker, ctx.now_ms);
            if self
                .upstreams
                .health_checks
                .is_due(&quiet, check.interval_ms, ctx.now_ms)
                && reachable
            {
                self.start_check(ctx, &quiet.upstream, check, cluster);
            }
        }
    }

    fn start_check(&mut self, ctx: Ctx<'_, impl Host>, breaker: &str, check: &ActiveHealthCheck, cluster: &str) {
        if self.upstreams.health_checks.calls.len() >= MAX_CALLS {
            return;
        }
        let policies = Rc::clone(&self.policies);
        let random = ctx.host.random();
        let begun = breaker::begin_check(ctx.host, breaker, &policies.breaker, self.uid, ctx.now_ms, random);
        let Some(permit) = begun else { return };
        if let Some(waiting) = self.upstreams.health_checks.quiet.get_mut(breaker) {
            waiting.since_ms = ctx.now_ms;
        }
        let host = check.host.as_deref().unwrap_or(cluster);
        let fields: Vec<(&str, &[u8])> = vec![
            (":method", check.method.as_str().as_bytes()),
            (":scheme", b"http"),
            (":authority", host.as_bytes()),
            (":path", check.path.as_bytes()),
            ("user-agent", USER_AGENT),
        ];
        match ctx.host.call(cluster, fields, Duration::from_millis(check.timeout_ms)) {
            Ok(token) => {
                let under_way = UnderWay {
                    permit,
                    check: check.clone(),
                    until_ms: ctx.now_ms.saturating_add(check.timeout_ms).saturating_add(GRACE_MS),
                };
                self.upstreams.health_checks.calls.insert(token, under_way);
            }
            Err(_) => self.end_unasked(ctx, &permit),
        }
    }

    /// Envoy has no such cluster, or no host that it takes for healthy: nobody was asked, so it is no failed probe.
    fn end_unasked(&mut self, ctx: Ctx<'_, impl Host>, permit: &Permit) {
        let (policies, random) = (Rc::clone(&self.policies), ctx.host.random());
        breaker::end_check(ctx.host, permit, &policies.breaker, None, ctx.now_ms, random);
        self.upstreams
            .health_checks
            .note(permit.upstream(), false, 0, ctx.now_ms);
    }

    /// A check could not be started after all; false where the call was none.
    pub(super) fn check_not_made(&mut self, ctx: Ctx<'_, impl Host>, token: u32) -> bool {
        let under_way = self.upstreams.health_checks.calls.remove(&token);
        if let Some(UnderWay { permit, .. }) = &under_way {
            self.end_unasked(ctx, permit);
        }
        under_way.is_some()
    }

    /// The answer to a check; false where the call was none.
    pub(super) fn take_checked(&mut self, ctx: Ctx<'_, impl Host>, token: u32, fields: usize) -> bool {
        let Some(UnderWay { permit, check, .. }) = self.upstreams.health_checks.calls.remove(&token) else {
            return false;
        };
        let map = if fields == 0 {
            Vec::new()
        } else {
            ctx.host.header_map(MapKind::CallResponse).unwrap_or_default()
        };
        let status = Fields::from(header_map::parse(&map))
            .get(b":status")
            .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
            .unwrap_or(0);
        let healthy = check.expects(status);
        self.upstreams
            .health_checks
            .note(permit.upstream(), healthy, status, ctx.now_ms);
        if let Some(waiting) = self.upstreams.health_checks.quiet.get_mut(permit.upstream()) {
            waiting.successes += u32::from(healthy);
        }
        let (policies, random) = (Rc::clone(&self.policies), ctx.host.random());
        let transition = breaker::end_check(ctx.host, &permit, &policies.breaker, Some(healthy), ctx.now_ms, random);
        self.report_transition(ctx.host, transition);
        true
    }

    /// A breaker's check and how the last one ended, where it has one.
    pub(crate) fn health_check_reported(&self, breaker: &str) -> Option<Reported> {
        let (check, _) = self.policies.health_check(breaker)?;
        let last = self.upstreams.health_checks.last.get(breaker);
        Some(Reported {
            interval_ms: check.interval_ms,
            last_ms: last.map_or(0, |last| last.at_ms),
            healthy: last.is_some_and(|last| last.healthy),
            status: last.map_or(0, |last| u32::from(last.status)),
        })
    }
}
