//! Purges, and the receipts of the Envoys that have done them.

use super::{Session, segment};
use crate::failure::{Failure, Outcome};
use crate::output::{Paint, Table, bar, clean, confirmed, envoys, name_of, note, text_of};
use clap::{ArgGroup, Args};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Between two looks at a receipt.
const PAUSE: Duration = Duration::from_millis(100);

/// What is purged, and how long to wait for it.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["url", "prefix", "host", "tag", "all", "receipt"]))]
pub struct Arguments {
    /// One absolute URL, in any spelling
    #[arg(long)]
    url: Option<String>,
    /// Everything whose URL begins with this: host/path, or /path on every host
    #[arg(long)]
    prefix: Option<String>,
    /// Everything of this host
    #[arg(long)]
    host: Option<String>,
    /// Everything with this tag, or in this cache group; may be given several times
    #[arg(long)]
    tag: Vec<String>,
    /// Everything
    #[arg(long)]
    all: bool,
    /// Only look at the receipt of an earlier purge
    #[arg(long, value_name = "ID", conflicts_with_all = ["url", "prefix", "host", "tag", "all", "soft", "dry_run"])]
    receipt: Option<String>,
    /// What is stored becomes stale instead of going: the next request asks the origin whether it is still good
    #[arg(long)]
    soft: bool,
    /// Only say what would be done
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Wait until every connected Envoy, every replica and the shared tier have done it; Envoys that are away do it when they return
    #[arg(long)]
    wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = crate::options::duration)]
    timeout: Duration,
    /// Why, for the log
    #[arg(long)]
    reason: Option<String>,
    /// A key of your own: the same purge with the same key is done once, however often it is asked for
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Do not ask before everything is purged
    #[arg(long, short = 'y')]
    yes: bool,
}

/// Purges, and waits if asked to.
///
/// # Errors
/// No answer, or a refusal.
pub fn run(session: &Session, arguments: &Arguments) -> Result<Outcome, Failure> {
    if let Some(id) = &arguments.receipt {
        let receipt = session.client.get(&format!("/cache/purges/{}", segment(id)))?;
        return finish(session, arguments, receipt);
    }
    if arguments.all && !arguments.dry_run && !arguments.yes {
        let question = format!(
            "Purge everything that {} has stored in its fleet?",
            session.client.server()
        );
        match confirmed(&question) {
            Some(true) => {}
            Some(false) => {
                note("Nothing was purged.");
                return Ok(Outcome::No(crate::failure::NO));
            }
            None => {
                return Err(Failure::usage(
                    "--all purges everything: add --yes where there is no terminal to ask at",
                ));
            }
        }
    }
    let key = arguments.idempotency_key.clone().unwrap_or_else(own_key);
    let ask = session
        .client
        .ask(Method::POST, "/cache/purge")
        .query(&[("dry_run", arguments.dry_run.then(|| "true".to_owned()))])
        .header("Idempotency-Key", (!arguments.dry_run).then_some(key.as_str()))
        .document(&body(arguments));
    let receipt = ask.send().map_err(|failure| match failure {
        Failure::Unreachable { .. } if !arguments.dry_run => failure.advised(format!(
            "Whether it was accepted is not known: the same command with --idempotency-key {key} purges once"
        )),
        other => other,
    })?;
    if arguments.dry_run {
        let would = receipt.document;
        session.output.show(&would, |_| would_purge(&would))?;
        return Ok(Outcome::Yes);
    }
    finish(session, arguments, receipt.document)
}

fn body(arguments: &Arguments) -> Value {
    let mut body = Map::new();
    let texts = [
        ("url", &arguments.url),
        ("prefix", &arguments.prefix),
        ("host", &arguments.host),
        ("reason", &arguments.reason),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            body.insert(name.to_owned(), json!(value));
        }
    }
    if !arguments.tag.is_empty() {
        body.insert("tags".to_owned(), json!(arguments.tag));
    }
    if arguments.all {
        body.insert("all".to_owned(), json!(true));
    }
    if arguments.soft {
        body.insert("soft".to_owned(), json!(true));
    }
    Value::Object(body)
}

/// Another one for each purge: of this process, at this time.
fn own_key() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("optimizer-{}-{}", std::process::id(), now.as_nanos())
}

fn finish(session: &Session, arguments: &Arguments, mut receipt: Value) -> Result<Outcome, Failure> {
    if arguments.wait {
        receipt = wait(session, arguments, receipt)?;
    }
    session.output.show(&receipt, |paint| text(&receipt, paint))?;
    if !arguments.wait && arguments.receipt.is_none() {
        return Ok(Outcome::Yes);
    }
    Ok(Outcome::of(receipt["complete"] == true))
}

fn count(receipt: &Value, list: &str) -> u64 {
    receipt[list]
        .as_array()
        .map_or(0, Vec::len)
        .try_into()
        .unwrap_or(u64::MAX)
}

/// Nobody who is there has it still to do.
fn is_settled(receipt: &Value) -> bool {
    let late = |what: &str| receipt[what] == "late";
    receipt["complete"] == true || (count(receipt, "late") == 0 && !late("replicas") && !late("shared_tier"))
}

fn wait(session: &Session, arguments: &Arguments, mut receipt: Value) -> Result<Value, Failure> {
    let Some(id) = receipt["id"].as_str().map(segment) else {
        return Ok(receipt);
    };
    let end = Instant::now() + arguments.timeout;
    let bar = bar(1, "Envoys that have purged");
    loop {
        bar.set_length(count(&receipt, "applied") + count(&receipt, "late"));
        bar.set_position(count(&receipt, "applied"));
        if is_settled(&receipt) || Instant::now() >= end {
            bar.finish_and_clear();
            return Ok(receipt);
        }
        std::thread::sleep(PAUSE);
        receipt = session.client.get(&format!("/cache/purges/{id}")).map_err(|failure| {
            bar.finish_and_clear();
            failure.advised(format!(
                "It was accepted; look again with: optimizer purge --receipt {id} --wait"
            ))
        })?;
    }
}

fn targets(document: &Value) -> String {
    let of = |target: &Value| match target["value"].as_str() {
        Some(value) if !value.is_empty() => format!("{} {}", text_of(&target["kind"]), clean(value)),
        _ => text_of(&target["kind"]),
    };
    let all = document["targets"]
        .as_array()
        .map(|targets| targets.iter().map(of).collect::<Vec<_>>());
    all.unwrap_or_default().join(", ")
}

fn would_purge(would: &Value) -> String {
    let on = envoys(count(would, "envoys"));
    format!("Would purge {} on {on}. Nothing was done.", targets(would))
}

fn text(receipt: &Value, paint: Paint) -> String {
    let matched = match receipt["matched"].as_u64() {
        Some(matched) => format!("{matched} stored responses"),
        None => format!("{} stored responses or more", receipt["matched_at_least"]),
    };
    let state = if receipt["complete"] == true {
        paint.good("done everywhere")
    } else if is_settled(receipt) {
        paint.warning("done by all who are here")
    } else {
        paint.warning("accepted")
    };
    let mut text = format!(
        "{}: {state}, {matched}. Receipt {}\n",
        targets(receipt),
        text_of(&receipt["id"])
    );
    let mut table = Table::new(&["ENVOY", "PURGED", "MATCHED"]);
    for applied in receipt["applied"].as_array().into_iter().flatten() {
        table.row([
            name_of(applied),
            format!("after {} ms", applied["after_ms"]),
            text_of(&applied["matched"]),
        ]);
    }
    let others = [
        ("late", "not yet"),
        ("away", "away: when it returns"),
        ("unknown", "not heard of since a restart"),
    ];
    for (list, word) in others {
        for envoy in receipt[list].as_array().into_iter().flatten() {
            table.row([name_of(envoy), word.to_owned(), "-".to_owned()]);
        }
    }
    text += &table.render(paint, "No Envoy is known.");
    for (part, name) in [
        ("replicas", "Other replicas have"),
        ("shared_tier", "The shared tier has"),
    ] {
        if receipt[part] == "late" {
            text += &format!("{}\n", paint.warning(&format!("{name} not recorded it yet.")));
        }
    }
    if let Some(hint) = receipt["hint"].as_str() {
        text += &format!("{}\n", clean(hint));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_is_settled_when_nobody_who_is_there_has_it_to_do() {
        let receipt = |late: Value, tier: &str, complete: bool| json!({"complete": complete, "late": late, "replicas": "told", "shared_tier": tier, "away": ["x"]});
        assert!(is_settled(&receipt(json!([]), "applied", false)));
        assert!(is_settled(&receipt(json!([]), "applied", true)));
        assert!(!is_settled(&receipt(json!([{"node_id": "a"}]), "applied", false)));
        assert!(!is_settled(&receipt(json!([]), "late", false)));
    }

    #[test]
    fn who_has_it_still_to_do_is_named() {
        let receipt = json!({"id": "7", "targets": [{"kind": "tag", "value": "news"}], "complete": false, "replicas": "told",
            "shared_tier": "applied", "matched": null, "matched_at_least": 3, "hint": null,
            "applied": [{"node_id": "a", "after_ms": 2, "matched": 3}], "late": [{"node_id": "b"}], "away": [], "unknown": []});
        let text = text(&receipt, Paint::new(false));
        assert!(
            text.starts_with("tag news: accepted, 3 stored responses or more. Receipt 7\n"),
            "{text}"
        );
        assert!(text.contains("b      not yet"), "{text}");
    }
}
