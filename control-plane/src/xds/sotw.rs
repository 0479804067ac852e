//! The state-of-the-world variant of one Envoy: every response of a kind holds all that is subscribed to.

use super::kind::Kind;
use super::resources::{Resource, fingerprint};
use super::snapshot::Snapshot;
use super::variant::{Progress, RequestOutcome, Variant, too_many};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one kind.
#[derive(Debug, Default)]
struct Subscription {
    /// Names asked for; none = all, where the kind allows that.
    names: BTreeSet<String>,
    /// Version and nonce of the last response.
    sent: Option<(String, String)>,
}

/// All subscriptions of a stream.
#[derive(Debug, Default)]
pub(super) struct Sotw {
    subscriptions: BTreeMap<Kind, Subscription>,
    nonces: u64,
}

impl Variant for Sotw {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn is_excessive(&self, request: &DiscoveryRequest) -> bool {
        too_many(0, request.resource_names.iter())
    }

    fn handle(&mut self, request: DiscoveryRequest, snapshot: &Snapshot) -> RequestOutcome<DiscoveryResponse> {
        let Some(kind) = Kind::of(&request.type_url) else {
            return RequestOutcome::nothing();
        };
        let first = !self.subscriptions.contains_key(&kind);
        let subscription = self.subscriptions.entry(kind).or_default();
        let last = subscription.sent.as_ref().map_or("", |(_, nonce)| nonce);
        if !first && request.response_nonce != last {
            // An answer to a response that a later one has overtaken.
            return RequestOutcome::nothing();
        }
        let progress = (!first).then(|| match request.error_detail {
            Some(error) => Progress::refused(kind, error.message),
            None => Progress::Accepted(kind),
        });
        let names: BTreeSet<String> = request.resource_names.into_iter().collect();
        let renamed = first || names != subscription.names;
        subscription.names = names;
        let response = if renamed { self.respond(kind, snapshot) } else { None };
        RequestOutcome { progress, response }
    }

    fn pending_response(&mut self, kind: Kind, snapshot: &Snapshot) -> Option<DiscoveryResponse> {
        let subscription = self.subscriptions.get(&kind)?;
        let version = version(&subscription.wanted(kind, snapshot));
        let sent = subscription.sent.as_ref().map(|(version, _)| version);
        if sent == Some(&version) {
            return None;
        }
        self.respond(kind, snapshot)
    }

    fn repeat(&mut self, kind: Kind, snapshot: &Snapshot) -> Option<DiscoveryResponse> {
        self.respond(kind, snapshot)
    }

    fn has_resources(request: &DiscoveryRequest) -> bool {
        !request.version_info.is_empty()
    }

    fn node(request: &DiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn kind(response: &DiscoveryResponse) -> Option<Kind> {
        Kind::of(&response.type_url)
    }
}

impl Sotw {
    fn respond(&mut self, kind: Kind, snapshot: &Snapshot) -> Option<DiscoveryResponse> {
        let subscription = self.subscriptions.get_mut(&kind)?;
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        let wanted = subscription.wanted(kind, snapshot);
        let version = version(&wanted);
        let response = DiscoveryResponse {
            version_info: version.clone(),
            resources: wanted.iter().map(|resource| resource.body.clone()).collect(),
            type_url: kind.type_url().to_owned(),
            nonce: nonce.clone(),
            ..Default::default()
        };
        subscription.sent = Some((version, nonce));
        Some(response)
    }
}

impl Subscription {
    fn wanted<'s>(&self, kind: Kind, snapshot: &'s Snapshot) -> Vec<&'s Resource> {
        let all = (self.names.is_empty() && kind.all_by_default()) || self.names.contains("*");
        let wanted = |resource: &&Resource| all || self.names.contains(&resource.name);
        snapshot.resources(kind).filter(wanted).collect()
    }
}

/// The version of a set of resources.
fn version(resources: &[&Resource]) -> String {
    let parts: Vec<&[u8]> = resources
        .iter()
        .flat_map(|resource| [resource.name.as_bytes(), resource.version.as_bytes()])
        .collect();
    fingerprint(&parts)
}

#[cfg(test)]
#[path = "sotw_tests.rs"]
mod tests;
