//! How fetches end for those who follow them.

use crate::collapse::{self, FetchOutcome, Outcome};
use crate::driver::exchange::flights::{FlightPermit, Lead};
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::shared::registry;
use crate::driver::shared::wake::Wake;
use crate::driver::state::parked::{Arrival, Lane};
use crate::driver::vm::Vm;
use crate::learned::IN_VAIN;

impl Vm {
    /// Ends the flight that this fetch leads, if any, and wakes the followers on all workers.
    pub(crate) fn complete_fetch(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        flight: &mut Option<FlightPermit>,
        fetched: FetchOutcome,
    ) {
        if let Some(lead) = flight.take().and_then(FlightPermit::end) {
            self.complete_lead(ctx, lead, fetched);
        }
    }

    /// Ends the flights whose permits were dropped. Nothing is known of their fetches.
    pub(crate) fn complete_dropped(&mut self, ctx: Ctx<'_, impl Host>) {
        for lead in self.flights.take_dropped() {
            self.complete_lead(ctx, lead, FetchOutcome::Left);
        }
    }

    fn complete_lead(&mut self, ctx: Ctx<'_, impl Host>, lead: Lead, fetched: FetchOutcome) {
        let hash = lead.ticket.hash;
        self.tier_landed(ctx.host, lead.key, fetched);
        if fetched == FetchOutcome::NotShareable {
            let until_ms = ctx.now_ms.saturating_add(collapse::ALONE_MS);
            self.flights.unshared.note(hash, until_ms, ctx.now_ms);
        }
        let Some(outcome) = collapse::complete_fetch(ctx.host, lead.ticket, fetched, ctx.now_ms) else {
            return;
        };
        if fetched == FetchOutcome::NotShareable && lead.route != 0 {
            self.flights
                .shares
                .learn(ctx.host, lead.route, &[IN_VAIN.to_vec()], ctx.now_ms);
        }
        let mut item = vec![Wake::Landed.byte()];
        item.extend_from_slice(&hash.to_le_bytes());
        item.extend_from_slice(&outcome.encode());
        // Also to ourselves: another stream may only be answered from a root callback, else Envoy stops the current one.
        let vms = registry::vms(ctx.host, ctx.steady_ms());
        let others = vms.iter().filter(|vm| vm.uid != self.uid).map(|vm| vm.queue);
        for queue in others.chain(std::iter::once(self.queue)) {
            // Whoever cannot be woken goes on at its deadline.
            let _ = ctx.host.enqueue(queue, &item);
        }
    }

    /// A flight has landed somewhere: the wait of its followers here is over.
    pub(crate) fn flight_landed(&mut self, landed: &[u8]) {
        let Some((hash, outcome)) = landed.split_at_checked(8) else {
            return;
        };
        let Ok(hash) = hash.try_into().map(u64::from_le_bytes) else {
            return;
        };
        let outcome = Outcome::decode(outcome);
        for id in self.parked.all(&Lane::Flight(hash)) {
            // Each of them waits, as just read.
            let _ = self.parked.make_ready(id, Arrival::Landed(outcome));
        }
    }
}
