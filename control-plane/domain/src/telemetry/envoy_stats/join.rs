//! A reading that came in several messages.

use super::{Gauges, MAX_UPSTREAMS, Statistics};

impl Statistics {
    /// Takes in a later part of the same reading, in which no statistic is that this part has.
    pub fn join(&mut self, later: Self) {
        self.counters = self.counters.plus(&later.counters);
        self.gauges.join(later.gauges);
        self.state.join(later.state);
    }
}

impl Gauges {
    fn join(&mut self, later: Self) {
        for (mine, more) in [
            (&mut self.downstream_open, later.downstream_open),
            (&mut self.heap_bytes, later.heap_bytes),
            (&mut self.memory_bytes, later.memory_bytes),
            (&mut self.uptime_s, later.uptime_s),
            (&mut self.concurrency, later.concurrency),
            (&mut self.live, later.live),
        ] {
            *mine = mine.saturating_add(more);
        }
        for (name, open) in later.upstreams {
            if self.upstreams.len() < MAX_UPSTREAMS || self.upstreams.contains_key(&name) {
                let mine = self.upstreams.entry(name).or_default();
                *mine = mine.saturating_add(open);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(statistics: &[(&str, u64)]) -> Statistics {
        let mut reading = Statistics::default();
        statistics.iter().for_each(|(name, value)| reading.take(name, *value));
        reading
    }

    #[test]
    fn parts_are_the_same_as_the_whole_wherever_it_is_cut() {
        let all = [
            ("http.ingress.downstream_rq_http1_total", 5),
            ("http.ingress.downstream_rq_http2_total", 7),
            ("http.ingress.downstream_rq_completed", 11),
            ("http.ingress.downstream_rq_5xx", 1),
            ("http.ingress.downstream_cx_active", 3),
            ("cluster.a.upstream_rq_total", 12),
            ("cluster.a.upstream_cx_total", 2),
            ("cluster.a.upstream_cx_active", 4),
            ("cluster.b.upstream_cx_active", 6),
            ("listener.0.0.0.0_80.downstream_cx_overflow", 8),
            ("wasm.vm_reload_success", 1),
            ("server.memory_allocated", 100),
            ("server.memory_physical_size", 200),
            ("server.uptime", 9),
            ("server.concurrency", 2),
            ("server.live", 1),
            ("overload.envoy.overload_actions.shrink_heap.active", 1),
            ("overload.envoy.resource_monitors.fixed_heap.pressure", 40),
            ("listener_manager.lds.update_rejected", 2),
            ("listener_manager.lds.update_success", 3),
        ];
        let whole = reading(&all);
        for cut in 0..=all.len() {
            let (first, rest) = all.split_at(cut);
            let mut joined = reading(first);
            joined.join(reading(rest));
            assert_eq!(joined, whole, "cut at {cut}");
        }
    }

    #[test]
    fn upstreams_stay_bounded() {
        let of = |from: usize, to: usize| {
            let names: Vec<String> = (from..to)
                .map(|number| format!("cluster.u{number}.upstream_cx_active"))
                .collect();
            let statistics: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
            reading(&statistics)
        };
        let mut joined = of(0, 200);
        joined.join(of(200, 400));
        assert_eq!(joined.gauges.upstreams.len(), 256);
    }
}
