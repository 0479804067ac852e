//! What the board shows: the answers of one look, and the rates of the last ones.

use crate::client::Client;
use crate::failure::Failure;
use serde_json::{Value, json};
use std::time::Instant;

/// So many looks back the curves go.
const KEPT: usize = 120;

/// The answers of one look.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) performance: Value,
    pub(super) fleet: Value,
    pub(super) cache: Value,
    pub(super) breakers: Value,
    pub(super) alerts: Value,
    /// When it was.
    pub(super) at: Instant,
    /// Requests per second of each look so far, the newest last.
    rates: Vec<u64>,
    /// Hit ratio of each look so far, percent.
    ratios: Vec<u64>,
}

impl Figures {
    /// Asks for everything.
    pub(super) fn ask(client: &Client) -> Result<Self, Failure> {
        Ok(Self::of(
            client.get("/metrics/performance")?,
            client.get("/fleet")?,
            client.get("/cache/stats")?,
            client.get("/circuit-breaker/status")?,
            client.get("/alerts/active")?,
        ))
    }

    pub(super) fn of(performance: Value, fleet: Value, cache: Value, breakers: Value, alerts: Value) -> Self {
        let rates = vec![rounded(&performance["requests_per_second"])];
        let ratios = vec![rounded(&performance["cache_hit_ratio"])];
        Self {
            performance,
            fleet,
            cache,
            breakers,
            alerts,
            at: Instant::now(),
            rates,
            ratios,
        }
    }

    /// The same, as what came after `before`.
    pub(super) fn after(mut self, before: &Self) -> Self {
        self.rates = joined(&before.rates, &self.rates);
        self.ratios = joined(&before.ratios, &self.ratios);
        self
    }

    /// Requests per second of each look, the newest last.
    pub(super) fn rates(&self) -> &[u64] {
        &self.rates
    }

    /// Hit ratio of each look, percent, the newest last.
    pub(super) fn ratios(&self) -> &[u64] {
        &self.ratios
    }

    /// For programs.
    pub(super) fn document(&self) -> Value {
        json!({"performance": self.performance, "fleet": self.fleet, "cache": self.cache,
            "breakers": self.breakers, "alerts": self.alerts})
    }
}

fn joined(before: &[u64], now: &[u64]) -> Vec<u64> {
    let over = (before.len() + now.len()).saturating_sub(KEPT);
    before.iter().chain(now).skip(over).copied().collect()
}

/// Not below zero, and far from where a cast would go wrong.
fn rounded(value: &Value) -> u64 {
    value.as_f64().unwrap_or_default().clamp(0.0, 1e15) as u64
}
