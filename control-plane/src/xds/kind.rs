//! The kinds of resources an Envoy can subscribe to here.

/// A kind of resource, in the order in which changes are sent: what others refer to comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// RTDS: values that change without rebuilding anything.
    Runtime,
    /// CDS.
    Clusters,
    /// EDS.
    Endpoints,
    /// ECDS: the filter.
    Extensions,
    /// LDS.
    Listeners,
    /// RDS.
    Routes,
}

impl Kind {
    /// All kinds in sending order.
    pub(crate) const ALL: [Self; 6] = [
        Self::Runtime,
        Self::Clusters,
        Self::Endpoints,
        Self::Extensions,
        Self::Listeners,
        Self::Routes,
    ];

    /// The kind with this type URL; `None` for one that is not served here.
    pub(crate) fn of(type_url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == type_url)
    }

    /// The type URL of its resources.
    pub(crate) fn type_url(self) -> &'static str {
        match self {
            Self::Runtime => "type.googleapis.com/envoy.service.runtime.v3.Runtime",
            Self::Clusters => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Extensions => "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            Self::Listeners => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// Its name in views and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Clusters => "clusters",
            Self::Endpoints => "endpoints",
            Self::Extensions => "extensions",
            Self::Listeners => "listeners",
            Self::Routes => "routes",
        }
    }

    /// Whether a first subscription without names means all resources of the kind.
    pub(crate) fn all_by_default(self) -> bool {
        matches!(self, Self::Clusters | Self::Listeners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy;
    use envoy_types::util::pack_any;

    #[test]
    fn type_urls_are_those_of_the_messages() {
        let urls = [
            pack_any(envoy::service::runtime::v3::Runtime::default()).type_url,
            pack_any(envoy::config::cluster::v3::Cluster::default()).type_url,
            pack_any(envoy::config::endpoint::v3::ClusterLoadAssignment::default()).type_url,
            pack_any(envoy::config::core::v3::TypedExtensionConfig::default()).type_url,
            pack_any(envoy::config::listener::v3::Listener::default()).type_url,
            pack_any(envoy::config::route::v3::RouteConfiguration::default()).type_url,
        ];
        assert_eq!(Kind::ALL.map(Kind::type_url).as_slice(), urls.as_slice());
        assert!(
            urls.iter()
                .zip(Kind::ALL)
                .all(|(url, kind)| Kind::of(url) == Some(kind))
        );
        assert_eq!(Kind::of("type.googleapis.com/other"), None);
    }
}
