//! Telemetry on its way to the control plane.

use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::shared::{instance, mailbox, registry};
use crate::driver::vm::Vm;
use optimizer_proto::v1::filter_message::Body as ToControl;
use optimizer_proto::v1::{ConcurrencyGauge, FilterGauges, TelemetryReport};

/// Longest time a report says to cover; the control plane refuses more than a week.
const MAX_SPAN_MS: u64 = 6 * 24 * 60 * 60 * 1_000;

impl Vm {
    /// Sends the report in the outbox; closes a new one when the last is acknowledged.
    pub(crate) fn report(&mut self, ctx: Ctx<'_, impl Host>) {
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
        if self.link.send(ctx.host, ToControl::Telemetry(report)) {
            self.control.sent = sequence;
            self.control.last_closed_ms = ctx.now_ms;
        }
    }

    /// Reports what cannot wait for the next second; now, or when the report under way is acknowledged.
    pub(crate) fn report_at_once(&mut self, ctx: Ctx<'_, impl Host>) {
        if self.membership.leads {
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
                .map(|view| {
                    let check = self.health_check_reported(&view.upstream);
                    crate::driver::upstream::guard::gauge(view, &self.policies.breaker, check)
                })
                .collect(),
            workers: u32::try_from(registry::vms(ctx.host, ctx.steady_ms()).len()).unwrap_or(u32::MAX),
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
            .map(|pool| ConcurrencyGauge {
                upstream: pool.upstream,
                in_use: pool.in_use,
                limit: pool.limit,
                waiting: pool.waiting,
                refused_total: pool.refused,
            })
            .collect()
    }
}
