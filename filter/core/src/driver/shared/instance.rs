//! What this Envoy process is called, in all its VMs and over their deaths.

use crate::Millis;
use crate::driver::host::Host;
use crate::shared_map::keys;

/// Gives the process its name, once.
pub(crate) fn seed(host: &impl Host) {
    if host.get(keys::INSTANCE).is_none() {
        // Failing leaves the instance without a name until the next VM starts; the control plane then goes by the node id.
        let name = format!("{:016x}@{}", host.random(), host.now_ns() / 1_000_000);
        let _ = host.set(keys::INSTANCE, name.as_bytes(), None);
    }
}

/// Name of this Envoy process.
pub(crate) fn name(host: &impl Host) -> String {
    named(host).0
}

/// When this Envoy process started; 0 if that is not known.
pub(crate) fn started_ms(host: &impl Host) -> Millis {
    named(host).1
}

fn named(host: &impl Host) -> (String, Millis) {
    let text = host
        .get(keys::INSTANCE)
        .map(|(bytes, _)| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    match text.split_once('@') {
        Some((name, started)) => (name.to_owned(), started.parse().unwrap_or(0)),
        None => (text, 0),
    }
}
