//! What the concurrency limit costs a forwarded request in our own code, shared data being a map in memory. The breaker is among the
//! parts of the hot path.

use criterion::{Criterion, criterion_group, criterion_main};
use filter_core::limit::{self, Gradient, Pool};
use filter_core::shared_map::MemoryMap;
use std::hint::black_box;

const NOW: u64 = 1_800_000_000_000;
fn limited(bench: &mut Criterion) {
    let map = MemoryMap::default();
    limit::seed(&map);
    let mut pool = Pool::default();
    bench.bench_function("limit: a place taken and given back", |bench| {
        bench.iter(|| {
            assert!(pool.take(&map, black_box("api"), 1, 1_024, NOW));
            pool.give();
        });
    });
    let mut gradient = Gradient::new(100);
    bench.bench_function("limit: one sample of an adaptive one", |bench| {
        bench.iter(|| {
            gradient.sample(black_box(5), 60, 10, 1_024);
            gradient.limit()
        });
    });
}

criterion_group!(benches, limited);
criterion_main!(benches);
