//! What all workers of an Envoy share: cells in its shared data, and what a wake-up between workers says. Each file owns one cell: how it
//! is encoded, and who may replace what in it.

pub(super) mod distrusted;
pub(super) mod instance;
pub(super) mod key_secret;
pub(super) mod lease;
pub(super) mod mailbox;
pub(super) mod proof;
pub(super) mod registry;
pub(super) mod settings_cell;
pub(super) mod wake;
