//! What operators have set: its history, how it changes, who agrees on it, and where it is written down.

pub mod canary;
pub mod capacity;
pub mod change;
pub mod config_map;
pub mod doubt;
pub mod history;
pub mod quarantine;
pub mod rebase;
pub mod recovery;
pub mod reported;
pub mod shape;
pub mod shared_state;
pub mod unique_names;
pub mod write_back;
