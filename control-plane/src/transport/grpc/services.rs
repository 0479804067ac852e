//! What each service takes: how long its messages may be, and where in them messages are.

use super::parts::Shape;
use super::probes::MAX_PROBE;
use super::reflection::MAX_QUESTION;
use super::{MAX_CONTROL, MAX_DISCOVERY, MAX_RELAYED, MAX_STATISTICS, MAX_TIER};

/// The calls whose path begins so.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) path: &'static str,
    /// Whether calls go on after a message. All others have one message and end with it.
    pub(super) is_streaming: bool,
    /// Longest message.
    pub(super) length: usize,
    /// `None`: what is read of it is folded as it is read, so that parts take up nothing.
    pub(super) shape: Option<&'static Shape>,
}

const fn service(path: &'static str, is_streaming: bool, length: usize, shape: Option<&'static Shape>) -> Service {
    Service {
        path,
        is_streaming,
        length,
        shape,
    }
}

static SERVICES: [Service; 12] = [
    service("/optimizer.v1.ControlLink/", true, MAX_CONTROL, Some(&FILTER_MESSAGE)),
    service("/optimizer.v1.CacheBackend/Get", false, MAX_TIER, Some(&FLAT)),
    service("/optimizer.v1.CacheBackend/Put", false, MAX_TIER, Some(&TIER_PUT)),
    service("/optimizer.v1.CacheBackend/Release", false, MAX_TIER, Some(&FLAT)),
    service(
        "/optimizer.v1.CacheBackend/Invalidate",
        false,
        MAX_TIER,
        Some(&TIER_INVALIDATE),
    ),
    service("/optimizer.v1.ReplicaLink/", false, MAX_RELAYED, Some(&RELAYED_COMMAND)),
    service(
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/Stream",
        true,
        MAX_DISCOVERY,
        Some(&DISCOVERY_REQUEST),
    ),
    service(
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/Delta",
        true,
        MAX_DISCOVERY,
        Some(&DELTA_DISCOVERY_REQUEST),
    ),
    service("/envoy.service.metrics.v3.MetricsService/", true, MAX_STATISTICS, None),
    service("/grpc.health.v1.Health/", false, MAX_PROBE, Some(&FLAT)),
    service(
        "/grpc.reflection.v1.ServerReflection/",
        true,
        MAX_QUESTION,
        Some(&REFLECTION_REQUEST),
    ),
    service(
        "/grpc.reflection.v1alpha.ServerReflection/",
        true,
        MAX_QUESTION,
        Some(&REFLECTION_REQUEST),
    ),
];
/// No service: nothing is read of a call to it.
static NONE: Service = service("", false, 0, Some(&FLAT));

impl Service {
    /// The service that answers to a path.
    pub(super) fn at(path: &str) -> &'static Self {
        let known = SERVICES.iter().find(|service| path.starts_with(service.path));
        known.unwrap_or(&NONE)
    }
}

/// No message in it.
static FLAT: Shape = Shape(&[]);

// The control link.
static FILTER_MESSAGE: Shape = Shape(&[(1, &FLAT), (2, &SETTINGS_ACK), (3, &REPORT), (4, &COMMAND_RESULT)]);
static SETTINGS_ACK: Shape = Shape(&[(4, &FLAT)]);
static COMMAND_RESULT: Shape = Shape(&[
    (4, &EXPORT_PAGE),
    (5, &FLAT),
    (6, &FLAT),
    (7, &FLAT),
    (8, &FLAT),
    (9, &INVENTORY_STEP),
    (10, &FLAT),
]);
static EXPORT_PAGE: Shape = Shape(&[(1, &FLAT)]);
static INVENTORY_STEP: Shape = Shape(&[(1, &FLAT), (2, &FLAT), (3, &FLAT), (4, &TOP_KEYS)]);
static TOP_KEYS: Shape = Shape(&[(2, &FLAT)]);
static REPORT: Shape = Shape(&[(5, &DELTA), (6, &GAUGES)]);
static DELTA: Shape = Shape(&[
    (1, &SERIES),
    (2, &FLAT),
    (3, &FLAT),
    (4, &BREAKER_EVENT),
    (5, &FLAT),
    (6, &FLAT),
    (7, &FLAT),
    (20, &FLAT),
    (21, &FLAT),
    (22, &FLAT),
    (23, &FLAT),
    (24, &FLAT),
]);
static SERIES: Shape = Shape(&[(6, &FLAT)]);
static BREAKER_EVENT: Shape = Shape(&[(7, &FLAT)]);
static GAUGES: Shape = Shape(&[(6, &BREAKER_GAUGE), (8, &FLAT)]);
static BREAKER_GAUGE: Shape = Shape(&[(17, &FLAT), (18, &FLAT), (19, &FLAT)]);

// The shared tier.
static TIER_PUT: Shape = Shape(&[(5, &FLAT)]);
static TIER_INVALIDATE: Shape = Shape(&[(1, &FLAT)]);

// Between replicas.
static RELAYED_COMMAND: Shape = Shape(&[(3, &COMMAND)]);
static COMMAND: Shape = Shape(&[
    (10, &FLAT),
    (11, &EXPLAIN),
    (12, &PURGE),
    (13, &FLAT),
    (14, &FLAT),
    (15, &FLAT),
    (20, &FLAT),
    (21, &COUNT),
    (30, &FLAT),
]);
static EXPLAIN: Shape = Shape(&[(5, &FLAT)]);
static PURGE: Shape = Shape(&[(4, &PURGE)]);
static COUNT: Shape = Shape(&[(1, &PURGE)]);

// Reflection.
static REFLECTION_REQUEST: Shape = Shape(&[(5, &FLAT)]);

// xDS.
static DISCOVERY_REQUEST: Shape = Shape(&[(2, &NODE), (6, &STATUS), (7, &LOCATOR)]);
static DELTA_DISCOVERY_REQUEST: Shape = Shape(&[(1, &NODE), (5, &FLAT), (7, &STATUS), (8, &LOCATOR), (9, &LOCATOR)]);
static STATUS: Shape = Shape(&[(3, &FLAT)]);
static LOCATOR: Shape = Shape(&[(2, &FLAT)]);
static NODE: Shape = Shape(&[
    (3, &STRUCT),
    (4, &FLAT),
    (8, &BUILD),
    (9, &EXTENSION),
    (11, &ADDRESS),
    (12, &PARAMETERS_ENTRY),
]);
static BUILD: Shape = Shape(&[(1, &FLAT), (2, &STRUCT)]);
static EXTENSION: Shape = Shape(&[(4, &BUILD)]);
static ADDRESS: Shape = Shape(&[(1, &FLAT), (2, &FLAT), (3, &FLAT)]);
static PARAMETERS_ENTRY: Shape = Shape(&[(2, &PARAMETERS)]);
static PARAMETERS: Shape = Shape(&[(1, &FLAT)]);
static STRUCT: Shape = Shape(&[(1, &STRUCT_ENTRY)]);
static STRUCT_ENTRY: Shape = Shape(&[(2, &VALUE)]);
static VALUE: Shape = Shape(&[(5, &STRUCT), (6, &LIST)]);
static LIST: Shape = Shape(&[(1, &VALUE)]);

#[cfg(test)]
#[path = "services_tests.rs"]
mod tests;
