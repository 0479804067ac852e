//! The filter, in both of its forms, against an earlier build of itself: what a change of the code costs or saves.

use crate::cases::{Case, FORWARDED, HIT};
use crate::contenders::{Cores, SIZES, origin, ours};
use crate::load::{Generator, Load};
use crate::results::Results;
use crate::target::Target;
use e2e::Result;
use std::path::Path;

/// Short rounds, many of them: what else the machine does changes within seconds.
pub(crate) const ROUNDS: u32 = 15;
const SECONDS: u32 = 1;

/// The earlier build, this one, and this one as a dynamic module.
const CONTENDERS: usize = 3;

/// What is asked of both.
const ASKED: [(&str, &str, Load); 3] = [
    (HIT, "", Load::Http1),
    (FORWARDED, "/no-store", Load::Http1),
    ("our miss, stored", "", Load::Misses),
];

/// Compares the filter with the one in the file `earlier`, and prints ratios of CPU time per request.
pub(crate) fn compare(earlier: &Path, rounds: u32) -> Result<()> {
    let cores = Cores::of_this_machine();
    let folder = tempfile::Builder::new().prefix("bench-").tempdir()?;
    let mut origin = origin(folder.path(), &cores)?;
    let port = Target::of(&mut origin).address.port();
    let mut now = ours("now", e2e::artefacts::wasm_filter()?, folder.path(), &cores, port, 1)?;
    let mut before = ours("earlier", earlier.to_owned(), folder.path(), &cores, port, 1)?;
    let module = e2e::artefacts::native_filter()?;
    let mut module = ours("module", module, folder.path(), &cores, port, 1)?;
    let targets: [(Target, &str); CONTENDERS] = [
        (Target::of(&mut before), ", earlier build"),
        (Target::of(&mut now), ""),
        (Target::of(&mut module), ", dynamic module"),
    ];
    let mut cases = Vec::new();
    for (name, below, load) in ASKED {
        for (target, whose) in targets {
            cases.push(Case {
                name: format!("{name}{whose}"),
                size: SIZES[0],
                base: format!("{name}, earlier build"),
                target,
                path: format!("{below}/{}", SIZES[0]),
                load,
            });
        }
    }
    let mut generator = Generator::new(&cores.load, SECONDS, folder.path())?;
    let mut results = Results::default();
    for round in 0..rounds {
        // Who comes first changes: the second one finds warmer caches, or a busier machine.
        let first = round as usize % CONTENDERS;
        for turns in cases.chunks_exact(CONTENDERS) {
            for case in turns.iter().cycle().skip(first).take(CONTENDERS) {
                results.add(case, generator.run(case.load, &case.target, &case.path)?);
            }
        }
    }
    results.print(&cases);
    Ok(())
}
