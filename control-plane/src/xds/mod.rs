//! What Envoys are told by xDS: clusters, endpoints, the listener, its routes and filter, and limits that change live.
//!
//! `resources` makes of the settings what Envoy understands, `stages` orders a change so that no request falls between two of its
//! parts, `sotw` and `delta` are the protocol's two variants as decisions about one stream, `service` carries them.

mod again;
mod clients;
mod delta;
mod kind;
mod made;
mod modules;
mod place;
mod publisher;
mod push_spans;
mod resources;
mod service;
mod snapshot;
mod sotw;
mod stages;
mod variant;

pub(crate) use clients::{Clients, Endpoints, EnvoyModule, Upstreams, XdsRollout};
pub(crate) use modules::{MAX_BYTES, ModuleRollout, Modules, Refused};
pub(crate) use publisher::{Sources, XdsPublisher};
pub(crate) use service::Ads;
#[cfg(test)]
pub(crate) use {
    made::{BYTES as SNAPSHOT_BYTES, PLACES},
    modules::MAX_MODULES,
    place::MAX_TEXT,
    service::FIRST,
    variant::{MAX_NAMES, MAX_REASON},
};
