//! The program as people and scripts run it, against a control plane that is played: what is printed, where, and the exit code.

mod contexts;
mod experiments;
mod faults;
mod played;
mod program;
mod settings;
mod snapshots;
mod texts;
