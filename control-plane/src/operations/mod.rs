//! Work that takes long: shown while it goes on, cancelled from any replica, and with a receipt at its end.

mod ledger;
mod running;
mod service;

pub(crate) use running::{Ended, Running};
pub(crate) use service::{OperationService, Unable};
