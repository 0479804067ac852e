//! Gives a snapshot back to the Envoys.

use super::{Session, snapshot};
use crate::failure::{Failure, Outcome};
use crate::output::{Table, bytes_bar, text_of};
use clap::Args;
use reqwest::Method;
use reqwest::blocking::Body;
use serde_json::Value;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// A snapshot of the largest size is read, judged and given to the fleet within this time.
const LONGEST: Duration = Duration::from_secs(3600);

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
}

/// Restores. Where it breaks off it may be repeated: what is there already is counted as kept, not written again.
///
/// # Errors
/// The file is no whole snapshot, no answer, or a refusal.
pub fn run(session: &Session, arguments: &Arguments) -> Result<Outcome, Failure> {
    let path = &arguments.file;
    let failed = |error: &std::io::Error| Failure::file(path, error);
    let file = File::open(path).map_err(|error| failed(&error))?;
    let size = file.metadata().map_err(|error| failed(&error))?.len();
    if snapshot::trailer(path)?.is_none() {
        return Err(Failure::Refused {
            told: format!(
                "{} is half a snapshot, or none: its end is missing; nothing was sent",
                path.display()
            ),
            violations: Vec::new(),
        });
    }
    let bar = bytes_bar(size, "Restore");
    // Compressed ones are recognised by their first bytes.
    let body = Body::sized(bar.wrap_read(file), size);
    let answer = session
        .client
        .ask(Method::POST, "/cache/restore")
        .query(&[
            ("dry_run", arguments.dry_run.then(|| "true".to_owned())),
            ("envoy", arguments.envoy.clone()),
        ])
        .body("application/json", body)
        .patience(LONGEST)
        .send();
    bar.finish_and_clear();
    let report = answer
        .map_err(|failure| match failure {
            Failure::Unreachable { told, .. } => Failure::Unreachable {
                told,
                advice: "Run the same command again: what was restored stays, and is counted as kept".to_owned(),
            },
            other => other,
        })?
        .document;
    let silent = report["not_answered"].as_array().map_or(0, Vec::len);
    session.output.show(&report, |paint| {
        let mut table = Table::new(&["READ", "RESTORED", "KEPT", "EXPIRED", "PURGED", "REFUSED", "ENVOYS"]);
        let counts = ["read", "restored", "kept", "expired", "purged", "refused"].map(|name| text_of(&report[name]));
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
