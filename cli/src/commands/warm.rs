//! Gives an Envoy the hottest responses of the others.

use super::Session;
use super::watch::{Watch, what_was_done};
use crate::failure::{CANCELLED, Failure, Outcome};
use crate::output::{Table, text_of};
use clap::Args;
use reqwest::Method;
use serde_json::Value;

/// Which Envoy.
#[derive(Args, Debug)]
pub struct Arguments {
    /// By node id or instance
    envoy: String,
    /// Megabytes of responses at most [default: 256]
    #[arg(long)]
    max_mb: Option<u64>,
}

/// Warms it, and waits until it is warm. Ctrl-C cancels: what it has got stays.
///
/// # Errors
/// No such Envoy, no answer, or a refusal.
pub fn run(session: &Session, arguments: &Arguments) -> Result<Outcome, Failure> {
    let mut watch = Watch::begin(session, "Warm")?;
    session
        .client
        .ask(Method::POST, "/cache/warm")
        .query(&[
            ("envoy", Some(arguments.envoy.clone())),
            ("max_mb", arguments.max_mb.map(|megabytes| megabytes.to_string())),
        ])
        .header("operation-key", Some(watch.key()))
        .body("application/json", "")
        .send()?;
    let ended = watch.ended();
    watch.close();
    report_outcome(session, &ended)
}

/// Shows how an operation has ended that has no other answer.
///
/// # Errors
/// Standard output cannot be written.
fn report_outcome(session: &Session, ended: &Value) -> Result<Outcome, Failure> {
    let receipt = &ended["receipt"];
    session.output.show(ended, |paint| {
        let mut table = Table::new(&["OPERATION", "STATE", "COMPLETE", "DONE"]);
        let complete = match receipt["complete"] == true {
            true => "yes".to_owned(),
            false => text_of(&receipt["incomplete_because"]),
        };
        table.row([
            text_of(&ended["id"]),
            text_of(&ended["state"]),
            complete,
            what_was_done(ended),
        ]);
        table.render(paint, "")
    })?;
    if ended["state"] == "cancelled" {
        return Ok(Outcome::No(CANCELLED));
    }
    Ok(Outcome::of(receipt["complete"] == true))
}
