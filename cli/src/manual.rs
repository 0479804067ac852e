//! Completions and manual pages, made from the definition of the command line.

use crate::args::Cli;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;

/// Prints the completions of a shell.
///
/// # Errors
/// Standard output cannot be written.
pub fn completions(shell: Shell, output: Output) -> Result<Outcome, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "optimizer", &mut text);
    output.say(&String::from_utf8_lossy(&text))?;
    Ok(Outcome::Yes)
}

/// Prints the manual page, or writes those of all commands into `folder`.
///
/// # Errors
/// Standard output or the folder cannot be written.
pub fn man(folder: Option<&Path>, output: Output) -> Result<Outcome, Failure> {
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).map_err(|error| Failure::file(folder, &error))?;
        clap_mangen::generate_to(Cli::command(), folder).map_err(|error| Failure::file(folder, &error))?;
        return Ok(Outcome::Yes);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .map_err(|error| Failure::usage(error.to_string()))?;
    output.say(&String::from_utf8_lossy(&page))?;
    Ok(Outcome::Yes)
}
