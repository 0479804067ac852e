//! The revision on trial on a part of the fleet.

use super::Session;
use crate::failure::{Failure, Outcome};
use crate::output::{Paint, Table, figure, name_of, since, text_of};
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;

/// What to do with it.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// What is tried, on whom, and how they fare beside the others
    Status,
    /// It becomes the settings of all
    Promote,
    /// The settings that all others have are issued again
    Abort,
}

/// Does it.
pub(super) fn run(session: &Session, command: Option<&Command>) -> Result<Outcome, Failure> {
    let action = match command {
        None | Some(Command::Status) => {
            let trial = session.client.get("/settings/canary")?;
            session.output.show(&trial, |paint| text(&trial["canary"], paint))?;
            return Ok(Outcome::Yes);
        }
        Some(Command::Promote) => "promote",
        Some(Command::Abort) => "abort",
    };
    let ask = session.client.ask(Method::POST, &format!("/settings/canary/{action}"));
    let ended = ask.body("application/json", "").send()?.document;
    session.output.show(&ended, |_| {
        format!("Revision {}: {action} is done.", text_of(&ended["revision"]))
    })?;
    Ok(Outcome::Yes)
}

fn text(trial: &Value, paint: Paint) -> String {
    if trial.is_null() {
        return "Nothing is on trial.".to_owned();
    }
    let mut text = format!(
        "Revision {} is on trial on {} % of the Envoys since {}, by {}.\n",
        trial["revision"],
        trial["share"],
        since(&trial["since"]),
        text_of(&trial["who"])
    );
    let changes = trial["changes"].as_array().map_or(&[][..], Vec::as_slice);
    text += &super::change::differences(changes, paint);
    let mut figures = Table::new(&["", "REQUESTS", "HIT RATIO %", "ERRORS %", "P95 MS"]);
    for (name, part) in [("on trial", "canary"), ("others", "others")] {
        let part = &trial["figures"][part];
        let cells = ["requests", "cache_hit_ratio", "error_rate", "p95_latency"].map(|field| figure(&part[field]));
        figures.row(std::iter::once(name.to_owned()).chain(cells));
    }
    text += &figures.render(paint, "");
    let mut envoys = Table::new(&["ENVOY", "CONNECTED", "IN FORCE", "REFUSED"]);
    for envoy in trial["envoys"].as_array().into_iter().flatten() {
        let cells = ["connected", "in_force", "refused"].map(|field| text_of(&envoy[field]));
        envoys.row(std::iter::once(name_of(envoy)).chain(cells));
    }
    text + &envoys.render(paint, "No Envoy tries it.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_trial_is_said_in_words() {
        assert_eq!(text(&Value::Null, Paint::new(false)), "Nothing is on trial.");
    }
}
