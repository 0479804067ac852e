//! Commands for Envoys whose control stream is at another replica.

use crate::kernel::chance;
use crate::kernel::sync::lock;
use crate::net::calling::{self, Caller, Duplex};
use hyper_util::rt::TokioIo;
use optimizer_proto::answers;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::replica_link_client::ReplicaLinkClient;
use optimizer_proto::v1::{CommandResult, RelayedCommand};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tonic::Request;
use tonic::transport::{Channel, Endpoint, Uri};

/// A replica that does not accept a connection within this time counts as gone.
const CONNECT: Duration = Duration::from_secs(1);
/// Finds replicas that vanished without closing their connection.
const PING_EVERY: Duration = Duration::from_secs(5);
/// What the way to the other replica may take, beside the Envoy's answer.
const WAY: Duration = Duration::from_millis(500);
/// Larger than any message of an Envoy.
const MAX_ANSWER: usize = 4 * optimizer_proto::MAX_MESSAGE_BYTES;

/// How this replica is reached by the others, and they by it.
#[derive(Debug)]
pub(crate) struct Relay {
    address: String,
    tls: Option<Arc<Caller>>,
    /// Addresses by the replicas' numbers.
    others: Mutex<BTreeMap<u64, String>>,
    channels: Mutex<BTreeMap<String, Channel>>,
    /// Nobody gets in until there is one.
    secret: Mutex<Option<String>>,
}

impl Relay {
    /// Others reach this replica's gRPC port at `address`, `host:port`; with TLS they are called by it.
    pub(crate) fn new(address: String, tls: Option<Caller>) -> Self {
        Self {
            address,
            tls: tls.map(Arc::new),
            others: Mutex::default(),
            channels: Mutex::default(),
            secret: Mutex::default(),
        }
    }

    /// What the others are told.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The replicas that are there now.
    pub(super) fn known(&self, others: BTreeMap<u64, String>) {
        let used = |address: &String| others.values().any(|other| other == address);
        lock(&self.channels).retain(|address, _| used(address));
        *lock(&self.others) = others;
    }

    /// The secret that all replicas share.
    pub(super) fn agreed(&self, secret: String) {
        *lock(&self.secret) = Some(secret);
    }

    /// Whether a call with this `authorization` comes from a replica.
    pub(super) fn admits(&self, authorization: Option<&str>) -> bool {
        let given = authorization.and_then(|text| text.strip_prefix("Bearer "));
        let secret = lock(&self.secret).clone();
        let equal = |(given, secret): (&str, String)| given.as_bytes().ct_eq(secret.as_bytes()).into();
        given.zip(secret).is_some_and(equal)
    }

    /// Has another replica ask an Envoy; `None` when the replica cannot be reached, or the Envoy did not answer in time.
    pub(super) async fn ask(&self, replica: u64, envoy: &str, body: Body, timeout: Duration) -> Option<CommandResult> {
        let address = lock(&self.others).get(&replica).cloned()?;
        let client = ReplicaLinkClient::new(self.channel(&address)?);
        let mut request = Request::new(RelayedCommand {
            envoy: envoy.to_owned(),
            timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
            command: Some(answers::command(body)),
        });
        let secret = lock(&self.secret).clone()?;
        let bearer = format!("Bearer {secret}").parse().ok()?;
        request.metadata_mut().insert("authorization", bearer);
        request.set_timeout(timeout + WAY);
        let mut client = client.max_decoding_message_size(MAX_ANSWER);
        match tokio::time::timeout(timeout + WAY, client.relay(request)).await {
            Ok(Ok(answer)) => answer.into_inner().result,
            Ok(Err(status)) => {
                tracing::warn!(address, envoy, %status, "a command could not be relayed");
                None
            }
            Err(_) => {
                tracing::warn!(address, envoy, "a replica did not answer");
                None
            }
        }
    }

    fn channel(&self, address: &str) -> Option<Channel> {
        let mut channels = lock(&self.channels);
        if let Some(channel) = channels.get(address) {
            return Some(channel.clone());
        }
        // Encryption is the connector's own business.
        let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
        let endpoint = endpoint
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_EVERY);
        let tls = self.tls.clone();
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
            let tls = tls.clone();
            async move { connected(&uri, tls.as_deref()).await.map(TokioIo::new) }
        }));
        channels.insert(address.to_owned(), channel.clone());
        Some(channel)
    }
}

async fn connected(uri: &Uri, tls: Option<&Caller>) -> io::Result<Box<dyn Duplex>> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    calling::connect(authority, host, tls).await
}

/// A secret nobody can guess; none without a source of chance.
pub(super) fn proposed() -> Option<String> {
    let bytes = chance::bytes()?;
    Some(format!("{:032x}", u128::from_le_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_secret_is_let_in() {
        let relay = Relay::new("127.0.0.1:1".to_owned(), None);
        assert!(!relay.admits(Some("Bearer ")), "before anything was agreed on");
        relay.agreed("secret".to_owned());
        assert!(relay.admits(Some("Bearer secret")));
        for wrong in ["", "secret", "Bearer ", "Bearer secre", "Bearer secret2"] {
            assert!(!relay.admits(Some(wrong)), "{wrong}");
        }
        assert!(!relay.admits(None));
    }
}
