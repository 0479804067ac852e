//! Guards the cost of the hot path by counting instructions under valgrind, which no other load on the machine changes. Above its budget
//! a part fails the run; after a change that is worth its cost, or one that saves, the budget is set anew by hand.

mod cases;

use std::process::{Command, ExitCode};

/// Calls that the counted difference is over.
const CALLS: u64 = 1_000;
/// Before it, so that what happens once is in neither count.
const WARM: u64 = 200;
/// Compilers and hash seeds may differ by so much.
const SLACK_PERCENT: u64 = 10;

/// Instructions per call, by the name of the part.
const BUDGETS: [(&str, u64); 8] = [
    ("hit decision, 15 fields, 1 kB", 10_900),
    ("store: lookup of 1 kB", 2_100),
    ("store: insertion that evicts", 31_700),
    ("sketch: record", 115),
    ("sketch: merge", 1_800),
    ("breaker: admit and resolve", 1_100),
    ("sample: a lookup that is told", 290),
    ("sample: one of much traffic", 30),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [mode, part, calls] if mode == "call" => call(part, calls),
        _ => compare(),
    };
    match done {
        Ok(code) => code,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// What runs under valgrind.
fn call(part: &str, calls: &str) -> Result<ExitCode, String> {
    let calls: u64 = calls.parse().map_err(|_| "a number of calls".to_owned())?;
    let (_, make) = cases::PARTS
        .into_iter()
        .find(|(name, _)| *name == part)
        .ok_or("no such part")?;
    let mut part = make();
    (0..calls).for_each(|_| part());
    Ok(ExitCode::SUCCESS)
}

fn compare() -> Result<ExitCode, String> {
    let mut worse = false;
    println!("{:<32} {:>12} {:>12}", "instructions per call", "now", "budget");
    for (part, budget) in BUDGETS {
        let counted = (instructions(part, WARM + CALLS)?).saturating_sub(instructions(part, WARM)?) / CALLS;
        let over = counted > budget + budget * SLACK_PERCENT / 100;
        worse |= over;
        println!(
            "{part:<32} {counted:>12} {budget:>12}{}",
            if over { "  above its budget" } else { "" }
        );
    }
    Ok(if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn instructions(part: &str, calls: u64) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(["call", part, &calls.to_string()])
        .output()
        .map_err(|error| format!("valgrind cannot be started ({error}); Debian: apt-get install valgrind"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let counted = text
        .lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    counted.ok_or_else(|| format!("valgrind counted nothing for {part}: {text}"))
}
