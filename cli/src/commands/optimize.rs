//! The weekly maintenance of the cache, on demand.

use super::Session;
use super::watch::{Watch, what_was_done};
use crate::failure::{CANCELLED, Failure, Outcome};
use crate::output::{Table, note, text_of};
use clap::Args;
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

/// A full store of a large fleet is gone through within this time.
const LONGEST: Duration = Duration::from_secs(3600);

/// Whether to put into force what is recommended.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Put the recommended sizes and lifetimes into force
    #[arg(long)]
    apply: bool,
}

/// Removes what is expired or purged. Ctrl-C cancels: what is removed stays removed, and nothing is put into force.
///
/// # Errors
/// No answer, or a refusal.
pub fn run(session: &Session, arguments: &Arguments) -> Result<Outcome, Failure> {
    let mut watch = Watch::begin(session, "Optimise")?;
    let answer = session
        .client
        .ask(Method::POST, "/cache/optimize")
        .query(&[("apply", arguments.apply.then(|| "true".to_owned()))])
        .header("operation-key", Some(watch.key()))
        .body("application/json", "")
        .patience(LONGEST)
        .send();
    if watch.is_interrupted() && answer.is_err() {
        let ended = watch.ended();
        watch.close();
        note(&format!("Cancelled. Done until then: {}.", what_was_done(&ended)));
        return Ok(Outcome::No(CANCELLED));
    }
    watch.close();
    let document = answer?.document;
    session.output.show(&document, |paint| {
        let mut table = Table::new(&["DONE", "COUNT"]);
        for (name, count) in document["actions"].as_object().into_iter().flatten() {
            table.row([name.clone(), text_of(count)]);
        }
        let mut text = table.render(paint, "");
        let silent = document["not_answered"].as_array().map_or(0, Vec::len);
        if silent > 0 {
            text += &paint.warning(&format!("{silent} Envoys did not answer.\n"));
        }
        text += match document["applied"] == true {
            true => "The recommendation is in force.\n",
            false => "Nothing was put into force; -o json shows what is recommended, --apply puts it into force.\n",
        };
        text
    })?;
    Ok(Outcome::of(document["complete"] == Value::Bool(true)))
}
