//! What is read of a message of statistics, as it is read: the standard types take up hundreds of times what an empty metric has on the wire.

use crate::xds::{Endpoints, Upstreams};
use control_domain::telemetry::envoy_stats::{self, MAX_UPSTREAMS};
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, message, skip_field, string};
use prost::{DecodeError, Message};

/// Largest number taken of a statistic, which a JSON number holds still.
const MOST: u64 = 1 << 53;
/// Longest name taken of a node, or of a cluster.
pub(super) const MAX_NAME: usize = 256;

/// `envoy.service.metrics.v3.StreamMetricsMessage`, folded.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Statistics {
    /// Whose they are; only the first message of a stream says so.
    pub(super) node_id: Option<String>,
    /// Metric families in it, and the bytes that they had.
    pub(super) families: usize,
    pub(super) bytes: usize,
    /// When Envoy read them, ms since the Unix epoch: the same in all messages of a reading.
    pub(super) time_ms: Option<i64>,
    pub(super) taken: envoy_stats::Statistics,
    /// Who answers for the upstreams.
    pub(super) upstreams: Upstreams,
}

/// Of the identifier the node id alone.
#[derive(Clone, PartialEq, Message)]
struct Identifier {
    #[prost(message, optional, tag = "1")]
    node: Option<Node>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, tag = "1")]
    id: String,
}

/// `io.prometheus.client.MetricFamily`, folded: the sums of its counters and of its gauges.
#[derive(Debug, Default)]
struct Family {
    name: String,
    counter: Option<u64>,
    gauge: Option<u64>,
    /// The first of its gauges.
    first: Option<u64>,
    time_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, optional, tag = "2")]
    gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Number>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

impl Message for Statistics {
    /// It is never sent.
    fn encode_raw(&self, _: &mut impl BufMut) {}

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => {
                let mut identifier = Identifier::default();
                message::merge(wire_type, &mut identifier, buffer, context)?;
                self.node_id = identifier.node.map(|node| node.id).or(self.node_id.take());
            }
            2 => {
                let mut family = Family::default();
                let before = buffer.remaining();
                message::merge(wire_type, &mut family, buffer, context)?;
                self.families += 1;
                self.bytes += before.saturating_sub(buffer.remaining());
                self.take(&family);
            }
            _ => skip_field(wire_type, tag, buffer, context)?,
        }
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        0
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Message for Family {
    /// It is never sent.
    fn encode_raw(&self, _: &mut impl BufMut) {}

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => string::merge(wire_type, &mut self.name, buffer, context)?,
            4 => {
                let mut metric = Metric::default();
                message::merge(wire_type, &mut metric, buffer, context)?;
                self.take(&metric);
            }
            _ => skip_field(wire_type, tag, buffer, context)?,
        }
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        0
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Family {
    fn take(&mut self, metric: &Metric) {
        self.time_ms = self.time_ms.or(metric.timestamp_ms);
        let add = |sum: &mut Option<u64>, more| *sum = Some(sum.unwrap_or(0).saturating_add(more));
        if let Some(gauge) = &metric.gauge {
            self.first.get_or_insert(whole(gauge));
        }
        if let Some(counter) = &metric.counter {
            add(&mut self.counter, whole(counter));
        } else if let Some(gauge) = &metric.gauge {
            add(&mut self.gauge, whole(gauge));
        }
    }
}

impl Statistics {
    /// Takes in a later message of the same reading.
    pub(super) fn join(&mut self, later: Self) {
        self.families += later.families;
        self.bytes += later.bytes;
        self.taken.join(later.taken);
        for (name, more) in later.upstreams {
            if self.upstreams.len() < MAX_UPSTREAMS || self.upstreams.contains_key(&name) {
                let endpoints = self.upstreams.entry(name).or_default();
                endpoints.all = endpoints.all.max(more.all);
                endpoints.healthy = endpoints.healthy.max(more.healthy);
            }
        }
    }

    fn take(&mut self, family: &Family) {
        self.time_ms = self.time_ms.or(family.time_ms);
        if let Some(value) = family.counter.or(family.gauge) {
            self.taken.take(&family.name, value);
        }
        self.member(family);
    }

    fn member(&mut self, family: &Family) {
        let name = family.name.strip_prefix("cluster.");
        let Some((cluster, statistic)) = name.and_then(|name| name.rsplit_once('.')) else {
            return;
        };
        let is_known = self.upstreams.contains_key(cluster);
        // The control plane is none of them, nor who takes spans.
        if cluster.starts_with("control_plane")
            || cluster == "otel_collector"
            || cluster.len() > MAX_NAME
            || !is_known && self.upstreams.len() >= MAX_UPSTREAMS
        {
            return;
        }
        // A name that was never resolved has no members, and says nothing about them.
        if !["membership_total", "membership_healthy", "update_attempt"].contains(&statistic) {
            return;
        }
        let endpoints: &mut Endpoints = self.upstreams.entry(cluster.to_owned()).or_default();
        let value = family.first.unwrap_or(0);
        match statistic {
            "membership_total" => endpoints.all = value,
            "membership_healthy" => endpoints.healthy = value,
            _ => {}
        }
    }
}

/// Envoy's numbers are integers; anything else counts as 0.
fn whole(number: &Number) -> u64 {
    let value = number.value.unwrap_or_default();
    if value.is_finite() && value > 0.0 {
        (value as u64).min(MOST)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::config::core::v3;
    use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
    use envoy_types::pb::envoy::service::metrics::v3::stream_metrics_message as whole_message;
    use envoy_types::pb::io::prometheus::client;

    fn family(name: &str, counters: &[f64], gauges: &[f64]) -> client::MetricFamily {
        let counter = |value: &f64| client::Metric {
            counter: Some(client::Counter {
                value: Some(*value),
                ..client::Counter::default()
            }),
            timestamp_ms: Some(1),
            ..client::Metric::default()
        };
        let gauge = |value: &f64| client::Metric {
            gauge: Some(client::Gauge { value: Some(*value) }),
            ..client::Metric::default()
        };
        client::MetricFamily {
            name: Some(name.to_owned()),
            help: Some("text".to_owned()),
            metric: counters.iter().map(counter).chain(gauges.iter().map(gauge)).collect(),
            ..client::MetricFamily::default()
        }
    }

    #[test]
    fn what_envoy_sends_is_read_and_the_rest_passed_over() {
        let node = v3::Node {
            id: "envoy".to_owned(),
            cluster: "edge".to_owned(),
            ..v3::Node::default()
        };
        let message = StreamMetricsMessage {
            identifier: Some(whole_message::Identifier { node: Some(node) }),
            envoy_metrics: vec![
                family("http.ingress.downstream_rq_http2_total", &[2.0, 3.0], &[]),
                family("cluster.a.b.membership_total", &[], &[4.0, 9.0]),
                family("cluster.a.b.membership_healthy", &[], &[3.0]),
                family("cluster.c.update_attempt", &[1.0], &[]),
                family("cluster.control_plane.membership_total", &[], &[1.0]),
                family("server.memory_allocated", &[], &[f64::NAN, -5.0, 1e300]),
            ],
        };
        let read = Statistics::decode(message.encode_to_vec().as_slice()).unwrap();
        assert_eq!(read.node_id.as_deref(), Some("envoy"));
        assert_eq!(
            (read.taken.counters.requests, read.taken.counters.http2_requests),
            (5, 5)
        );
        assert_eq!(read.taken.gauges.heap_bytes, MOST);
        let upstreams: Vec<_> = read
            .upstreams
            .iter()
            .map(|(name, ends)| (name.as_str(), ends.all, ends.healthy))
            .collect();
        assert_eq!(upstreams, [("a.b", 4, 3), ("c", 0, 0)]);
        assert!(Statistics::decode(&b"\x12\x05abc"[..]).is_err());
    }
}
