//! Reads and changes the settings. Every change is based on the revision that was read (`If-Match`): nobody's change is overwritten.

mod canary;
mod change;
mod diff;
mod edit;
mod path;

pub(super) use path::merge_patch;

use super::{Session, segment};
use crate::failure::{Failure, Outcome};
use crate::output::{Paint, Table, clean, text_of, time, yaml};
use change::{Base, How};
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;
use std::path::PathBuf;

/// What to do with the settings.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The settings in force, or a part of them
    Get {
        /// A field, as breaker.probes or /breaker/probes; all when absent
        field: Option<String>,
    },
    /// Change fields: breaker.probes=5; FIELD=null puts the default back
    Set {
        /// FIELD=VALUE; the value is JSON, or a string as it stands
        #[arg(required_unless_present = "file")]
        fields: Vec<String>,
        /// A document in JSON or YAML with what changes (a JSON merge patch), in place of fields
        #[arg(long, short, conflicts_with = "fields", value_name = "FILE")]
        file: Option<PathBuf>,
        /// The file is the whole document: what it leaves out takes its default
        #[arg(long, requires = "file")]
        replace: bool,
        /// How it is done
        #[command(flatten)]
        how: How,
    },
    /// Change the settings in your editor ($VISUAL, $EDITOR); what is refused is kept in a file
    Edit(edit::Arguments),
    /// What differs between two revisions, or would by a file; exit code 1 where something does
    Diff(diff::Arguments),
    /// What would come of a document, without writing it
    DryRun {
        /// The whole document, in JSON or YAML
        file: PathBuf,
        /// The file is a JSON merge patch: only what changes
        #[arg(long)]
        patch: bool,
    },
    /// Go back to an earlier revision
    Rollback {
        /// Which; the one before when absent
        revision: Option<u64>,
        /// How it is done
        #[command(flatten)]
        how: How,
    },
    /// The revisions, the newest last
    History {
        /// Only the newest so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// What a settings document may hold (JSON Schema)
    Schema {
        /// A field, as breaker.probes; all when absent
        field: Option<String>,
    },
    /// The revision on trial on a part of the fleet (`set --canary`)
    Canary {
        /// What to do with it; shown when absent
        #[command(subcommand)]
        command: Option<canary::Command>,
    },
}

/// Does it.
///
/// # Errors
/// No answer, a refusal, or a file that cannot be read.
pub fn run(session: &Session, command: &Command) -> Result<Outcome, Failure> {
    let output = session.output;
    match command {
        Command::Get { field } => {
            let document = session.client.get("/settings")?;
            let part = path::part(&document, field.as_deref())?;
            output.show(part, |_| value_text(part))?;
            Ok(Outcome::Yes)
        }
        Command::Set {
            fields,
            file,
            replace,
            how,
        } => {
            let document = match file {
                Some(file) => change::read(file)?,
                None => path::merge_patch(fields)?,
            };
            let base = Base::read(session)?;
            let method = if *replace { Method::PUT } else { Method::PATCH };
            change::write(session, method, "/settings", &document, &base, how)
        }
        Command::Edit(arguments) => edit::run(session, arguments),
        Command::Diff(arguments) => diff::run(session, arguments),
        Command::DryRun { file, patch } => {
            let document = change::read(file)?;
            let base = Base::read(session)?;
            let method = if *patch { Method::PATCH } else { Method::PUT };
            let how = How {
                dry_run: true,
                ..How::default()
            };
            change::write(session, method, "/settings", &document, &base, &how)
        }
        Command::Rollback { revision, how } => {
            let base = Base::read(session)?;
            let document = revision.map_or(Value::Null, |revision| serde_json::json!({"revision": revision}));
            change::write(session, Method::POST, "/settings/rollback", &document, &base, how)
        }
        Command::History { limit } => {
            let limit = Some(limit.to_string());
            let ask = session
                .client
                .ask(Method::GET, "/settings/history")
                .query(&[("limit", limit)]);
            let history = ask.send()?.document;
            output.show(&history, |paint| history_text(&history, paint))?;
            Ok(Outcome::Yes)
        }
        Command::Schema { field } => {
            let schema = session.client.get("/settings/schema")?;
            let part = path::part_of_schema(&schema, field.as_deref())?;
            output.show(part, |_| yaml(part))?;
            Ok(Outcome::Yes)
        }
        Command::Canary { command } => canary::run(session, command.as_ref()),
    }
}

/// A revision by its number.
fn revision(session: &Session, revision: u64) -> Result<Value, Failure> {
    session
        .client
        .get(&format!("/settings/history/{}", segment(&revision.to_string())))
}

/// A plain value as it is, anything else as YAML.
fn value_text(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => yaml(value),
        plain => clean(&text_of(plain)),
    }
}

fn history_text(history: &Value, paint: Paint) -> String {
    let mut table = Table::new(&["REVISION", "WHEN", "BY", "WAY", "CHANGES", "REASON"]);
    for recorded in history.as_array().into_iter().flatten() {
        let changes = recorded["changes"].as_array().map_or(&[][..], Vec::as_slice);
        let of = |change: &Value| {
            format!(
                "{}: {} → {}",
                text_of(&change["path"]),
                text_of(&change["before"]),
                text_of(&change["after"])
            )
        };
        let mut shown: Vec<_> = changes.iter().take(3).map(of).collect();
        if changes.len() > shown.len() {
            shown.push(format!("and {} more", changes.len() - shown.len()));
        }
        table.row([
            text_of(&recorded["revision"]),
            time(&recorded["at"]),
            text_of(&recorded["who"]),
            text_of(&recorded["door"]),
            shown.join(", "),
            text_of(&recorded["reason"]),
        ]);
    }
    table.render(paint, "No revision is kept.")
}
