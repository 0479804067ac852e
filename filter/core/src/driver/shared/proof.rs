//! What the control plane gave this Envoy process to show in its next Hello, whichever VM says it.

use crate::driver::host::Host;
use crate::shared_map::keys;

/// Longest taken.
const MAX_BYTES: usize = 256;

/// Keeps what a Welcome gave.
pub(crate) fn save(host: &impl Host, proof: &[u8]) {
    if !proof.is_empty() && proof.len() <= MAX_BYTES {
        // Without it, a VM that takes over has to wait until the control plane has noticed that the stream before is gone.
        let _ = host.set(keys::PROOF, proof, None);
    }
}

/// The stored proof; empty at first.
pub(crate) fn load(host: &impl Host) -> Vec<u8> {
    host.get(keys::PROOF).map(|(bytes, _)| bytes).unwrap_or_default()
}
