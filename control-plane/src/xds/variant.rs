//! What the two variants of the protocol have in common.

use super::kind::Kind;
use super::snapshot::Snapshot;
use envoy_types::pb::envoy::config::core::v3::Node;
use prost::Message;

/// Longest reason kept of a refusal; Envoy may quote the whole resource.
pub(crate) const MAX_REASON: usize = 2_048;

/// Resources of a kind that an Envoy may name: far more than settings have.
pub(crate) const MAX_NAMES: usize = 4_096;
/// Longest of their names.
pub(crate) const MAX_NAME: usize = 1_024;

/// Whether an Envoy may name this number of resources, and these.
pub(super) fn too_many<'n>(before: usize, names: impl ExactSizeIterator<Item = &'n String>) -> bool {
    before + names.len() > MAX_NAMES || names.into_iter().any(|name| name.len() > MAX_NAME)
}

/// What an Envoy said about the last response of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is in force (ACK).
    Accepted(Kind),
    /// It is not, and why (NACK); what was in force stays.
    Refused(Kind, String),
}

impl Progress {
    pub(super) fn refused(kind: Kind, reason: String) -> Self {
        Self::Refused(kind, reason.chars().take(MAX_REASON).collect())
    }
}

/// What follows from a request.
#[derive(Debug, PartialEq)]
pub(super) struct RequestOutcome<R> {
    pub(super) progress: Option<Progress>,
    pub(super) response: Option<R>,
}

impl<R> RequestOutcome<R> {
    pub(super) fn nothing() -> Self {
        Self {
            progress: None,
            response: None,
        }
    }
}

/// A variant of the protocol, as decisions about one stream.
pub(super) trait Variant: Default + Send + Sync + 'static {
    /// What an Envoy sends.
    type Request: Send;
    /// What it is sent.
    type Response: Message + 'static;

    /// Whether a request names more than is remembered. Such a stream ends.
    fn is_excessive(&self, request: &Self::Request) -> bool;

    /// A request has come.
    fn handle(&mut self, request: Self::Request, snapshot: &Snapshot) -> RequestOutcome<Self::Response>;

    /// The response to send for a kind; `None` where the Envoy is up to date, or not subscribed.
    fn pending_response(&mut self, kind: Kind, snapshot: &Snapshot) -> Option<Self::Response>;

    /// A kind once more, told or not.
    fn repeat(&mut self, kind: Kind, snapshot: &Snapshot) -> Option<Self::Response>;

    /// Who sends it; only the first request of a stream must say so.
    fn node(request: &Self::Request) -> Option<&Node>;

    /// Whether its sender has resources already, from a stream before this one.
    fn has_resources(request: &Self::Request) -> bool;

    /// What a response is about.
    fn kind(response: &Self::Response) -> Option<Kind>;
}
