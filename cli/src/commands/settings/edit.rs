//! The settings in an editor. Whatever happens, the text that was written is kept in a file until it is in force.

use super::Session;
use super::change::{Base, How, differences, is_everywhere, parse, send, summary};
use crate::failure::{Failure, NO, Outcome};
use crate::output::{Paint, can_ask, complain, confirmed, errors_are_coloured, json, note, yaml};
use clap::Args;
use reqwest::Method;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How often a text that is refused may be edited again.
const ATTEMPTS: usize = 20;
const HEAD: &str = "\
# The settings in force. Save and close to see what would change; close unchanged to leave everything as it is.
# This is the whole document: what you take out gets its default. deploy/SETTINGS.md says what each field means.
";

/// How it is edited and written.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Begin with this file, as an earlier edit left it, in place of the settings in force
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Edit JSON in place of YAML
    #[arg(long)]
    json: bool,
    /// Write without asking
    #[arg(long, short = 'y')]
    yes: bool,
    /// How it is done
    #[command(flatten)]
    how: How,
}

/// Edits, judges, shows the difference, asks, and writes.
pub(super) fn run(session: &Session, arguments: &Arguments) -> Result<Outcome, Failure> {
    let base = Base::read(session)?;
    let original = match &arguments.from {
        Some(from) => std::fs::read_to_string(from).map_err(|error| Failure::file(from, &error))?,
        None if arguments.json => json(&base.document),
        None => format!("{HEAD}{}", yaml(&base.document)),
    };
    let file = keep(&original, arguments.json)?;
    let ended = attempts(session, arguments, &base, &file, &original);
    let recovery = format!(
        "Your text is kept in {0}; go on with: optimizer settings edit --from {0}",
        file.display()
    );
    match ended {
        // It is in force, or was left as it was: nothing to keep.
        Ok(Ended::Done(outcome)) => {
            let _ = std::fs::remove_file(&file);
            Ok(outcome)
        }
        Ok(Ended::Kept(outcome)) => {
            note(&recovery);
            Ok(outcome)
        }
        Err(failure) => Err(failure.advised(recovery)),
    }
}

/// How editing ended.
enum Ended {
    /// The text is of no use any more.
    Done(Outcome),
    /// The text is not in force, and is kept.
    Kept(Outcome),
}

/// A file for its owner alone, which stays.
fn keep(text: &str, json: bool) -> Result<PathBuf, Failure> {
    let failed = |error: &std::io::Error| Failure::usage(format!("A file for the editor cannot be made: {error}"));
    let mut file = tempfile::Builder::new()
        .prefix("optimizer-settings-")
        .suffix(if json { ".json" } else { ".yaml" })
        .tempfile()
        .map_err(|error| failed(&error))?;
    file.write_all(text.as_bytes()).map_err(|error| failed(&error))?;
    let (_, path) = file.keep().map_err(|error| failed(&error.error))?;
    Ok(path)
}

fn attempts(
    session: &Session,
    arguments: &Arguments,
    base: &Base,
    file: &Path,
    original: &str,
) -> Result<Ended, Failure> {
    for _ in 0..ATTEMPTS {
        edit(file)?;
        let text = std::fs::read_to_string(file).map_err(|error| Failure::file(file, &error))?;
        if text == original && arguments.from.is_none() {
            session.output.say("Nothing was changed.")?;
            return Ok(Ended::Done(Outcome::Yes));
        }
        let judged = parse(&text)
            .map_err(|reason| Failure::Refused {
                message: format!("This is neither JSON nor YAML: {reason}"),
                violations: Vec::new(),
            })
            .and_then(|document| Ok((judge(session, &document, base, &arguments.how)?, document)));
        let (would, document) = match judged {
            Ok(judged) => judged,
            Err(refused @ Failure::Refused { .. }) => {
                // Where nobody can be asked, it is told at the end.
                if arguments.yes || !can_ask() {
                    return Err(refused);
                }
                complain(&refused);
                match confirmed("Edit it again?") {
                    Some(true) => continue,
                    _ => return Ok(Ended::Kept(Outcome::No(refused.code()))),
                }
            }
            Err(other) => return Err(other),
        };
        return write(session, arguments, base, &would, &document);
    }
    Err(Failure::usage("It was refused too often"))
}

fn judge(session: &Session, document: &Value, base: &Base, how: &How) -> Result<Value, Failure> {
    let dry = How {
        dry_run: true,
        ..how.clone()
    };
    send(session, Method::PUT, "/settings", document, base, &dry)
}

fn write(
    session: &Session,
    arguments: &Arguments,
    base: &Base,
    would: &Value,
    document: &Value,
) -> Result<Ended, Failure> {
    let how = &arguments.how;
    if would["changed"] == false || how.dry_run {
        session.output.show(would, |paint| summary(would, how, paint))?;
        let same = would["changed"] == false;
        return Ok(if same {
            Ended::Done(Outcome::Yes)
        } else {
            Ended::Kept(Outcome::Yes)
        });
    }
    if !arguments.yes {
        let changes = would["changes"].as_array().cloned().unwrap_or_default();
        note(&differences(&changes, Paint::new(errors_are_coloured())));
        match confirmed("Write this?") {
            Some(true) => {}
            Some(false) => {
                note("Nothing was written.");
                return Ok(Ended::Kept(Outcome::No(NO)));
            }
            None => {
                return Err(Failure::usage(
                    "Nothing was written: add --yes where there is no terminal to ask at",
                ));
            }
        }
    }
    let written = send(session, Method::PUT, "/settings", document, base, how)?;
    session.output.show(&written, |paint| summary(&written, how, paint))?;
    Ok(Ended::Done(Outcome::of(is_everywhere(&written))))
}

/// The user's editor, which may have arguments of its own, as git and kubectl do it.
fn edit(file: &Path) -> Result<(), Failure> {
    let set = |name| std::env::var_os(name).filter(|editor| !editor.is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".into());
    let shown = editor.to_string_lossy().into_owned();
    let mut script = editor;
    script.push(" \"$@\"");
    let ended = Command::new("sh").arg("-c").arg(script).arg(&shown).arg(file).status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::usage(format!(
            "The editor {shown} ended with {status}; nothing was written"
        ))),
        Err(error) => Err(Failure::usage(format!("The editor {shown} cannot be started: {error}"))),
    }
}
