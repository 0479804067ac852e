//! Bars on standard error: shown on terminals alone, so that a script's log holds none.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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

/// Bytes, nobody knows how many.
#[must_use]
pub fn spinner(what: &str) -> ProgressBar {
    styled(None, "{msg} {spinner} {bytes} {bytes_per_sec} {elapsed}", what)
}

fn styled(of: Option<u64>, template: &str, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(of, ProgressDrawTarget::stderr_with_hz(RATE)).with_style(style);
    bar.with_message(what.to_owned())
}
