//! Fills in `envoy/static.yaml`, `envoy/native.yaml` or `envoy/dynamic.yaml`.

use crate::artefacts::Shell;
use crate::{Failure, Result, artefacts};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A part of the template between `# >>> name` and `# <<< name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The access log.
    AccessLog,
    /// Options of the route table.
    RouteConfig,
    /// Routes before the one to the origin.
    Routes,
    /// Filters before ours.
    Guards,
    /// Virtual hosts before the one of the origin.
    VirtualHosts,
    /// Our filter.
    Filter,
    /// HTTP filters behind it.
    HttpFilters,
    /// More listeners.
    Listeners,
    /// More clusters.
    Clusters,
    /// How much of a connection's data Envoy keeps.
    ConnectionBuffer,
    /// Options of the connection manager.
    ConnectionManager,
    /// The control plane's cluster.
    Control,
    /// TLS to the control plane.
    ControlTls,
    /// The token for the control plane.
    ControlSecret,
    /// Where it is shown.
    ControlToken,
    /// Spans of requests.
    Tracing,
    /// Who takes them.
    TracingCluster,
    /// Envoy's own statistics, pushed to the control plane.
    Statistics,
    /// That they come in several messages, which Envoy knows since 1.37.
    StatisticsBatches,
    /// More HTTP/1 options on the client's side.
    DownstreamHttp1,
    /// More HTTP/2 options on the client's side.
    DownstreamHttp2,
    /// HTTP/1 options on the origin's side.
    UpstreamHttp1,
    /// Time limits of the route to the origin.
    Timeouts,
    /// What Envoy does when its resources run out.
    Overload,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::AccessLog => "access-log",
            Self::RouteConfig => "route-config",
            Self::Routes => "routes",
            Self::Guards => "guards",
            Self::VirtualHosts => "virtual-hosts",
            Self::Filter => "filter",
            Self::HttpFilters => "http-filters",
            Self::Listeners => "listeners",
            Self::Clusters => "clusters",
            Self::ConnectionBuffer => "connection-buffer",
            Self::ConnectionManager => "connection-manager",
            Self::Control => "control",
            Self::ControlTls => "control-tls",
            Self::ControlSecret => "control-secret",
            Self::ControlToken => "control-token",
            Self::Tracing => "tracing",
            Self::TracingCluster => "tracing-cluster",
            Self::Statistics => "statistics",
            Self::StatisticsBatches => "statistics-batches",
            Self::DownstreamHttp1 => "downstream-http1",
            Self::DownstreamHttp2 => "downstream-http2",
            Self::UpstreamHttp1 => "upstream-http1",
            Self::Timeouts => "timeouts",
            Self::Overload => "overload",
        }
    }
}

/// How an Envoy takes its configuration from the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xds {
    /// Whole kinds of resources at a time.
    StateOfTheWorld,
    /// Changes only.
    Delta,
}

/// What goes into the template.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// Name of the Envoy.
    pub node_id: String,
    /// Address that clients connect to.
    pub listen_host: String,
    /// Port that clients connect to.
    pub listen_port: u16,
    /// Admin port, on loopback.
    pub admin_port: u16,
    /// The origin.
    pub origin: (String, u16),
    /// Port of the control plane on loopback; `None` = the filter runs without one.
    pub grpc_port: Option<u16>,
    /// Its port for REST, where modules of the filter come from.
    pub rest_port: Option<u16>,
    /// File with the token for the control plane; `None` = it asks for none.
    pub control_token: Option<PathBuf>,
    /// The filter; `None` = Envoy without it. A dynamic module is told by its ending `.so`.
    pub wasm: Option<PathBuf>,
    /// Settings document, in one line.
    pub settings: String,
    /// Heap limit, bytes.
    pub max_heap_bytes: u64,
    /// File of the access log; `None` = no access log.
    pub access_log: Option<PathBuf>,
    /// Port of an OpenTelemetry collector on loopback; `None` = nothing is traced.
    pub collector: Option<u16>,
    /// From `envoy/dynamic.yaml`, which has no parts; `None` = from `envoy/static.yaml` or `envoy/native.yaml`, as the filter is.
    pub xds: Option<Xds>,
    /// Parts to replace, by YAML that is indented to the place by the renderer.
    pub parts: BTreeMap<Part, String>,
}

impl Bootstrap {
    /// A filter-less Envoy on the given ports in front of `origin`, with everything optional left out.
    #[must_use]
    pub fn bare(listen_port: u16, admin_port: u16, origin: (String, u16)) -> Self {
        Self {
            node_id: "envoy".to_owned(),
            listen_host: "127.0.0.1".to_owned(),
            listen_port,
            admin_port,
            origin,
            grpc_port: None,
            rest_port: None,
            control_token: None,
            wasm: None,
            settings: "{}".to_owned(),
            max_heap_bytes: 4 << 30,
            access_log: None,
            collector: None,
            xds: None,
            parts: BTreeMap::new(),
        }
    }

    /// The configuration as text.
    ///
    /// # Errors
    /// The template cannot be read, or has a placeholder or lacks a part that this does not expect.
    pub fn render(&self) -> Result<String> {
        let template = match self.wasm.as_deref().map(Shell::of) {
            _ if self.xds.is_some() => "envoy/dynamic.yaml",
            Some(Shell::Native) => "envoy/native.yaml",
            Some(Shell::Wasm) | None => "envoy/static.yaml",
        };
        let path = artefacts::workspace().join(template);
        let mut text = std::fs::read_to_string(&path)
            .map_err(|error| Failure::from(error).during(&format!("reading {}", path.display())))?;
        let mut parts = self.parts.clone();
        let optional = [
            (Part::AccessLog, self.access_log.is_none()),
            (Part::Filter, self.wasm.is_none()),
            (Part::Control, self.grpc_port.is_none()),
            (Part::Statistics, self.grpc_port.is_none()),
        ];
        for (part, left_out) in optional {
            if left_out && self.xds.is_none() {
                parts.entry(part).or_default();
            }
        }
        // They are within the statistics.
        if !artefacts::envoy_is_at_least((1, 37)) && !parts.contains_key(&Part::Statistics) {
            parts.entry(Part::StatisticsBatches).or_default();
        }
        if self.collector.is_none() {
            parts.entry(Part::Tracing).or_default();
            parts.entry(Part::TracingCluster).or_default();
        }
        if self.control_token.is_none() {
            parts.entry(Part::ControlSecret).or_default();
            // It is within the other.
            if !parts.contains_key(&Part::Control) {
                parts.entry(Part::ControlToken).or_default();
            }
        }
        for (part, yaml) in parts {
            text = replace_part(&text, part.name(), &yaml)?;
        }
        for (name, value) in self.values() {
            text = text.replace(&format!("${{{name}}}"), &value);
        }
        match text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .find(|line| line.contains("${"))
        {
            Some(line) => Err(Failure::new(format!(
                "{template} has an unknown placeholder: {}",
                line.trim()
            ))),
            None => Ok(text),
        }
    }

    fn values(&self) -> [(&'static str, String); 21] {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        [
            ("NODE_ID", self.node_id.clone()),
            ("LISTEN_HOST", self.listen_host.clone()),
            ("LISTEN_PORT", self.listen_port.to_string()),
            ("ADMIN_PORT", self.admin_port.to_string()),
            ("MAX_HEAP_BYTES", self.max_heap_bytes.to_string()),
            ("ACCESS_LOG", path(&self.access_log)),
            ("WASM", path(&self.wasm)),
            ("MODULE", path(&self.wasm)),
            (
                "CONTROL_CLUSTER",
                if self.grpc_port.is_some() { "control_plane" } else { "" }.to_owned(),
            ),
            ("CONTROL_HOST", "127.0.0.1".to_owned()),
            ("CONTROL_TOKEN_FILE", path(&self.control_token)),
            ("GRPC_PORT", self.grpc_port.unwrap_or(0).to_string()),
            ("OTEL_HOST", "127.0.0.1".to_owned()),
            ("OTEL_PORT", self.collector.unwrap_or(0).to_string()),
            ("OTEL_PERCENT", "100".to_owned()),
            ("REST_PORT", self.rest_port.unwrap_or(0).to_string()),
            ("ORIGIN_HOST", self.origin.0.clone()),
            ("ORIGIN_PORT", self.origin.1.to_string()),
            ("SETTINGS", self.settings.clone()),
            ("TRUSTED_CA", "/etc/ssl/certs/ca-certificates.crt".to_owned()),
            (
                "XDS_API",
                match self.xds {
                    Some(Xds::Delta) => "DELTA_GRPC",
                    _ => "GRPC",
                }
                .to_owned(),
            ),
        ]
    }
}

fn replace_part(text: &str, name: &str, yaml: &str) -> Result<String> {
    let (start, end) = (format!("# >>> {name}"), format!("# <<< {name}"));
    let mut kept = Vec::new();
    let mut inside = false;
    let mut seen = false;
    for line in text.lines() {
        if line.trim() == start {
            let indent = line.len() - line.trim_start().len();
            kept.extend(yaml.lines().map(|line| format!("{:indent$}{line}", "")));
            (inside, seen) = (true, true);
        } else if line.trim() == end {
            inside = false;
        } else if !inside {
            kept.push(line.to_owned());
        }
    }
    if seen && !inside {
        return Ok(kept.join("\n") + "\n");
    }
    Err(Failure::new(format!("envoy/static.yaml has no complete part {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_of_the_template_is_filled() {
        let mut bootstrap = Bootstrap::bare(1, 2, ("origin.example".to_owned(), 3));
        bootstrap.wasm = Some(PathBuf::from("/filter.wasm"));
        bootstrap.grpc_port = Some(4);
        bootstrap.access_log = Some(PathBuf::from("/dev/null"));
        bootstrap.collector = Some(5);
        let text = bootstrap.render().unwrap();
        assert!(text.contains("FAIL_RELOAD") && text.contains(r#""control_cluster": "control_plane""#));
    }

    #[test]
    fn so_is_every_one_of_the_dynamic_template() {
        let mut bootstrap = Bootstrap::bare(1, 2, ("unused".to_owned(), 3));
        bootstrap.xds = Some(Xds::Delta);
        bootstrap.grpc_port = Some(4);
        assert!(bootstrap.render().unwrap().contains("api_type: DELTA_GRPC"));
    }

    #[test]
    fn the_native_template_differs_by_its_filter_alone() {
        let of = |filter: &str| {
            let mut bootstrap = Bootstrap::bare(1, 2, ("origin.example".to_owned(), 3));
            bootstrap.wasm = Some(PathBuf::from(filter));
            bootstrap.grpc_port = Some(4);
            bootstrap.access_log = Some(PathBuf::from("/dev/null"));
            let whole = bootstrap.render().unwrap();
            bootstrap.parts.insert(Part::Filter, String::new());
            let without = bootstrap.render().unwrap();
            (whole, without.split_once("\nnode:").unwrap().1.to_owned())
        };
        let ((native, beside), (wasm, same)) = (of("/filter.so"), of("/filter.wasm"));
        assert_eq!(beside, same);
        assert!(native.contains("filename: \"/filter.so\"") && !native.contains("http.wasm"));
        assert!(wasm.contains("filename: \"/filter.wasm\"") && !wasm.contains("dynamic_modules"));
    }

    #[test]
    fn parts_can_be_left_out_and_replaced() {
        let mut bootstrap = Bootstrap::bare(1, 2, ("127.0.0.1".to_owned(), 3));
        bootstrap.parts.insert(Part::Routes, "- a: 1\n  b: 2".to_owned());
        let text = bootstrap.render().unwrap();
        assert!(!text.contains("wasm") && !text.contains("control_plane"));
        assert!(text.contains("\n                        - a: 1\n                          b: 2\n"));
        assert!(replace_part("a", "filter", "").is_err());
    }
}
