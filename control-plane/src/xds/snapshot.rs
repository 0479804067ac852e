//! Everything one Envoy is to be told, at one moment.

use super::kind::Kind;
use super::place::{Place, Source};
use super::resources::{self, Resource, fingerprint};
use optimizer_proto::settings::Settings;
use std::collections::BTreeMap;

/// All resources for the Envoys of one place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Snapshot {
    resources: BTreeMap<Kind, BTreeMap<String, Resource>>,
}

impl Snapshot {
    /// What settings mean to the Envoys of a place that run the filter from `source`.
    pub(crate) fn of(settings: &Settings, place: &Place, source: Option<&Source>) -> Self {
        let filter = source.map(resources::filter);
        let clusters = resources::clusters(settings, &place.trusted_ca);
        let endpoints = with_their_clusters(resources::assignments(settings), &clusters);
        let listener = resources::listener(place, filter.is_some());
        let mut snapshot = Self::default();
        snapshot.set(Kind::Runtime, [resources::runtime(settings)]);
        snapshot.set(Kind::Clusters, clusters);
        snapshot.set(Kind::Endpoints, endpoints);
        snapshot.set(Kind::Extensions, filter);
        snapshot.set(Kind::Listeners, [listener]);
        snapshot.set(Kind::Routes, [resources::routes(settings)]);
        snapshot
    }

    pub(super) fn set(&mut self, kind: Kind, resources: impl IntoIterator<Item = Resource>) {
        let named = resources.into_iter().map(|resource| (resource.name.clone(), resource));
        self.resources.insert(kind, named.collect());
    }

    /// The resources of a kind by name.
    pub(crate) fn resources(&self, kind: Kind) -> impl Iterator<Item = &Resource> {
        self.resources.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    /// Bytes of everything in it.
    pub(super) fn bytes(&self) -> usize {
        let resources = self.resources.values().flat_map(BTreeMap::values);
        resources.map(Resource::bytes).sum()
    }

    /// One resource.
    pub(crate) fn resource(&self, kind: Kind, name: &str) -> Option<&Resource> {
        self.resources.get(&kind)?.get(name)
    }
}

/// A cluster that changes is built anew, and waits for its endpoints once more: these must follow, changed or not.
fn with_their_clusters(mut assignments: Vec<Resource>, clusters: &[Resource]) -> Vec<Resource> {
    for assignment in &mut assignments {
        let cluster = clusters.iter().find(|cluster| cluster.name == assignment.name);
        let cluster = cluster.map_or("", |cluster| cluster.version.as_str());
        assignment.version = fingerprint(&[assignment.version.as_bytes(), cluster.as_bytes()]);
    }
    assignments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::resources::tests::settings;
    use serde_json::json;

    fn versions(document: serde_json::Value, kind: Kind) -> Vec<String> {
        let snapshot = Snapshot::of(&settings(document), &Place::default(), None);
        snapshot
            .resources(kind)
            .map(|resource| resource.version.clone())
            .collect()
    }

    #[test]
    fn endpoints_follow_a_cluster_that_is_built_anew() {
        let with = |idle: &str, max: u32| {
            json!({
                "max_connections": max,
                "http2": {"idle_timeout": idle},
                "upstreams": [{"name": "a", "endpoints": [{"address": "192.0.2.1:80"}]}],
            })
        };
        let endpoints = |idle, max| versions(with(idle, max), Kind::Endpoints);
        assert_ne!(endpoints("60s", 1), endpoints("61s", 1));
        assert_eq!(
            endpoints("60s", 1),
            endpoints("60s", 2),
            "limits come by the runtime layer"
        );
        assert_eq!(
            versions(with("60s", 1), Kind::Listeners),
            versions(with("61s", 2), Kind::Listeners)
        );
    }

    #[test]
    fn the_filter_is_there_where_the_place_has_one() {
        let (place, settings) = (Place::default(), settings(json!({})));
        let source = Source::File("/filter.wasm".to_owned());
        let with = |source: Option<&Source>| Snapshot::of(&settings, &place, source);
        assert!(
            with(Some(&source))
                .resource(Kind::Extensions, "api_optimizer")
                .is_some()
        );
        assert_eq!(with(None).resources(Kind::Extensions).count(), 0);
        assert_ne!(with(Some(&source)), with(Some(&Source::Module("0".to_owned()))));
    }
}
