//! The control link at work: settings and commands in, acknowledgements and telemetry out. Only the leader of the workers speaks.

pub(super) mod commands;
pub(super) mod control;
pub(super) mod report;
