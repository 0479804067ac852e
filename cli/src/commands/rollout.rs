//! Modules of the filter, given in steps to the Envoys that take their configuration by xDS.

use super::Session;
use crate::failure::{Failure, Outcome};
use crate::output::{Paint, Table, bytes_bar, clean, name_of, size, text_of};
use clap::Subcommand;
use reqwest::Method;
use reqwest::blocking::Body;
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So long an upload may take.
const LONGEST: Duration = Duration::from_secs(600);

/// What to do with modules.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Which modules there are, and which Envoy runs which
    Status,
    /// Give the control plane a module to keep
    Upload {
        /// The module (.wasm)
        file: PathBuf,
    },
    /// Give a module to a share of the Envoys
    Start {
        /// Its SHA-256, as upload or status shows it
        sha256: String,
        /// Percent of the Envoys, 0 to 100
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
        percent: u8,
    },
    /// The module on trial becomes everybody's
    Promote,
    /// The Envoys that try a module go back to what all others run
    Abort,
}

/// Does it.
///
/// # Errors
/// No answer, or a refusal.
pub fn run(session: &Session, command: &Command) -> Result<Outcome, Failure> {
    let answer = match command {
        Command::Status => {
            let view = session.client.get("/filter/rollout")?;
            session.output.show(&view, |paint| status(&view, paint))?;
            let refused = view["envoys"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|envoy| !envoy["refused"].is_null());
            return Ok(Outcome::of(!refused));
        }
        Command::Upload { file } => {
            let uploaded = upload(session, file)?;
            session.output.show(&uploaded, |_| {
                format!("Kept as {}", clean(&text_of(&uploaded["sha256"])))
            })?;
            return Ok(Outcome::Yes);
        }
        Command::Start { sha256, percent } => {
            let body = json!({"sha256": sha256, "canary_percent": percent});
            session.client.ask(Method::POST, "/filter/rollout").document(&body)
        }
        Command::Promote => session
            .client
            .ask(Method::POST, "/filter/rollout/promote")
            .body("application/json", ""),
        Command::Abort => session
            .client
            .ask(Method::POST, "/filter/rollout/abort")
            .body("application/json", ""),
    };
    let rollout = answer.send()?.document;
    session.output.show(&rollout, |_| {
        format!("{}\nSee how far it is: optimizer rollout status", summary(&rollout))
    })?;
    Ok(Outcome::Yes)
}

fn upload(session: &Session, path: &Path) -> Result<Value, Failure> {
    let failed = |error: &std::io::Error| Failure::file(path, error);
    let file = File::open(path).map_err(|error| failed(&error))?;
    let length = file.metadata().map_err(|error| failed(&error))?.len();
    let bar = bytes_bar(length, "Upload");
    let body = Body::sized(bar.wrap_read(file), length);
    let ask = session
        .client
        .ask(Method::PUT, "/filter/modules")
        .body("application/wasm", body);
    let uploaded = ask.patience(LONGEST).send();
    bar.finish_and_clear();
    Ok(uploaded?.document)
}

fn summary(rollout: &Value) -> String {
    let stable = rollout["stable"]
        .as_str()
        .map_or("the file on each machine".to_owned(), clean);
    match rollout["canary"]["percent"].as_u64() {
        Some(percent) => {
            let canary = clean(&text_of(&rollout["canary"]["sha256"]));
            format!("On trial on {percent} % of the Envoys: {canary}\nOn all others: {stable}")
        }
        None => format!("On all Envoys: {stable}"),
    }
}

fn status(view: &Value, paint: Paint) -> String {
    let mut modules = Table::new(&["MODULE", "SIZE"]);
    for module in view["modules"].as_array().into_iter().flatten() {
        modules.row([
            text_of(&module["sha256"]),
            size(module["bytes"].as_u64().unwrap_or_default()),
        ]);
    }
    let mut envoys = Table::new(&["ENVOY", "RUNS", "OFFERED", "REPORTS", "REFUSED"]);
    for envoy in view["envoys"].as_array().into_iter().flatten() {
        let sum = |field: &str| {
            envoy[field]
                .as_str()
                .map_or("its own file".to_owned(), |sum| sum.chars().take(12).collect())
        };
        let reports = if envoy["reports"] == true { "yes" } else { "no" };
        let refused = text_of(&envoy["refused"]);
        envoys.row([
            name_of(envoy),
            sum("in_force"),
            sum("offered"),
            reports.to_owned(),
            refused,
        ]);
    }
    format!(
        "{}\n\n{}\n{}",
        summary(view),
        modules.render(paint, "No module is kept: optimizer rollout upload FILE"),
        envoys.render(
            paint,
            "No Envoy takes its filter by xDS: each runs the file on its machine."
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_without_modules_says_so() {
        let view = json!({"modules": [], "stable": null, "canary": null, "envoys": []});
        let text = status(&view, Paint::new(false));
        assert!(text.starts_with("On all Envoys: the file on each machine\n"), "{text}");
        assert!(text.contains("No module is kept"), "{text}");
    }
}
