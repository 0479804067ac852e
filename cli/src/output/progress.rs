//! Bars on standard error: shown on terminals alone, so that a script's log holds none.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

/// Redraws a second.
const RATE: u8 = 10;

/// So many of so many.
#[must_use]
pub fn bar(of: u64, what: &str) -> ProgressBar {
    styled(Some(of), "{msg} [{bar:30}] {pos}/{len} {elapsed}", what)
}

/// Bytes of a known number.
#[must_use]
pub fn bytes_bar(of: u64, what: &str) -> ProgressBar {
    styled(
        Some(of),
        "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
        what,
    )
}

/// An operation, which says itself how far it is.
#[must_use]
pub fn operation_bar(what: &str) -> ProgressBar {
    styled(None, "{msg} {spinner} {elapsed}", what)
}

/// Shows how far an operation is, as the control plane says: no more than it knows.
pub fn show_operation(bar: &ProgressBar, operation: &Value) {
    let stage = operation["stage"].as_str().unwrap_or_default();
    let in_bytes = operation["unit"] == "bytes";
    let unit = operation["unit"].as_str().unwrap_or_default();
    let position = operation["done"].as_u64().unwrap_or_default();
    let template = match (operation["total"].as_u64(), in_bytes) {
        (Some(total), _) => {
            bar.set_length(total);
            let amount = if in_bytes {
                "{bytes}/{total_bytes}"
            } else {
                "{pos}/{len}"
            };
            let words = if in_bytes { "" } else { unit };
            let left = operation["eta_seconds"].as_u64();
            let left = left.map_or_else(String::new, |seconds| format!(", {seconds} s left"));
            format!("{{msg}} [{{bar:30}}] {amount} {words}{left}")
        }
        (None, true) => "{msg} {spinner} {bytes} {elapsed}".to_owned(),
        (None, false) => format!("{{msg}} {{spinner}} {{pos}} {unit} {{elapsed}}"),
    };
    let stage = if stage == "working" {
        String::new()
    } else {
        format!(" ({stage})")
    };
    bar.set_style(ProgressStyle::with_template(&(template + &stage)).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_position(position);
    bar.tick();
}

fn styled(of: Option<u64>, template: &str, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(of, ProgressDrawTarget::stderr_with_hz(RATE)).with_style(style);
    bar.with_message(what.to_owned())
}
