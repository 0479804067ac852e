//! Envoy's own statistics. Envoy wants all names before the first request, and increments on its main thread: until its next visit they are
//! kept here.

use crate::envoy::Config;
use filter_core::driver::shell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Panics that were caught.
const PANICS: &str = "api_optimizer_panics_total";

/// Increments that Envoy has not been told yet.
#[derive(Debug)]
pub(crate) struct Statistics {
    names: Vec<&'static str>,
    pending: Vec<AtomicU64>,
}

/// Envoy's numbers of the statistics of one configuration, in the order of the names.
#[derive(Debug)]
pub(crate) struct Defined(Vec<Option<usize>>);

impl Statistics {
    pub(crate) fn new() -> Self {
        let mut names: Vec<&str> = shell::statistics();
        names.push(PANICS);
        let pending = names.iter().map(|_| AtomicU64::new(0)).collect();
        Self { names, pending }
    }

    /// The number of a name.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        let at = self.names.iter().position(|known| *known == name)?;
        u32::try_from(at).ok()
    }

    pub(crate) fn add(&self, number: u32, by: u64) {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(pending) = self.pending.get(at) {
            pending.fetch_add(by, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_panic(&self) {
        if let Some(number) = self.find(PANICS) {
            self.add(number, 1);
        }
    }

    /// Defines all.
    pub(crate) fn define(&self, config: &Config) -> Defined {
        Defined(self.names.iter().map(|name| config.define_counter(name)).collect())
    }

    /// Exports the statistics to Envoy.
    pub(crate) fn export(&self, config: &Config, defined: &Defined) {
        for (pending, number) in self.pending.iter().zip(&defined.0) {
            let Some(number) = number else { continue };
            let by = pending.swap(0, Ordering::Relaxed);
            if by > 0 {
                config.count(*number, by);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_kept_under_its_name() {
        let statistics = Statistics::new();
        let number = statistics.find("api_optimizer_requests_hit_total").unwrap();
        statistics.add(number, 2);
        statistics.add(number, 3);
        statistics.count_panic();
        let of = |name: &str| {
            let at = statistics.find(name).unwrap() as usize;
            statistics.pending[at].load(Ordering::Relaxed)
        };
        assert_eq!((of("api_optimizer_requests_hit_total"), of(PANICS)), (5, 1));
        assert_eq!(statistics.find("api_optimizer_unheard_of"), None);
        statistics.add(u32::MAX, 1);
    }
}
