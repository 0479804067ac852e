//! The control plane of the API Latency Optimizer.

mod alerts;
mod app;
mod breakers;
#[cfg(test)]
mod budgets;
mod cache;
mod credentials;
mod experiments;
mod fleet;
mod health;
mod host;
mod kernel;
mod net;
mod operations;
mod otlp;
mod purges;
mod redis;
mod replication;
mod settings;
mod storage;
mod tier;
mod transport;
mod xds;

use clap::Parser;

/// A fleet's reports are allocated and freed by the thousand each second: a third of the processor time went into the C library's
/// allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let config = app::Config::parse();
    if config.print_openapi {
        print!("{}", app::description());
        return std::process::ExitCode::SUCCESS;
    }
    if config.print_settings_reference {
        print!("{}", optimizer_proto::settings::reference());
        return std::process::ExitCode::SUCCESS;
    }
    if config.print_settings_schema {
        println!("{:#}", optimizer_proto::settings::schema());
        return std::process::ExitCode::SUCCESS;
    }
    match app::run(config).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot run");
            eprintln!("api-optimizer-control-plane: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
