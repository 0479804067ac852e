//! The command: an nginx configuration, or Ingress documents, in; a settings document and a report out.

use crate::{Disk, Error, Files, Migration, NoFiles, Options, migrate, migrate_ingress};
use clap::{Args, ValueEnum};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Longest text that is read, bytes.
const MAX_TEXT: u64 = 8 << 20;

/// What can be typed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// nginx.conf, or Ingress documents (.yaml, .yml, .json); - reads from the standard input.
    configuration: PathBuf,
    /// Where the settings go; standard output if not given.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Where the report goes; standard error if not given.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
    /// What the input is, where its name does not tell.
    #[arg(long, value_enum)]
    from: Option<From>,
    /// What is known of the origin; may be given several times.
    #[arg(long, value_enum)]
    assume: Vec<Assumption>,
    /// A file that an include names may be missing.
    #[arg(long)]
    missing_includes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    Nginx,
    Ingress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Assumption {
    /// The origin minds the case of names of cookies and query parameters.
    ExactNames,
    /// The lifetime of status 200 is right for 404, 410 and all others that are cacheable by default.
    OneTtl,
    /// The origin names no freshness of its own (Cache-Control, Expires).
    SilentOrigin,
}

/// Why the command ends without settings.
enum Fault {
    /// A file, or an argument.
    File(String),
    /// What was read.
    Migration(Error),
}

/// Reads, migrates and writes; what went wrong is told on standard error, and by the exit code: 1 for a file that cannot be read or
/// written, 2 for a syntax error, 3 where the settings have no room.
#[must_use]
pub fn run(arguments: &Arguments) -> u8 {
    match migrate_files(arguments) {
        Ok(()) => 0,
        Err(Fault::File(message)) => {
            eprintln!("error: {message}");
            1
        }
        Err(Fault::Migration(error)) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

fn migrate_files(arguments: &Arguments) -> Result<(), Fault> {
    let path = &arguments.configuration;
    let text = read(path)?;
    let has = |assumption| arguments.assume.contains(&assumption);
    let options = Options {
        exact_names: has(Assumption::ExactNames),
        one_ttl: has(Assumption::OneTtl),
        silent_origin: has(Assumption::SilentOrigin),
        missing_includes: arguments.missing_includes,
    };
    let migration = migrated(arguments, path, &text, &options).map_err(Fault::Migration)?;
    let settings = format!("{:#}\n", migration.settings);
    let report = match arguments.format {
        Form::Text => migration.report.to_text(),
        Form::Json => {
            let json = serde_json::to_string_pretty(&migration.report);
            json.map_err(|error| Fault::File(error.to_string()))? + "\n"
        }
    };
    write(arguments.settings.as_deref(), &settings, &mut std::io::stdout())?;
    write(arguments.report.as_deref(), &report, &mut std::io::stderr())
}

fn migrated(arguments: &Arguments, path: &Path, text: &str, options: &Options) -> Result<Migration, Error> {
    let name = path.display().to_string();
    let is_yaml = [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending));
    let from = arguments
        .from
        .unwrap_or(if is_yaml { From::Ingress } else { From::Nginx });
    let disk = path.parent().filter(|_| !is_standard_input(path)).map(Disk::below);
    let files: &dyn Files = match &disk {
        Some(disk) => disk,
        None => &NoFiles,
    };
    match from {
        From::Nginx => migrate(&name, text, files, options),
        From::Ingress => migrate_ingress(&name, text, options),
    }
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn read(path: &Path) -> Result<String, Fault> {
    let cannot = |error: std::io::Error| Fault::File(format!("{} cannot be read: {error}", path.display()));
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if is_standard_input(path) {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(cannot)?)
    };
    source.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(Fault::File(format!(
            "{} has more than {MAX_TEXT} bytes",
            path.display()
        )));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(path: Option<&Path>, text: &str, otherwise: &mut dyn Write) -> Result<(), Fault> {
    let (result, name) = match path {
        Some(path) => (std::fs::write(path, text), path.display().to_string()),
        None => (otherwise.write_all(text.as_bytes()), "the output".to_owned()),
    };
    result.map_err(|error| Fault::File(format!("{name} cannot be written: {error}")))
}
