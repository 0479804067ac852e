//! What the parts of the hot path cost in time: `cargo bench -p filter-core --features testing --bench parts`.

mod cases;

use criterion::{Criterion, criterion_group, criterion_main};

fn parts(bench: &mut Criterion) {
    for (name, make) in cases::PARTS {
        let mut part = make();
        bench.bench_function(name, |bench| bench.iter(&mut part));
    }
}

criterion_group!(benches, parts);
criterion_main!(benches);
