//! A small shop API to put behind Envoy: answers after 20 to 80 ms, says how long its answers are fresh, and fails on request.

mod catalogue;
mod outage;
mod shop;

use outage::Outage;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;

const USAGE: &str = "usage: demo-api [--port PORT]   (default 8000; 0 = any)";

fn main() -> ExitCode {
    match port().and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("demo-api: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn port() -> Result<u16, String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => Ok(8000),
        [flag, port] if flag == "--port" => port.parse().map_err(|_| format!("{port} is no port number; {USAGE}")),
        _ => Err(USAGE.to_owned()),
    }
}

#[tokio::main]
async fn serve(port: u16) -> Result<(), String> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| format!("cannot listen on port {port}: {error}"))?;
    println!(
        "demo-api listens on {}",
        listener.local_addr().map_err(|error| error.to_string())?
    );
    let router = shop::router(Arc::new(Outage::default()));
    axum::serve(listener, router)
        .with_graceful_shutdown(asked_to_end())
        .await
        .map_err(|error| error.to_string())
}

async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
