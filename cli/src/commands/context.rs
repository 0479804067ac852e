//! Several control planes, each under a name.

use crate::contexts::{Context, Contexts, default_path};
use crate::failure::{Failure, Outcome};
use crate::options::{Global, duration};
use crate::output::{Output, Table};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All contexts; the current one has a star
    List,
    /// Make a context the current one
    Use {
        /// Its name
        name: String,
    },
    /// Add a context, or replace the one of that name; the first one is the current one
    ///
    /// The options are those of every command: --server, --token-file, --ca-file, --client-cert-file, --client-key-file, --request-timeout.
    /// The file holds the names of these files, not what is in them.
    Add(Add),
    /// Forget a context
    Remove {
        /// Its name
        name: String,
    },
}

/// A context to add.
#[derive(Args, Debug)]
pub struct Add {
    /// Its name
    name: String,
    /// Make it the current one
    #[arg(long = "use")]
    make_current: bool,
}

/// Does it.
///
/// # Errors
/// The file cannot be read or written, or the name is unknown.
pub fn run(command: &Command, global: &Global, output: Output) -> Result<Outcome, Failure> {
    let path = match &global.config {
        Some(path) => path.clone(),
        None => default_path()?,
    };
    let mut contexts = Contexts::read(&path)?;
    match command {
        Command::List => {
            let document = json!({"file": path, "current": contexts.current, "contexts": contexts.contexts});
            output.show(&document, |paint| {
                let mut table = Table::new(&["", "NAME", "SERVER", "TOKEN FILE"]);
                for (name, context) in &contexts.contexts {
                    let current = contexts.current.as_deref() == Some(name.as_str());
                    let token = context
                        .token_file
                        .as_ref()
                        .map_or("-".to_owned(), |file| file.display().to_string());
                    let star = if current { "*" } else { "" };
                    table.row([star.to_owned(), name.clone(), context.server.clone(), token]);
                }
                table.render(paint, "No contexts. Add one: optimizer context add NAME --server URL")
            })?;
        }
        Command::Use { name } => {
            contexts.named(name)?;
            contexts.current = Some(name.clone());
            contexts.write(&path)?;
            output.say(&format!("{name} is the current context."))?;
        }
        Command::Add(add) => {
            contexts.contexts.insert(add.name.clone(), of(global)?);
            if add.make_current || contexts.current.is_none() {
                contexts.current = Some(add.name.clone());
            }
            contexts.write(&path)?;
            output.say(&format!("{} is in {}.", add.name, path.display()))?;
        }
        Command::Remove { name } => {
            contexts.named(name)?;
            contexts.contexts.remove(name);
            if contexts.current.as_deref() == Some(name.as_str()) {
                contexts.current = None;
            }
            contexts.write(&path)?;
            output.say(&format!("{name} is forgotten; its files are where they were."))?;
        }
    }
    Ok(Outcome::Yes)
}

fn of(global: &Global) -> Result<Context, Failure> {
    let server = global.server.clone().filter(|server| !server.is_empty());
    let timeout = global
        .request_timeout
        .map(|time| humantime::format_duration(time).to_string());
    if let Some(text) = &timeout {
        duration(text).map_err(Failure::usage)?;
    }
    let context = Context {
        server: server.ok_or_else(|| Failure::usage("--server is missing: where is the control plane?"))?,
        token_file: global.token_file.as_deref().map(absolute).transpose()?,
        ca_file: global.ca_file.as_deref().map(absolute).transpose()?,
        client_cert_file: global.client_cert_file.as_deref().map(absolute).transpose()?,
        client_key_file: global.client_key_file.as_deref().map(absolute).transpose()?,
        request_timeout: timeout,
    };
    // Refused now, not when it is needed.
    crate::connection::Connection::from(&Global {
        config: Some(PathBuf::from("/dev/null")),
        context: None,
        ..global.clone()
    })?;
    Ok(context)
}

/// The file is used from any folder.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::file(path, &error))
}
