//! The settings: how they change, where they are kept, by which ways they come.

pub(crate) mod adopt;
pub(crate) mod change;
pub(crate) mod config_map;
pub(crate) mod store;
