//! Alerts and silences.

use super::{Session, segment};
use crate::failure::{Failure, Outcome};
use crate::output::{Paint, Table, clean, figure, since, text_of, time};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// What to do with alerts.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Alerts that are on, the worst first
    List {
        /// Also those whose condition has not lasted long enough yet
        #[arg(long)]
        pending: bool,
    },
    /// Say that you have seen an alert and are at it
    Ack {
        /// Its id, as `alerts list` shows it
        id: String,
    },
    /// Have nobody told of a rule's alerts for a while
    Silence(Silence),
    /// End a silence
    Unsilence {
        /// Name of the rule
        name: String,
    },
    /// The silences in force
    Silences,
    /// Alerts that ended, the newest first
    History,
}

/// What nobody wants to be told of.
#[derive(Args, Debug)]
pub struct Silence {
    /// Name of the rule, for example p95_latency
    name: String,
    /// For how long, at most 7days
    #[arg(long = "for", value_name = "TIME", value_parser = crate::options::duration)]
    expires_in: Duration,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
}

/// Does it.
///
/// # Errors
/// No answer, or a refusal.
pub fn run(session: &Session, command: &Command) -> Result<Outcome, Failure> {
    let client = &session.client;
    match command {
        Command::List { pending } => {
            let pending = pending.then(|| "true".to_owned());
            let ask = client.ask(Method::GET, "/alerts/active").query(&[("pending", pending)]);
            let alerts = ask.send()?.document;
            session
                .output
                .show(&alerts, |paint| list(&alerts, paint, "No alert is on."))?;
        }
        Command::History => {
            let alerts = client.get("/alerts/history")?;
            session
                .output
                .show(&alerts, |paint| list(&alerts, paint, "No alert has ended yet."))?;
        }
        Command::Ack { id } => {
            let path = format!("/alerts/{}/ack", segment(id));
            let answer = client
                .ask(Method::POST, &path)
                .body("application/json", "")
                .send()?
                .document;
            let by = clean(&text_of(&answer["acknowledged_by"]));
            session
                .output
                .show(&answer, |_| format!("{} is acknowledged by {by}.", clean(id)))?;
        }
        Command::Silence(silence) => {
            let expires = humantime::format_duration(silence.expires_in)
                .to_string()
                .replace(' ', "");
            let body = json!({"name": silence.name, "expires_in": expires, "reason": silence.reason});
            let answer = client
                .ask(Method::POST, "/alerts/silences")
                .document(&body)
                .send()?
                .document;
            let until = time(&answer["until"]);
            session.output.show(&answer, |_| {
                format!("{} is silent until {until}.", clean(&silence.name))
            })?;
        }
        Command::Unsilence { name } => {
            let path = format!("/alerts/silences/{}", segment(name));
            let answer = client.ask(Method::DELETE, &path).send()?.document;
            session
                .output
                .show(&answer, |_| format!("{} is heard again.", clean(name)))?;
        }
        Command::Silences => {
            let silences = client.get("/alerts/silences")?;
            session.output.show(&silences, |paint| {
                let mut table = Table::new(&["RULE", "UNTIL", "BY", "REASON"]);
                for silence in silences.as_array().into_iter().flatten() {
                    let by = [text_of(&silence["by"]), text_of(&silence["reason"])];
                    table.row(
                        [text_of(&silence["name"]), time(&silence["until"])]
                            .into_iter()
                            .chain(by),
                    );
                }
                table.render(paint, "No silence is in force.")
            })?;
        }
    }
    Ok(Outcome::Yes)
}

fn list(alerts: &Value, paint: Paint, empty: &str) -> String {
    let mut table = Table::new(&[
        "ID", "SEVERITY", "SEV", "NAME", "STATE", "SINCE", "VALUE", "LIMIT", "SEEN BY", "SUMMARY",
    ]);
    for alert in alerts.as_array().into_iter().flatten() {
        let silent = if alert["silenced"] == true { " (silenced)" } else { "" };
        table.row([
            text_of(&alert["id"]),
            text_of(&alert["severity"]),
            text_of(&alert["sev"]),
            text_of(&alert["name"]),
            format!("{}{silent}", text_of(&alert["state"])),
            since(&alert["since"]),
            figure(&alert["value"]),
            figure(&alert["threshold"]),
            text_of(&alert["acknowledged_by"]),
            text_of(&alert["summary"]),
        ]);
    }
    table.render(paint, empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_alerts_are_said_in_words() {
        assert_eq!(
            list(&json!([]), Paint::new(false), "No alert is on."),
            "No alert is on.\n"
        );
    }
}
