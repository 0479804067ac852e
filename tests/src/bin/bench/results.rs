//! Samples by case, and what follows from them.

use crate::cases::{
    Case, DIRECT, FORWARDED, HIT, IDLE_DIRECT, IDLE_FORWARDED, NATIVE, NGINX, NO_COPIES, PLAIN, VARNISH, key,
};
use crate::contenders::SIZES;
use crate::load::Sample;
use crate::numbers::Spread;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Pairs whose ratio is asked for, besides each case's own base.
const PAIRS: [(&str, &str); 8] = [
    (HIT, IDLE_DIRECT),
    (HIT, NO_COPIES),
    (FORWARDED, IDLE_FORWARDED),
    (HIT, NATIVE),
    (HIT, NGINX),
    (HIT, VARNISH),
    (FORWARDED, DIRECT),
    (PLAIN, DIRECT),
];

/// Everything measured, by the key of its case, one sample for each round.
#[derive(Default)]
pub(crate) struct Results(BTreeMap<String, Vec<Sample>>);

impl Results {
    /// One more round of `case`.
    pub(crate) fn add(&mut self, case: &Case, sample: Sample) {
        self.0.entry(case.key()).or_default().push(sample);
    }

    fn of(&self, key: &str, value: impl Fn(&Sample) -> f64) -> Option<Spread> {
        let samples = self.0.get(key)?;
        Some(Spread::of(samples.iter().map(value).collect()))
    }

    /// CPU time per request, microseconds.
    pub(crate) fn cpu(&self, key: &str) -> Option<Spread> {
        self.of(key, |sample| sample.cpu_us)
    }

    /// CPU time of one against that of another, round by round: what else the machine does in a round meets both.
    pub(crate) fn ratio(&self, key: &str, base: &str) -> Option<Spread> {
        let (over, under) = (self.0.get(key)?, self.0.get(base)?);
        let ratios = over.iter().zip(under).map(|(over, under)| over.cpu_us / under.cpu_us);
        Some(Spread::of(ratios.collect()))
    }

    /// The table for people, in the order of the cases.
    pub(crate) fn print(&self, cases: &[Case]) {
        println!("\nThe server's CPU time per request (median, lowest to highest), and against what");
        for size in SIZES {
            for case in cases.iter().filter(|case| case.size == size) {
                self.print_case(case);
            }
            println!();
        }
        println!("Ratios of CPU time (median, lowest to highest)");
        for (name, ratio) in self.pairs() {
            println!("  {name:<52} {}", ratio.text(2));
        }
    }

    fn print_case(&self, case: &Case) {
        let (name, base) = (case.key(), case.base_key());
        let Some(cpu) = self.cpu(&name) else { return };
        let against = if name == base { None } else { self.ratio(&name, &base) };
        let against = against.map_or_else(String::new, |ratio| format!("{} x {}", ratio.text(2), case.base));
        println!("  {name:<42} {:>9.1} us  {:<20} {against}", cpu.median, range(cpu));
    }

    fn pairs(&self) -> Vec<(String, Spread)> {
        let pairs = PAIRS.into_iter().flat_map(|(over, under)| {
            SIZES.into_iter().filter_map(move |size| {
                let ratio = self.ratio(&key(over, size), &key(under, size))?;
                Some((format!("{} / {under}", key(over, size)), ratio))
            })
        });
        pairs.collect()
    }

    /// The same for programs.
    pub(crate) fn to_json(&self, cases: &[Case]) -> Value {
        let mut entries = Map::new();
        for case in cases {
            let name = case.key();
            let mut entry = json!({
                "cpu_us": self.cpu(&name).map(Spread::to_json),
                "requests_per_second": self.of(&name, |sample| sample.requests_per_second).map(Spread::to_json),
            });
            if name != case.base_key() {
                let ratio = self.ratio(&name, &case.base_key()).map(Spread::to_json);
                entry["ratio"] = json!({"to": case.base_key(), "is": ratio});
            }
            entries.insert(name, entry);
        }
        let pairs: Map<String, Value> = self
            .pairs()
            .into_iter()
            .map(|(name, ratio)| (name, ratio.to_json()))
            .collect();
        json!({"cases": entries, "ratios": pairs})
    }
}

fn range(spread: Spread) -> String {
    format!("({:.1} to {:.1})", spread.lowest, spread.highest)
}
