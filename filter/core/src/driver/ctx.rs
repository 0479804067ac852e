//! What a callback has at hand: the host, and one reading of its clock.

use super::host::Host;
use crate::Millis;

/// The host in one callback.
#[derive(Debug)]
pub(super) struct Ctx<'h, H> {
    pub(super) host: &'h H,
    /// When the callback began, milliseconds since the Unix epoch.
    pub(super) now_ms: Millis,
}

impl<'h, H> Ctx<'h, H> {
    pub(super) fn new(host: &'h H, now_ms: Millis) -> Self {
        Self { host, now_ms }
    }
}

impl<H: Host> Ctx<'_, H> {
    /// The clock that nobody sets, read now: a call to the host.
    pub(super) fn steady_ms(&self) -> Millis {
        self.host.steady_ms()
    }
}

impl<H> Clone for Ctx<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for Ctx<'_, H> {}
