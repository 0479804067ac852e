//! `optimizer`: the operator's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    optimizer_cli::run(std::env::args_os())
}
