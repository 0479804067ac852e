//! Changes of settings that the control plane tries on part of the fleet, and promotes or rolls back by itself.

use super::settings::merge_patch;
use super::{Session, segment};
use crate::failure::{Failure, Outcome};
use crate::output::{Paint, Table, clean, figure, since, text_of};
use clap::{Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Which advice of the control plane is tried.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Basis {
    /// The recommended size of the cache.
    WhatIf,
    /// Lifetimes of routes, by how often responses change.
    TtlAdvice,
    /// More connections, where they are nearly used up.
    Limits,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The experiments, the newest first
    List,
    /// One of them: both arms, how they differ, what was predicted; the newest when absent
    Show {
        /// As listed
        id: Option<String>,
    },
    /// Try a change on part of the fleet; it is promoted or rolled back by itself
    Start {
        /// FIELD=VALUE; the value is JSON, or a string as it stands
        #[arg(required_unless_present = "from")]
        fields: Vec<String>,
        /// What the control plane advises, in place of fields
        #[arg(long, value_enum, conflicts_with = "fields")]
        from: Option<Basis>,
        /// Percent of the Envoys that try it [default: 25]
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=50))]
        share: Option<u8>,
        /// Latency and hits do not count for so long [default: 5m]
        #[arg(long, value_name = "TIME", value_parser = crate::options::duration)]
        warm_up: Option<Duration>,
        /// So long is measured at least [default: 5m]
        #[arg(long, value_name = "TIME", value_parser = crate::options::duration)]
        min_duration: Option<Duration>,
        /// After so long it ends [default: 1h]
        #[arg(long, value_name = "TIME", value_parser = crate::options::duration)]
        max_duration: Option<Duration>,
        /// Why, for the history
        #[arg(long)]
        reason: Option<String>,
    },
    /// Stop one and roll its change back
    Stop {
        /// As listed
        id: String,
    },
}

/// Does it.
///
/// # Errors
/// No answer, or a refusal.
pub fn run(session: &Session, command: &Command) -> Result<Outcome, Failure> {
    match command {
        Command::List => {
            let all = session.client.get(PATH)?;
            session.output.show(&all, |paint| table(&all, paint))?;
        }
        Command::Show { id } => {
            let one = match id {
                Some(id) => session.client.get(&one(id))?,
                None => session.client.get(PATH)?[0].take(),
            };
            session.output.show(&one, |paint| text(&one, paint))?;
        }
        Command::Start { .. } => {
            let ask = session.client.ask(Method::POST, PATH).document(&request(command)?);
            let begun = ask.send()?.document;
            session.output.show(&begun, |paint| text(&begun, paint))?;
        }
        Command::Stop { id } => {
            let ended = session.client.ask(Method::DELETE, &one(id)).send()?.document;
            session.output.show(&ended, |paint| text(&ended, paint))?;
        }
    }
    Ok(Outcome::Yes)
}

const PATH: &str = "/tuning/experiments";

fn one(id: &str) -> String {
    format!("{PATH}/{}", segment(id))
}

fn request(command: &Command) -> Result<Value, Failure> {
    let Command::Start {
        fields,
        from,
        share,
        warm_up,
        min_duration,
        max_duration,
        reason,
    } = command
    else {
        return Ok(Value::Null);
    };
    let time = |time: &Option<Duration>| {
        let text = time.map(|time| humantime::format_duration(time).to_string().replace(' ', ""));
        json!(text)
    };
    let settings = match from {
        Some(_) => Value::Null,
        None => merge_patch(fields)?,
    };
    let from = from.map(|basis| match basis {
        Basis::WhatIf => "what_if",
        Basis::TtlAdvice => "ttl_advice",
        Basis::Limits => "limits",
    });
    let all = [
        ("settings", settings),
        ("from", json!(from)),
        ("share", json!(share)),
        ("warm_up", time(warm_up)),
        ("min_duration", time(min_duration)),
        ("max_duration", time(max_duration)),
        ("reason", json!(reason)),
    ];
    let given = all.into_iter().filter(|(_, value)| !value.is_null());
    let given: Map<String, Value> = given.map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Value::Object(given))
}

fn table(all: &Value, paint: Paint) -> String {
    let mut table = Table::new(&["EXPERIMENT", "STATE", "BEGUN", "BY", "SUMMARY"]);
    for one in all.as_array().into_iter().flatten() {
        table.row([
            text_of(&one["id"]),
            text_of(&one["state"]),
            since(&one["started_at"]),
            text_of(&one["by"]),
            text_of(&one["summary"]),
        ]);
    }
    table.render(paint, "There was no experiment.")
}

fn text(one: &Value, paint: Paint) -> String {
    if one.is_null() {
        return "There was no experiment.".to_owned();
    }
    let mut text = format!(
        "Experiment {}, begun {} by {}: {}\n{}\n",
        clean(&text_of(&one["id"])),
        since(&one["started_at"]),
        clean(&text_of(&one["by"])),
        clean(&one["settings"].to_string()),
        clean(&text_of(&one["summary"]))
    );
    let figures = &one["figures"];
    let mut arms = Table::new(&["ARM", "ENVOYS", "REQUESTS", "ERRORS %", "P95 MS", "HIT RATIO %"]);
    for arm in ["experiment", "control"] {
        let cells = ["envoys", "requests", "error_rate", "p95_latency", "cache_hit_ratio"];
        let cells = cells.map(|field| figure(&figures[arm][field]));
        arms.row(std::iter::once(arm.to_owned()).chain(cells));
    }
    text += &arms.render(paint, "");
    let mut differences = Table::new(&["DIFFERENCE", "SEEN", "AT LEAST", "AT MOST"]);
    for (name, field) in [
        ("errors, points", "error_rate"),
        ("p95, percent", "p95_latency"),
        ("hit ratio, points", "cache_hit_ratio"),
    ] {
        let cells = ["seen", "low", "high"].map(|end| figure(&figures[field][end]));
        differences.row(std::iter::once(name.to_owned()).chain(cells));
    }
    text += &differences.render(paint, "");
    let predicted = &one["predicted"]["cache_hit_ratio"];
    if !predicted.is_null() {
        text += &format!("Predicted: {} points of the hit ratio.\n", figure(predicted));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_is_asked_for() {
        let start = |fields: &[&str], from, share, warm_up| Command::Start {
            fields: fields.iter().map(|&field| field.to_owned()).collect(),
            from,
            share,
            warm_up,
            min_duration: None,
            max_duration: None,
            reason: None,
        };
        let sent = request(&start(&["cache_size=7"], None, Some(50), Some(Duration::from_secs(90))));
        assert_eq!(
            sent.ok(),
            Some(json!({"settings": {"cache_size": 7}, "share": 50, "warm_up": "1m30s"}))
        );
        let sent = request(&start(&[], Some(Basis::TtlAdvice), None, None));
        assert_eq!(sent.ok(), Some(json!({"from": "ttl_advice"})));
    }

    #[test]
    fn no_experiment_is_said_in_words() {
        assert_eq!(text(&Value::Null, Paint::new(false)), "There was no experiment.");
    }
}
