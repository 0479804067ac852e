//! The incremental variant of one Envoy: responses hold what has changed.

use super::kind::Kind;
use super::resources::Resource;
use super::snapshot::Snapshot;
use super::variant::{Progress, RequestOutcome, Variant, too_many};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as Delivered,
};
use std::collections::{BTreeMap, BTreeSet};

const ALL: &str = "*";

/// What is known of one kind.
#[derive(Debug, Default)]
struct Subscription {
    /// All resources of the kind, whatever their names.
    all: bool,
    names: BTreeSet<String>,
    /// What the Envoy has been sent: version by name; empty = that there is none.
    sent: BTreeMap<String, String>,
    nonce: String,
}

/// All subscriptions of a stream.
#[derive(Debug, Default)]
pub(super) struct Delta {
    subscriptions: BTreeMap<Kind, Subscription>,
    nonces: u64,
}

impl Variant for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn is_excessive(&self, request: &DeltaDiscoveryRequest) -> bool {
        let subscription = Kind::of(&request.type_url).and_then(|kind| self.subscriptions.get(&kind));
        let before = subscription.map_or(0, |subscription| subscription.names.len());
        too_many(before, request.resource_names_subscribe.iter())
            || too_many(0, request.initial_resource_versions.keys())
            || too_many(0, request.initial_resource_versions.values())
    }

    fn handle(
        &mut self,
        request: DeltaDiscoveryRequest,
        snapshot: &Snapshot,
    ) -> RequestOutcome<DeltaDiscoveryResponse> {
        let Some(kind) = Kind::of(&request.type_url) else {
            return RequestOutcome::nothing();
        };
        let first = !self.subscriptions.contains_key(&kind);
        let subscription = self.subscriptions.entry(kind).or_default();
        let answers = !first && !request.response_nonce.is_empty() && request.response_nonce == subscription.nonce;
        let progress = answers.then(|| match request.error_detail {
            Some(error) => Progress::refused(kind, error.message),
            None => Progress::Accepted(kind),
        });
        if first {
            subscription.sent = request.initial_resource_versions.into_iter().collect();
            subscription.all = kind.all_by_default() && request.resource_names_subscribe.is_empty();
        }
        subscription.subscribe(request.resource_names_subscribe);
        subscription.unsubscribe(&request.resource_names_unsubscribe);
        // A first request is answered even with nothing: an Envoy waits for it before it serves.
        let response = self.respond(kind, snapshot, first);
        RequestOutcome { progress, response }
    }

    fn pending_response(&mut self, kind: Kind, snapshot: &Snapshot) -> Option<DeltaDiscoveryResponse> {
        self.respond(kind, snapshot, false)
    }

    fn repeat(&mut self, kind: Kind, snapshot: &Snapshot) -> Option<DeltaDiscoveryResponse> {
        self.subscriptions.get_mut(&kind)?.sent.clear();
        self.respond(kind, snapshot, false)
    }

    fn has_resources(request: &DeltaDiscoveryRequest) -> bool {
        !request.initial_resource_versions.is_empty()
    }

    fn node(request: &DeltaDiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn kind(response: &DeltaDiscoveryResponse) -> Option<Kind> {
        Kind::of(&response.type_url)
    }
}

impl Delta {
    fn respond(&mut self, kind: Kind, snapshot: &Snapshot, even_empty: bool) -> Option<DeltaDiscoveryResponse> {
        let subscription = self.subscriptions.get_mut(&kind)?;
        let (resources, removed) = subscription.replay_missed(kind, snapshot);
        if resources.is_empty() && removed.is_empty() && !even_empty {
            return None;
        }
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        subscription.nonce.clone_from(&nonce);
        Some(DeltaDiscoveryResponse {
            resources,
            removed_resources: removed,
            type_url: kind.type_url().to_owned(),
            nonce,
            ..Default::default()
        })
    }
}

impl Subscription {
    /// What is subscribed to again is sent again.
    fn subscribe(&mut self, names: Vec<String>) {
        for name in names {
            if name == ALL {
                self.all = true;
                continue;
            }
            self.sent.remove(&name);
            self.names.insert(name);
        }
    }

    fn unsubscribe(&mut self, names: &[String]) {
        for name in names {
            if name == ALL {
                self.all = false;
            }
            self.names.remove(name);
        }
        let (all, names) = (self.all, &self.names);
        self.sent.retain(|name, _| all || names.contains(name));
    }

    fn replay_missed(&mut self, kind: Kind, snapshot: &Snapshot) -> (Vec<Delivered>, Vec<String>) {
        let wanted = |resource: &&Resource| self.all || self.names.contains(&resource.name);
        let changed: Vec<&Resource> = snapshot
            .resources(kind)
            .filter(wanted)
            .filter(|resource| self.sent.get(&resource.name) != Some(&resource.version))
            .collect();
        let known = self
            .sent
            .iter()
            .filter(|(_, version)| !version.is_empty())
            .map(|(name, _)| name);
        let unsent = self.names.iter().filter(|name| !self.sent.contains_key(*name));
        let gone: BTreeSet<String> = known
            .chain(unsent)
            .filter(|name| snapshot.resource(kind, name).is_none())
            .cloned()
            .collect();
        for name in &gone {
            self.sent.remove(name);
            // Somebody who asked for it by name is sent once.
            if self.names.contains(name) {
                self.sent.insert(name.clone(), String::new());
            }
        }
        for resource in &changed {
            self.sent.insert(resource.name.clone(), resource.version.clone());
        }
        (changed.into_iter().map(delivered).collect(), gone.into_iter().collect())
    }
}

fn delivered(resource: &Resource) -> Delivered {
    Delivered {
        name: resource.name.clone(),
        version: resource.version.clone(),
        resource: Some(resource.body.clone()),
        ..Default::default()
    }
}

#[cfg(test)]
#[path = "delta_tests.rs"]
mod tests;
