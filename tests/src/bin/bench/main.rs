//! What the filter costs: the server's CPU time per request, ours against what Envoy can do at most, against the same Envoy without
//! the filter, and against Envoy's own cache, nginx and Varnish; what the filter adds to the start and to memory; and how soon a
//! change of settings is in force. Ratios of one run on one machine.

mod cases;
mod chart;
mod check;
mod contenders;
mod earlier;
mod entry;
mod footprint;
mod instructions;
mod load;
mod numbers;
mod peers;
mod push;
mod results;
mod target;

use cases::Case;
use contenders::{Cores, Lineup, SIZES};
use e2e::{Failure, Result, artefacts, machine};
use load::Generator;
use results::Results;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

/// How thoroughly.
struct Effort {
    rounds: u32,
    seconds: u32,
    starts: u32,
    changes: u32,
    /// Content sizes, bytes.
    sizes: &'static [usize],
}

const FULL: Effort = Effort {
    rounds: 7,
    seconds: 2,
    starts: 5,
    changes: 200,
    sizes: &SIZES,
};

const QUICK: Effort = Effort {
    rounds: 3,
    seconds: 1,
    starts: 2,
    changes: 50,
    sizes: &[1_024, 102_400],
};

/// Compared with or used, and how each tells its version.
const PROGRAMS: [(&str, &str); 4] = [
    ("nginx", "-v"),
    ("varnishd", "-V"),
    ("wrk", "-v"),
    ("h2load", "--version"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [] => run(&FULL),
        [flag] if flag == "--quick" => run(&QUICK),
        [flag] if flag == "--instructions" => instructions::count(),
        [flag, file] if flag == "--against" => earlier::compare(Path::new(file), earlier::ROUNDS),
        [flag, file, rounds] if flag == "--against" => match rounds.parse() {
            Ok(rounds) if rounds > 0 => earlier::compare(Path::new(file), rounds),
            _ => Err(Failure::new("ROUNDS is a number above 0")),
        },
        _ => Err(Failure::new(
            "usage: bench [--quick | --instructions | --against FILTER.wasm [ROUNDS]]",
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(effort: &Effort) -> Result<()> {
    let machine = machine::describe(&PROGRAMS);
    println!("{}", serde_json::to_string_pretty(&machine)?);
    let cores = Cores::of_this_machine();
    println!(
        "Processors: {} for the server, {} for the load and the origin",
        cores.server, cores.load
    );
    let folder = tempfile::Builder::new().prefix("bench-").tempdir()?;
    let mut lineup = Lineup::start(folder.path(), &cores)?;
    check::everything(&lineup, "before")?;
    let filled = |envoy| entry::bytes_beyond_content(envoy).map_err(|error| error.during("filling a cache"));
    let (entry_bytes, module_entry_bytes) = (filled(&lineup.empty)?, filled(&lineup.empty_module)?);
    let (cases, skipped) = cases::all(&mut lineup, effort.sizes);
    let results = load_everything(effort, &cases, folder.path(), &cores)?;
    results.print(&cases);
    println!(
        "\nMemory per stored response of 1 KB beyond its content: {entry_bytes:.0} B, dynamic module {module_entry_bytes:.0} B, by \
         Envoy's own figures"
    );
    let footprint = footprint::measure(effort.starts, folder.path(), &cores)?;
    let (p50, p99) = push::measure(effort.changes)?;
    println!(
        "\nREST PATCH to in force in all workers, {} changes: p50 {p50:.1} ms, p99 {p99:.1} ms",
        effort.changes
    );
    for what in &skipped {
        println!("Skipped: {what}");
    }
    let mut document = results.to_json(&cases);
    document["machine"] = machine;
    document["effort"] =
        json!({"rounds": effort.rounds, "seconds": effort.seconds, "server": cores.server, "load": cores.load});
    document["footprint"] = footprint;
    document["entry_bytes"] = json!(entry_bytes);
    document["module_entry_bytes"] = json!(module_entry_bytes);
    document["push_ms"] = json!({"p50": p50, "p99": p99});
    document["skipped"] = json!(skipped);
    write(&document, &results)?;
    check::everything(&lineup, "after").map_err(|error| error.during("checking afterwards what was measured"))
}

/// Every case once in each round. The contenders take turns, so that what else the machine does meets all.
fn load_everything(effort: &Effort, cases: &[Case], folder: &Path, cores: &Cores) -> Result<Results> {
    let mut generator = Generator::new(&cores.load, effort.seconds, folder)?;
    let mut results = Results::default();
    for round in 1..=effort.rounds {
        println!("Round {round} of {}: {} cases", effort.rounds, cases.len());
        for case in cases {
            let sample = generator.run(case.load, &case.target, &case.path)?;
            results.add(case, sample);
        }
    }
    Ok(results)
}

fn write(document: &Value, results: &Results) -> Result<()> {
    let folder = artefacts::workspace().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let files = [
        ("results.json", serde_json::to_string_pretty(document)? + "\n"),
        (
            "chart.svg",
            chart::svg(results, &machine::caption(&document["machine"])),
        ),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        println!("Written to {}", path.display());
    }
    Ok(())
}
