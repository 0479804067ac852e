//! The public HTTP caching suite through the real Envoy and the filter, with one worker and with two, against the record.
//!
//! `conformance --without-filter` shows Envoy alone, `conformance --built-in-settings` the filter without the one setting that the suite
//! asks for; they touch no record.

mod record;
mod suite;
mod verdict;

use e2e::{Failure, Result};
use record::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use suite::{Findings, Test};
use verdict::{Score, Verdict, Verdicts};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [] => with_filter(),
        [flag] if flag == "--without-filter" => without_filter(),
        [flag] if flag == "--built-in-settings" => built_in_settings(),
        _ => Err(Failure::new(
            "usage: conformance [--without-filter | --built-in-settings]",
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

fn without_filter() -> Result<()> {
    let tests = suite::tests()?;
    let verdicts = verdict::judge(&tests, &suite::run(2, false, "{}")?);
    print_score("Envoy without the filter", verdict::score(&tests, &verdicts, &void()?));
    Ok(())
}

fn built_in_settings() -> Result<()> {
    let (tests, void) = (suite::tests()?, void()?);
    let findings = suite::run(2, true, "{}")?;
    let verdicts = verdict::judge(&tests, &findings);
    print_score("on built-in settings", verdict::score(&tests, &verdicts, &void));
    explain(&tests, &verdicts, &findings, &void);
    Ok(())
}

fn with_filter() -> Result<()> {
    let (tests, void) = (suite::tests()?, void()?);
    let (mut verdicts, mut findings) = both(&tests, &void)?;
    let record = Record::read()?;
    let lost = |verdicts: &Verdicts| {
        let record = record.as_ref();
        record.map(|record| record.lost(verdicts, &tests)).unwrap_or_default()
    };
    if !lost(&verdicts).is_empty() {
        // The suite sleeps and measures: a loaded machine can spoil a test. A regression shows twice.
        println!(
            "Lost against the record: {}. Once more, to be sure.",
            lost(&verdicts).join(" ")
        );
        (verdicts, findings) = both(&tests, &void)?;
    }
    let score = verdict::score(&tests, &verdicts, &void);
    print_score("with either number of workers", score);
    explain(&tests, &verdicts, &findings, &void);
    let lost = lost(&verdicts);
    if !lost.is_empty() {
        return Err(Failure::new(format!(
            "{} recorded tests do not pass any more: {}",
            lost.len(),
            lost.join(" ")
        )));
    }
    let gained = record
        .as_ref()
        .map(|record| record.gained(&verdicts, &tests))
        .unwrap_or_default();
    if record.is_none() || !gained.is_empty() {
        println!(
            "Gained against the record: {}",
            if gained.is_empty() {
                "all".to_owned()
            } else {
                gained.join(" ")
            }
        );
        Record {
            suite: "http-cache-tests 0.4.5".to_owned(),
            score,
            verdicts,
        }
        .write()?;
        println!("tests/conformance/record.json is updated: commit it.");
    }
    Ok(())
}

/// A run with one worker and one with two.
fn both(tests: &[Test], void: &BTreeSet<String>) -> Result<(Verdicts, Findings)> {
    let mut runs = Vec::new();
    for workers in [1, 2] {
        let findings = suite::run(workers, true, suite::SHARED_COOKIES)?;
        let verdicts = verdict::judge(tests, &findings);
        print_score(&format!("{workers} worker(s)"), verdict::score(tests, &verdicts, void));
        runs.push((verdicts, findings));
    }
    let (two, more) = runs.pop().unwrap_or_default();
    let (one, mut findings) = runs.pop().unwrap_or_default();
    let different: Vec<&String> = one.keys().filter(|id| one.get(*id) != two.get(*id)).collect();
    if !different.is_empty() {
        println!("Different with one worker and two: {different:?}");
    }
    // Of two findings, the failure explains.
    findings.extend(more.into_iter().filter(|(_, finding)| *finding != true));
    Ok((verdict::in_both(&one, &two), findings))
}

fn print_score(what: &str, score: Score) {
    let part = |(passed, all): (usize, usize)| format!("{passed} of {all}");
    println!(
        "{what}: required {}, optimal {}, checks answered yes {}",
        part(score.required),
        part(score.optimal),
        part(score.checks)
    );
}

/// Every required or optimal test that does not pass, with the suite's words.
fn explain(tests: &[Test], verdicts: &Verdicts, findings: &Findings, void: &BTreeSet<String>) {
    for test in tests
        .iter()
        .filter(|test| test.kind != "check" && !void.contains(&test.id))
    {
        let reason = match verdicts.get(&test.id) {
            Some(Verdict::Fail) => findings.get(&test.id).map(ToString::to_string).unwrap_or_default(),
            Some(Verdict::Dependency) => format!("depends on {}", test.depends_on.join(", ")),
            Some(Verdict::Pass) | None => continue,
        };
        println!("  {} {}: {reason}", test.kind, test.id);
    }
}

/// Required tests that contradict today's RFCs, or that nothing can pass.
fn void() -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(suite::folder().join("void.json"))?;
    Ok(serde_json::from_str::<BTreeMap<String, String>>(&text)?
        .into_keys()
        .collect())
}
