//! The control plane of the API Latency Optimizer.

mod adopting;
mod alerting;
mod app;
#[cfg(test)]
mod budgets;
mod changing;
mod config;
mod config_map_door;
mod doors;
mod infrastructure;
mod inventory;
mod key_secret;
mod modules;
mod plane;
mod proofs;
mod purging;
mod replicas;
mod repository;
mod restoring;
mod steering;
mod streams;
mod tier;
mod transfer;
mod transport;
mod warming;
mod xds;

use clap::Parser;

/// A fleet's reports are allocated and freed by the thousand each second: a third of the processor time went into the C library's
/// allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let config = config::Config::parse();
    if config.print_openapi {
        print!("{}", transport::rest::description());
        return std::process::ExitCode::SUCCESS;
    }
    config.start_logging();
    match app::run(config).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot run");
            eprintln!("api-optimizer-control-plane: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
