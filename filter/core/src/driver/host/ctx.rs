//! What a callback has at hand: the host, and one reading of its clock.

use super::Host;
use crate::Millis;

/// The host in one callback.
#[derive(Debug)]
pub(crate) struct Ctx<'h, H> {
    pub(crate) host: &'h H,
    /// When the callback began, milliseconds since the Unix epoch.
    pub(crate) now_ms: Millis,
}

impl<'h, H> Ctx<'h, H> {
    pub(crate) fn new(host: &'h H, now_ms: Millis) -> Self {
        Self { host, now_ms }
    }
}

impl<H: Host> Ctx<'_, H> {
    /// The clock that nobody sets, read now: a call to the host.
    pub(crate) fn steady_ms(&self) -> Millis {
        self.host.steady_ms()
    }
}

impl<H> Clone for Ctx<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for Ctx<'_, H> {}
