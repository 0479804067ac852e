//! Envoy's own statistics, pushed by its metrics service sink: what the filter cannot see.

use super::peers::Peer;
use crate::plane::{Plane, now_ms};
use crate::xds::{Endpoints, Upstreams};
use control_domain::envoy_stats::Statistics;
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_server::MetricsService;
use envoy_types::pb::envoy::service::metrics::v3::{StreamMetricsMessage, StreamMetricsResponse};
use envoy_types::pb::io::prometheus::client::MetricFamily;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// Longest node id taken.
const MAX_NODE_ID: usize = 256;

/// The service.
#[derive(Debug)]
pub(crate) struct Sink {
    plane: Arc<Plane>,
}

impl Sink {
    pub(crate) fn new(plane: Arc<Plane>) -> Self {
        Self { plane }
    }
}

#[tonic::async_trait]
impl MetricsService for Sink {
    async fn stream_metrics(
        &self,
        request: Request<Streaming<StreamMetricsMessage>>,
    ) -> Result<Response<StreamMetricsResponse>, Status> {
        let peer = Peer::of(&request);
        let mut stream = request.into_inner();
        // Only the first message of a stream says whose it is.
        let mut node_id = None;
        while let Some(message) = stream.message().await? {
            if let Some(node) = message.identifier.and_then(|identifier| identifier.node) {
                peer.speaks_for(&node.id)?;
                node_id = Some(node.id).filter(|id| (1..=MAX_NODE_ID).contains(&id.len()));
            }
            let Some(node_id) = &node_id else {
                return Err(Status::invalid_argument("the first message must name the node"));
            };
            self.plane.xds.endpoints(node_id, upstreams(&message.envoy_metrics));
            let statistics = read(&message.envoy_metrics);
            self.plane.domain().envoy_stats.report(node_id, statistics, now_ms());
        }
        Ok(Response::new(StreamMetricsResponse {}))
    }
}

fn read(families: &[MetricFamily]) -> Statistics {
    let mut statistics = Statistics::default();
    for family in families {
        for metric in &family.metric {
            let counter = metric.counter.as_ref().map(|counter| counter.value());
            if let Some(value) = counter.or_else(|| metric.gauge.as_ref().map(|gauge| gauge.value())) {
                statistics.take(family.name(), whole(value));
            }
        }
    }
    statistics
}

/// Who answers for the upstreams.
fn upstreams(families: &[MetricFamily]) -> Upstreams {
    let mut upstreams = Upstreams::new();
    for family in families {
        let name = family.name().strip_prefix("cluster.");
        let Some((cluster, statistic)) = name.and_then(|name| name.rsplit_once('.')) else {
            continue;
        };
        // The control plane is none of them.
        if cluster.starts_with("control_plane") {
            continue;
        }
        let gauge = family.metric.iter().find_map(|metric| metric.gauge.as_ref());
        let value = gauge.map_or(0, |gauge| whole(gauge.value()));
        match statistic {
            "membership_total" => entry(&mut upstreams, cluster).all = value,
            "membership_healthy" => entry(&mut upstreams, cluster).healthy = value,
            // A name that was never resolved has no members, and says nothing about them.
            "update_attempt" => {
                entry(&mut upstreams, cluster);
            }
            _ => {}
        }
    }
    upstreams
}

fn entry<'u>(upstreams: &'u mut Upstreams, cluster: &str) -> &'u mut Endpoints {
    upstreams.entry(cluster.to_owned()).or_default()
}

/// Envoy's numbers are whole; what is not a number is none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(value: f64) -> u64 {
    if value.is_finite() && value > 0.0 {
        value as u64
    } else {
        0
    }
}
