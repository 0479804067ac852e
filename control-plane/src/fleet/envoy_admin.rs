//! Envoys' own statistics, fetched from their admin interfaces: for Envoys whose bootstrap has no metrics service sink.

use super::service::FleetService;
use control_domain::telemetry::envoy_stats::Statistics;
use reqwest::{Client, Url};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const PERIOD: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);
/// More than all wanted statistics of an Envoy with thousands of clusters.
const MAX_ANSWER: usize = 8 << 20;
/// What is read; an Envoy may have a hundred thousand others.
const WANTED: &str = concat!(
    r"^(http\..*\.downstream_(rq_http|rq_completed|rq_5xx|cx_active)|cluster\..*\.upstream_(rq_total|cx_total|cx_active)$|server\.",
    r"|.*wasm.*vm_reload|overload\.|listener\..*\.downstream_.*(overflow|overload_reject)$",
    r"|listener_manager\.listener_create_|.*\.(update_rejected|init_fetch_timeout|update_success)$)"
);

/// Asks every Envoy until told to stop.
pub(crate) async fn scrape(fleet: Arc<FleetService>, envoys: Vec<Url>, mut stopped: watch::Receiver<bool>) {
    let Ok(client) = Client::builder().timeout(TIMEOUT).build() else {
        tracing::error!("Envoys cannot be asked for their statistics: no HTTP client");
        return;
    };
    let mut beat = tokio::time::interval(PERIOD);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            _ = stopped.changed() => return,
        }
        let mut requests = tokio::task::JoinSet::new();
        for envoy in envoys.clone() {
            requests.spawn(ask(client.clone(), envoy));
        }
        while let Some(answer) = requests.join_next().await {
            match answer {
                Ok(Ok((node, statistics))) => {
                    fleet.statistics(&node, statistics);
                }
                Ok(Err(reason)) => tracing::debug!(reason, "an Envoy does not tell its statistics"),
                Err(error) => tracing::warn!(%error, "asking an Envoy ended early"),
            }
        }
    }
}

async fn ask(client: Client, envoy: Url) -> Result<(String, Statistics), String> {
    let text = |error: reqwest::Error| format!("{envoy}: {}", error.without_url());
    let join = |path: &str| envoy.join(path).map_err(|error| error.to_string());
    let info = client.get(join("server_info")?).send().await.map_err(text)?;
    let info: Value = info.json().await.map_err(text)?;
    let node = info["node"]["id"].as_str().filter(|id| !id.is_empty());
    let node = node.ok_or_else(|| format!("{envoy}: a node without id"))?.to_owned();
    let query = [("filter", WANTED)];
    let answer = client.get(join("stats")?).query(&query).send().await.map_err(text)?;
    let stats = answer.bytes().await.map_err(text)?;
    if stats.len() > MAX_ANSWER {
        return Err(format!("{envoy}: statistics of {} bytes", stats.len()));
    }
    Ok((node, read(&String::from_utf8_lossy(&stats))))
}

/// Lines of `name: number`.
fn read(stats: &str) -> Statistics {
    let mut statistics = Statistics::default();
    for line in stats.lines() {
        let parsed = line
            .rsplit_once(": ")
            .and_then(|(name, value)| Some((name, value.parse().ok()?)));
        if let Some((name, value)) = parsed {
            statistics.take(name, value);
        }
    }
    statistics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_line_by_line() {
        let Statistics {
            counters,
            gauges,
            state,
        } = read(
            "cluster.origin.upstream_cx_active: 3\ncluster.origin.upstream_rq_total: 9\nserver.uptime: 12\n\
             overload.envoy.overload_actions.shrink_heap.active: 1\nhttp.ingress.downstream_rq_time: P0(nan,0)\nnonsense",
        );
        assert_eq!((counters.upstream_requests, gauges.uptime_s), (9, 12));
        assert_eq!(gauges.upstreams["origin"], 3);
        assert_eq!(state.actions().len(), 1);
    }
}
