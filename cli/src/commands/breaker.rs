//! The circuit breakers, and operators' overrides of them.

use super::{Session, segment};
use crate::failure::{Failure, Outcome};
use crate::output::{Paint, Table, clean, envoys, figure, name_of, since, text_of, time};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

/// What to do with breakers.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Every breaker on every Envoy, and the overrides in force
    List,
    /// Force a breaker open: no calls to that upstream
    Open(Override),
    /// Force a breaker closed: all calls, whatever it judges
    Close(Override),
    /// Let all calls through and only count what would have been refused
    DryRun(Override),
    /// Take an override back: the breaker judges again
    Auto(Override),
    /// What breakers did
    Events,
    /// Operators' overrides, the newest last
    Audit,
}

/// Which breaker, and for how long.
#[derive(Args, Debug)]
pub struct Override {
    /// Name of the upstream, or upstream/route for a route's own breaker
    breaker: String,
    /// It ends by itself after this time, up to 24h
    #[arg(long = "for", value_name = "TIME", value_parser = crate::options::duration)]
    expires_in: Option<Duration>,
    /// Why, for the audit log
    #[arg(long)]
    reason: Option<String>,
}

/// Does it.
///
/// # Errors
/// No answer, or a refusal.
pub fn run(session: &Session, command: &Command) -> Result<Outcome, Failure> {
    match command {
        Command::List => {
            let status = session.client.get("/circuit-breaker/status")?;
            session.output.show(&status, |paint| list(&status, paint))?;
            Ok(Outcome::Yes)
        }
        Command::Open(which) => override_breaker(session, which, "force-open"),
        Command::Close(which) => override_breaker(session, which, "force-close"),
        Command::DryRun(which) => override_breaker(session, which, "dry-run"),
        Command::Auto(which) => override_breaker(session, which, "reset"),
        Command::Events => {
            let events = session.client.get("/circuit-breaker/events")?;
            session.output.show(&events, |paint| {
                rows(
                    &events,
                    &["WHEN", "ENVOY", "BREAKER", "FROM", "TO", "CAUSE"],
                    |event| {
                        let cells = [&event["upstream"], &event["from"], &event["to"], &event["cause"]];
                        [time(&event["at"]), name_of(event)]
                            .into_iter()
                            .chain(cells.map(text_of))
                            .collect()
                    },
                    paint,
                    "No breaker has changed its state.",
                )
            })?;
            Ok(Outcome::Yes)
        }
        Command::Audit => {
            let audit = session.client.get("/circuit-breaker/audit")?;
            session.output.show(&audit, |paint| {
                overrides(&audit, paint, "No operator has overridden a breaker.")
            })?;
            Ok(Outcome::Yes)
        }
    }
}

fn override_breaker(session: &Session, which: &Override, action: &str) -> Result<Outcome, Failure> {
    let expires = which
        .expires_in
        .map(|time| humantime::format_duration(time).to_string());
    // A segment without blanks: `1h 30m` is written `1h30m`.
    let expires = expires.map(|text| text.replace(' ', ""));
    let answer = session
        .client
        .ask(
            Method::POST,
            &format!("/circuit-breaker/{}/{action}", segment(&which.breaker)),
        )
        .query(&[("expires_in", expires), ("reason", which.reason.clone())])
        .body("application/json", "")
        .send()?
        .document;
    let missing: Vec<String> = ["not_on", "away"]
        .iter()
        .flat_map(|list| answer[list].as_array().cloned().unwrap_or_default())
        .map(|envoy| clean(&name_of(&envoy)))
        .collect();
    session.output.show(&answer, |paint| {
        let until = match answer["until"].as_u64() {
            Some(_) => format!(", until {}", time(&answer["until"])),
            None => String::new(),
        };
        let name = clean(&which.breaker);
        let on = envoys(answer["in_force_on"].as_u64().unwrap_or_default());
        let mut text = format!("{name}: {action} is in force on {on}{until}.\n");
        if !missing.is_empty() {
            text += &format!("{} {}\n", paint.warning("Not yet on:"), missing.join(", "));
        }
        let elsewhere = answer["told_elsewhere"].as_array().map_or(0, Vec::len);
        if elsewhere > 0 {
            text += &format!(
                "Told by other replicas: {elsewhere}; optimizer breaker list shows when it is in force there.\n"
            );
        }
        text
    })?;
    Ok(Outcome::of(missing.is_empty()))
}

fn list(status: &Value, paint: Paint) -> String {
    let mut table = Table::new(&[
        "BREAKER", "ENVOY", "STATE", "JUDGED", "CALLS", "FAILED %", "REFUSED", "SINCE", "CAUSE",
    ]);
    if let Some(upstreams) = status["upstreams"].as_object() {
        for (upstream, all) in upstreams {
            for envoy in all.as_array().into_iter().flatten() {
                table.row([
                    upstream.clone(),
                    name_of(envoy),
                    text_of(&envoy["state"]),
                    text_of(&envoy["judged"]),
                    text_of(&envoy["calls"]),
                    figure(&envoy["failure_rate"]),
                    text_of(&envoy["refused_calls"]),
                    since(&envoy["since"]),
                    text_of(&envoy["cause"]),
                ]);
            }
        }
    }
    let mut text = table.render(paint, "No breaker yet: no Envoy has called an upstream.");
    if status["steered"].as_array().is_some_and(|steered| !steered.is_empty()) {
        text += &format!("\nOverrides in force:\n{}", overrides(&status["steered"], paint, ""));
    }
    text
}

fn overrides(list: &Value, paint: Paint, empty: &str) -> String {
    let head = ["WHEN", "BREAKER", "ACTION", "UNTIL", "BY", "REASON"];
    let of = |answer: &Value| {
        let middle = [
            text_of(&answer["upstream"]),
            text_of(&answer["action"]),
            time(&answer["until"]),
        ];
        let end = [
            text_of(&answer["who"]),
            answer["reason"].as_str().unwrap_or_default().to_owned(),
        ];
        std::iter::once(time(&answer["at"])).chain(middle).chain(end).collect()
    };
    rows(list, &head, of, paint, empty)
}

fn rows(list: &Value, head: &[&str], of: impl Fn(&Value) -> Vec<String>, paint: Paint, empty: &str) -> String {
    let mut table = Table::new(head);
    for entry in list.as_array().into_iter().flatten() {
        table.row(of(entry));
    }
    table.render(paint, empty)
}
