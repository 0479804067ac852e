//! The contract between the filter and the control plane: messages, the checked values they decode to, and the algebra
//! on them.
//!
//! - [`v1`]: messages of the control link (generated from `optimizer/v1/*.proto`); feature `grpc` adds the tonic client
//!   and server;
//! - [`settings`]: the settings document, checked with every violation at once; the same code runs on both sides;
//! - [`telemetry`]: the mergeable latency sketch and the merging and checking of reports;
//! - [`answers`]: what the answers to commands say, from and for peers of the release before too;
//! - [`codes`]: words with a fixed meaning, such as the states of a breaker;
//! - [`purge`] and [`url`]: what a purge names, and the form in which URLs are compared.
//!
//! Without features this crate needs no runtime, clock or host, and builds for `wasm32-wasip1`.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod answers;
pub mod codes;
pub mod purge;
pub mod settings;
pub mod telemetry;
pub mod url;

/// Messages of the control link, protocol version 1 (see [`PROTOCOL`]). The crate `proto-messages` writes them.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
pub mod v1 {
    include!("generated/optimizer.v1.rs");
}

/// The description of [`v1`] for gRPC server reflection: an encoded `google.protobuf.FileDescriptorSet`, without comments.
#[cfg(feature = "grpc")]
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/optimizer.v1.bin");

impl std::fmt::Debug for v1::Welcome {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Welcome")
            .field("control_plane_id", &self.control_plane_id)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

/// Version of the control protocol this crate speaks, as sent in `Hello.protocol` and `Welcome.protocol`.
///
/// Peers with different versions still talk: fields are only ever added, and an unknown one is skipped.
pub const PROTOCOL: u32 = 1;

/// Largest encoded message either side sends, bytes: Envoy delivers a larger gRPC message to a Wasm filter in one copy
/// that stalls a worker.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;
