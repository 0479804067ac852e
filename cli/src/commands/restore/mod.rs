//! Gives a snapshot back to the Envoys.

mod parts;
mod record;

use super::watch::{Watch, what_was_done};
use super::{Session, snapshot};
use crate::failure::{CANCELLED, Failure, Outcome};
use crate::output::{Table, note, size, text_of};
use clap::Args;
use parts::{Part, Parts};
use record::Record;
use reqwest::Method;
use reqwest::blocking::Body;
use serde_json::{Value, json};
use snapshot::Ends;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// A snapshot of the largest size is read, judged and given to the fleet within this time.
const LONGEST: Duration = Duration::from_secs(3600);
/// How often a part is sent that gets no answer, and the wait after the first time; it doubles.
const TRIES: u32 = 5;
const WAIT: Duration = Duration::from_millis(500);
/// Counts of a report.
const COUNTS: [&str; 6] = ["read", "restored", "kept", "expired", "purged", "refused"];

/// Which snapshot, and to whom.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The file, compressed or not
    file: PathBuf,
    /// Only say what would become of it
    #[arg(long)]
    dry_run: bool,
    /// Only into this Envoy, by node id or instance
    #[arg(long)]
    envoy: Option<String>,
    /// Send everything, also what an earlier attempt that was cut has restored
    #[arg(long)]
    from_start: bool,
}

/// Restores, in parts. Where it is cut the same command goes on there: FILE.restore says how far it is. Ctrl-C cancels; what was
/// restored stays.
///
/// # Errors
/// The file is no whole snapshot, no answer, or a refusal.
pub fn run(session: &Session, arguments: &Arguments) -> Result<Outcome, Failure> {
    let path = &arguments.file;
    let Some(ends) = snapshot::ends(path)? else {
        return Err(Failure::Refused {
            message: format!(
                "{} is half a snapshot, or none: its end is missing; nothing was sent",
                path.display()
            ),
            violations: Vec::new(),
        });
    };
    if arguments.dry_run {
        let report = tried(session, arguments)?;
        return report_outcome(session, arguments, &report);
    }
    let watch = Watch::begin(session, "Restore")?;
    let mut work = Work {
        session,
        arguments,
        ends: &ends,
        watch,
        record: Record {
            server: session.client.server().to_owned(),
            envoy: arguments.envoy.clone().unwrap_or_default(),
            snapshot: (
                ends.trailer["count"].as_u64().unwrap_or_default(),
                text_of(&ends.trailer["checksum"]),
            ),
            ..Record::default()
        },
        report: json!({}),
    };
    let restored = work.restored();
    let Work {
        mut watch,
        record,
        report,
        ..
    } = work;
    if watch.is_interrupted() && restored.is_err() {
        let ended = watch.ended();
        watch.close();
        note(&format!(
            "Cancelled. Restored until then: {}. The same command goes on at {} of {}.",
            what_was_done(&ended),
            size(record.done),
            size(ends.length)
        ));
        return Ok(Outcome::No(CANCELLED));
    }
    watch.close();
    restored?;
    report_outcome(session, arguments, &report)
}

/// What would become of it.
fn tried(session: &Session, arguments: &Arguments) -> Result<Value, Failure> {
    let path = &arguments.file;
    let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
    let length = file.metadata().map_err(|error| Failure::file(path, &error))?.len();
    let mut watch = Watch::begin(session, "Trying")?;
    let answer = session
        .client
        .ask(Method::POST, "/cache/restore")
        .query(&[("dry_run", Some("true".to_owned())), ("envoy", arguments.envoy.clone())])
        .header("operation-key", Some(watch.key()))
        .body("application/json", Body::sized(file, length))
        .patience(LONGEST)
        .send();
    watch.close();
    Ok(answer?.document)
}

/// A restore under way.
struct Work<'w> {
    session: &'w Session,
    arguments: &'w Arguments,
    ends: &'w Ends,
    watch: Watch,
    record: Record,
    /// The reports of all parts together.
    report: Value,
}

impl Work<'_> {
    /// Sends what is missing.
    fn restored(&mut self) -> Result<(), Failure> {
        let path = &self.arguments.file;
        if !self.arguments.from_start
            && let Some(earlier) = self.record.earlier(path)
        {
            note(&format!(
                "Going on at {} of {}, where an earlier attempt ended; --from-start sends everything.",
                size(earlier.done),
                size(self.ends.length)
            ));
            self.record = earlier;
        }
        while !self.all_parts()? {
            note("There are Envoys that the earlier attempt did not reach: everything is sent.");
            self.record.done = 0;
            self.record.envoys.clear();
            self.report = json!({});
        }
        if self.is_whole() {
            Record::forget(path);
        }
        Ok(())
    }

    /// Every Envoy has answered for every part so far.
    fn is_whole(&self) -> bool {
        self.report["not_answered"].as_array().is_none_or(Vec::is_empty)
    }

    /// False where it has to begin anew: an Envoy has come that lacks what was sent before.
    fn all_parts(&mut self) -> Result<bool, Failure> {
        let path = &self.arguments.file;
        let mut parts = Parts::of(path, &self.ends.trailer["complete"], self.ends.length)?;
        let begun_at = self.record.done;
        while let Some(part) = parts.next(begun_at)? {
            let report = self.sent(&part)?;
            let names = report["envoys"].as_array().into_iter().flatten();
            let envoys: BTreeSet<String> = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
            if self.record.done > 0 && !envoys.is_subset(&self.record.envoys) {
                return Ok(false);
            }
            add(&mut self.report, &report);
            // From the first part on that somebody lacks everything is sent again.
            if self.is_whole() {
                self.record.envoys = envoys;
                self.record.done = part.to;
                self.record.keep(path);
            }
        }
        let (count, checksum) = parts.seen();
        let is_intact = self.record.snapshot == (count, checksum);
        self.report["intact"] = json!(is_intact && self.report["intact"] != json!(false));
        self.report["complete"] = self.ends.trailer["complete"].clone();
        self.report["dry_run"] = json!(false);
        Ok(true)
    }

    fn sent(&self, part: &Part) -> Result<Value, Failure> {
        let mut wait = WAIT;
        for attempt in 1.. {
            if self.watch.is_interrupted() {
                break;
            }
            let answer = self
                .session
                .client
                .ask(Method::POST, "/cache/restore")
                .query(&[
                    ("envoy", self.arguments.envoy.clone()),
                    ("part_from", Some(part.from.to_string())),
                    ("part_to", Some(part.to.to_string())),
                    ("part_of", Some(self.ends.length.to_string())),
                ])
                .header("operation-key", Some(self.watch.key()))
                .body("application/json", part.document.clone())
                .patience(LONGEST)
                .send();
            let failure = match answer {
                Ok(answer) if attempt < TRIES && has_lost_one(&answer.document) => {
                    std::thread::sleep(wait);
                    wait *= 2;
                    continue;
                }
                Ok(answer) => return Ok(answer.document),
                Err(failure) => failure,
            };
            // The attempt before may not have been given up yet at the other end.
            let again = match &failure {
                Failure::Unreachable { .. } => true,
                Failure::Conflict { message, .. } => attempt > 1 && !message.contains("cancelled"),
                _ => false,
            };
            if !again || attempt >= TRIES || self.watch.is_interrupted() {
                return Err(failure.advised(format!(
                    "Run the same command again: it goes on at {} of {}; what was restored stays",
                    size(self.record.done),
                    size(self.ends.length)
                )));
            }
            std::thread::sleep(wait);
            wait *= 2;
        }
        Err(Failure::usage("Cancelled"))
    }
}

/// Whether an Envoy that was there stopped answering.
fn has_lost_one(report: &Value) -> bool {
    let envoys = report["envoys"].as_array();
    let silent = report["not_answered"].as_array().into_iter().flatten();
    envoys.is_some_and(|envoys| silent.into_iter().any(|name| envoys.contains(name)))
}

/// Adds the report of a part.
fn add(sum: &mut Value, report: &Value) {
    for name in COUNTS {
        let of = |report: &Value| report[name].as_u64().unwrap_or_default();
        sum[name] = json!(of(sum) + of(report));
    }
    for (reason, count) in report["reasons"].as_object().into_iter().flatten() {
        let before = sum["reasons"][reason].as_u64().unwrap_or_default();
        sum["reasons"][reason] = json!(before + count.as_u64().unwrap_or_default());
    }
    if sum["reasons"].is_null() {
        sum["reasons"] = json!({});
    }
    sum["envoys"] = report["envoys"].clone();
    sum["intact"] = json!(sum["intact"] != json!(false) && report["intact"] == json!(true));
    let both = [&sum["not_answered"], &report["not_answered"]];
    let silent: BTreeSet<String> = both
        .into_iter()
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    sum["not_answered"] = json!(silent);
}

fn report_outcome(session: &Session, arguments: &Arguments, report: &Value) -> Result<Outcome, Failure> {
    let silent = report["not_answered"].as_array().map_or(0, Vec::len);
    session.output.show(report, |paint| {
        let mut table = Table::new(&["READ", "RESTORED", "KEPT", "EXPIRED", "PURGED", "REFUSED", "ENVOYS"]);
        let counts = COUNTS.map(|name| text_of(&report[name]));
        let envoys = report["envoys"].as_array().map_or(0, Vec::len).to_string();
        table.row(counts.into_iter().chain([envoys]));
        let mut text = table.render(paint, "");
        for (reason, count) in report["reasons"].as_object().into_iter().flatten() {
            text += &format!("  {reason}: {count}\n");
        }
        if arguments.dry_run {
            text += "Nothing was restored: this is what would become of it.\n";
        }
        if report["complete"] == false {
            text += &paint.warning("The snapshot did not hold everything that was asked for when it was made.\n");
        }
        if silent > 0 {
            text += &paint.warning(&format!(
                "{silent} Envoys did not answer: repeat the command when they are back.\n"
            ));
        }
        text
    })?;
    Ok(Outcome::of(report["intact"] != Value::Bool(false) && silent == 0))
}
