//! Flags and environment.

use clap::Parser;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

const AFTER: &str = "\
Also read from the environment: RUST_LOG, the level of the log (info by default), and the variables of OpenTelemetry:
OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS, _TIMEOUT and _CERTIFICATE, each also for one signal; OTEL_SERVICE_NAME,
OTEL_RESOURCE_ATTRIBUTES, OTEL_METRIC_EXPORT_INTERVAL, OTEL_SDK_DISABLED and others, which deploy/README.md lists.";

/// Control plane of the API Latency Optimizer.
#[derive(Debug, Clone, Parser)]
#[command(version, after_help = AFTER)]
pub(crate) struct Config {
    /// Address to listen on, for REST and gRPC. Without it, each port that asks for credentials listens on all addresses, and one that
    /// does not on loopback alone
    #[arg(long, env = "LISTEN_ADDRESS")]
    pub(crate) address: Option<IpAddr>,

    /// Listen beyond loopback also on a port that asks for no credentials: whoever reaches it can do everything
    #[arg(long, env = "ALLOW_UNAUTHENTICATED")]
    pub(crate) allow_unauthenticated: bool,

    /// Port of the REST API; 0 picks a free one
    #[arg(long, env = "REST_PORT", default_value_t = 8080)]
    pub(crate) rest_port: u16,

    /// Port for the Envoys' control streams; 0 picks a free one
    #[arg(long, env = "GRPC_PORT", default_value_t = 18000)]
    pub(crate) grpc_port: u16,

    /// Directory in which settings survive a restart; without one they do not
    #[arg(long, env = "STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Directory laid out like a Kubernetes ConfigMap volume: one file per settings key
    #[arg(long, env = "CONFIG_DIR")]
    pub(crate) config_dir: Option<PathBuf>,

    /// Name of a ConfigMap to watch through the Kubernetes API, in place of CONFIG_DIR: a change is in force at once, without waiting
    /// for the kubelet. Needs get, list and watch of this object
    #[arg(long, env = "KUBE_CONFIG_MAP")]
    pub(crate) kube_config_map: Option<String>,

    /// Its namespace; by default that of the pod, or of the kubeconfig
    #[arg(long, env = "KUBE_NAMESPACE", requires = "kube_config_map")]
    pub(crate) kube_namespace: Option<String>,

    /// Write changes that came from elsewhere back to that ConfigMap. Needs patch of this object too
    #[arg(long, env = "KUBE_WRITE_BACK", requires = "kube_config_map")]
    pub(crate) kube_write_back: bool,

    /// Redis for the shared cache tier: redis://user:password@host:port/db, redis+cluster://user:password@host:port,host:port or
    /// redis+sentinel://user:password@host:port,host:port/service/db, and the same with rediss for TLS; without one the tier is in
    /// this process
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub(crate) redis_url: Option<String>,

    /// Authorities of the certificates of Redis (PEM); without it, those of this machine
    #[arg(long, env = "REDIS_TLS_CA_FILE", requires = "redis_url")]
    pub(crate) redis_tls_ca_file: Option<PathBuf>,

    /// Certificate chain that is shown to a Redis which asks for one (PEM)
    #[arg(long, env = "REDIS_TLS_CERT_FILE", requires = "redis_url")]
    pub(crate) redis_tls_cert_file: Option<PathBuf>,

    /// Its key
    #[arg(long, env = "REDIS_TLS_KEY_FILE", requires = "redis_url")]
    pub(crate) redis_tls_key_file: Option<PathBuf>,

    /// Act as one with all other control planes that have the same Redis and key prefix: settings, purges, operators' overrides, alerts
    /// and figures are shared, and any of them answers for the whole fleet
    #[arg(long, env = "REPLICAS", requires = "redis_url")]
    pub(crate) replicas: bool,

    /// Where other replicas reach the gRPC port of this one, host or host:port; without it LISTEN_ADDRESS where that is one address,
    /// else the address of this machine's name, which in a pod is the pod's
    #[arg(long, env = "REPLICA_ADDRESS", requires = "replicas")]
    pub(crate) replica_address: Option<String>,

    /// Authorities of the certificates of the gRPC ports of other replicas (PEM), where these speak TLS; without it
    /// GRPC_TLS_CLIENT_CA_FILE
    #[arg(long, env = "REPLICA_TLS_CA_FILE", requires = "replicas")]
    pub(crate) replica_tls_ca_file: Option<PathBuf>,

    /// The name in these certificates; without it the address itself
    #[arg(long, env = "REPLICA_TLS_NAME", requires = "replicas")]
    pub(crate) replica_tls_name: Option<String>,

    /// Begins every key in Redis
    #[arg(long, env = "REDIS_KEY_PREFIX", default_value = "api-optimizer")]
    pub(crate) redis_key_prefix: String,

    /// Memory of the smallest machine (or container) that runs an Envoy, MB of 2^20 bytes: a larger `cache_memory_mb` is refused.
    /// Without it, the memory of this machine
    #[arg(long, env = "ENVOY_MEMORY_MB", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) envoy_memory_mb: Option<u64>,

    /// Memory of a shared cache tier in this process, MB of 2^20 bytes
    #[arg(long, env = "TIER_MEMORY_MB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub(crate) tier_memory_mb: u64,

    /// File of keys that encrypt the tier's values: lines of number:base64 of 32 bytes, the first one seals; read again when it
    /// changes
    #[arg(long, env = "TIER_KEY_FILE")]
    pub(crate) tier_key_file: Option<PathBuf>,

    /// Keep the tier's values uncompressed
    #[arg(long, env = "TIER_UNCOMPRESSED")]
    pub(crate) tier_uncompressed: bool,

    /// Certificate chain for TLS on the REST port (PEM; read again when it changes)
    #[arg(long, env = "REST_TLS_CERT_FILE")]
    pub(crate) rest_tls_cert_file: Option<PathBuf>,

    /// Its key
    #[arg(long, env = "REST_TLS_KEY_FILE")]
    pub(crate) rest_tls_key_file: Option<PathBuf>,

    /// Authorities for clients of the REST port: with them, only who shows a certificate is let in
    #[arg(long, env = "REST_TLS_CLIENT_CA_FILE")]
    pub(crate) rest_tls_client_ca_file: Option<PathBuf>,

    /// Certificate chain for TLS on the gRPC port (PEM; read again when it changes)
    #[arg(long, env = "GRPC_TLS_CERT_FILE")]
    pub(crate) grpc_tls_cert_file: Option<PathBuf>,

    /// Its key
    #[arg(long, env = "GRPC_TLS_KEY_FILE")]
    pub(crate) grpc_tls_key_file: Option<PathBuf>,

    /// Authorities for Envoys: with them, only who shows a certificate is let in
    #[arg(long, env = "GRPC_TLS_CLIENT_CA_FILE")]
    pub(crate) grpc_tls_client_ca_file: Option<PathBuf>,

    /// File of tokens for Envoys on the gRPC port: one a line, good for any Envoy, or a JSON list of {"node", "token"}, each good for the
    /// Envoy of that node id alone; read again when it changes. They are sent as authorization: Bearer
    #[arg(long, env = "GRPC_TOKENS_FILE")]
    pub(crate) grpc_tokens_file: Option<PathBuf>,

    /// Names in certificates (DNS or URI, separated by commas) that speak for any Envoy of the fleet. A certificate without one of
    /// them speaks for the Envoy alone whose node id it names
    #[arg(long, env = "GRPC_FLEET_NAMES", value_delimiter = ',')]
    pub(crate) grpc_fleet_names: Vec<String>,

    /// Connections that one address may have at each port, and as many requests of operators, or four times as many calls of Envoys, at a
    /// time; Envoys that come through one proxy need as many as there are workers
    #[arg(long, env = "CONNECTIONS_PER_ADDRESS", default_value = "1024")]
    pub(crate) connections_per_address: NonZeroUsize,

    /// How long a sender may pause in the middle of a body at either port, how long one message of an Envoy may take, and for how long an
    /// answer may wait to be read before its connection is closed
    #[arg(long, env = "BODY_PAUSE", default_value = "30s", value_parser = pause)]
    pub(crate) body_pause: Duration,

    /// Names, separated by commas, by which the REST port is called beside addresses, names without a dot and those of the cluster.
    /// Looked at where it asks for no credentials
    #[arg(long, env = "REST_HOSTS", value_delimiter = ',')]
    pub(crate) rest_hosts: Vec<String>,

    /// Writing requests taken per second, from all clients together and half as many from each: far above what operators and scripts do, below what would
    /// keep the fleet busy with nothing but pushes
    #[arg(long, env = "WRITES_PER_SECOND", default_value = "500")]
    pub(crate) writes_per_second: NonZeroU32,

    /// File of tokens for REST: a JSON list of {"name", "role": viewer|operator|admin, "token"}; read again when it changes. They are sent
    /// as Authorization: Bearer, or as the password of Basic
    #[arg(long, env = "AUTH_TOKENS_FILE")]
    pub(crate) auth_tokens_file: Option<PathBuf>,

    /// With tokens, ask for one of them also at /health/live, /health/ready and /metrics
    #[arg(long, env = "CLOSE_PROBES")]
    pub(crate) close_probes: bool,

    /// URL that gets every alert as JSON
    #[arg(long, env = "ALERT_WEBHOOK_URL", hide_env_values = true)]
    pub(crate) alert_webhook_url: Option<String>,

    /// File with a bearer token for that URL
    #[arg(long, env = "ALERT_WEBHOOK_TOKEN_FILE")]
    pub(crate) alert_webhook_token_file: Option<PathBuf>,

    /// File with a routing key of PagerDuty's Events API v2
    #[arg(long, env = "PAGERDUTY_ROUTING_KEY_FILE")]
    pub(crate) pagerduty_routing_key_file: Option<PathBuf>,

    /// Where that API is
    #[arg(long, env = "PAGERDUTY_URL")]
    pub(crate) pagerduty_url: Option<String>,

    /// Base URL of an Alertmanager
    #[arg(long, env = "ALERTMANAGER_URL")]
    pub(crate) alertmanager_url: Option<String>,

    /// Admin interfaces of Envoys (http://host:9901, separated by commas) to ask for their statistics, where Envoy's metrics service
    /// sink does not push them here
    #[arg(long, env = "ENVOY_ADMIN_URLS", value_delimiter = ',')]
    pub(crate) envoy_admin_urls: Vec<reqwest::Url>,

    /// Base of the links to the runbook in alerts
    #[arg(long, env = "RUNBOOK_URL", default_value = "RUNBOOK.md")]
    pub(crate) runbook_url: String,

    /// Megabytes of the fleet's hottest responses that a new Envoy gets when it connects; 0 = it starts cold
    #[arg(long, env = "WARM_START_MB", default_value_t = 0)]
    pub(crate) warm_start_mb: u64,

    /// Folder for the bodies of restores while they are read; by default that for temporary files (TMPDIR), and STATE_DIR where nothing
    /// can be written there
    #[arg(long, env = "SPOOL_DIR")]
    pub(crate) spool_dir: Option<PathBuf>,

    /// Largest snapshot that is taken back, MB of 10^6 bytes; the folder must have room for it
    #[arg(long, env = "RESTORE_MAX_MB", default_value_t = 8_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) restore_max_mb: u64,

    /// Print the OpenAPI description of the REST API and exit
    #[arg(long)]
    pub(crate) print_openapi: bool,

    /// Print the reference of all settings (Markdown) and exit
    #[arg(long)]
    pub(crate) print_settings_reference: bool,

    /// Print the JSON Schema of a settings document and exit
    #[arg(long)]
    pub(crate) print_settings_schema: bool,

    /// Log lines as JSON
    #[arg(long, env = "LOG_JSON")]
    pub(crate) log_json: bool,
}

/// A pause that is neither none nor for ever.
fn pause(text: &str) -> Result<Duration, String> {
    let pause = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let allowed = Duration::from_secs(1)..=Duration::from_secs(300);
    allowed
        .contains(&pause)
        .then_some(pause)
        .ok_or_else(|| "from 1s to 5m".to_owned())
}
