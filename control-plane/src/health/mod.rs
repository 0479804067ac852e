//! How well the control plane and its Envoys are: what `/health` shows and alerts are judged by, gathered from those who know.

mod monitor;
mod service;

pub(crate) use monitor::{deliver, judge};
pub(crate) use service::{HealthService, Refused, Sources};
