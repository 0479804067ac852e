//! The end of a program that runs until it is told.

use crate::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// True on the first SIGINT or SIGTERM, or SIGHUP, which a closing terminal sends; not on a SIGHUP that is ignored from the start, as
/// under `nohup`.
///
/// # Errors
/// Signals cannot be caught.
pub fn stop() -> Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = if ignores_hangup() {
        None
    } else {
        Some(signal(SignalKind::hangup())?)
    };
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hung_up => {}
            }
        });
        told.store(true, Ordering::SeqCst);
    });
    Ok(stop)
}

fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    hangup_is_in(&status)
}

/// Whether the mask of ignored signals has the first one, SIGHUP.
fn hangup_is_in(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals() {
        assert!(hangup_is_in("Name:\tx\nSigIgn:\t0000000000001001\n"));
        assert!(!hangup_is_in("SigIgn:\t0000000000001000\n"));
        assert!(!hangup_is_in("Name:\tx\n"));
    }
}
