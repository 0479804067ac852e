//! The secret under which credentials enter the cache key, the same in all VMs of this Envoy.
//!
//! Until an operator or the control plane has given one, it is made by chance, once per Envoy process. What was stored under another
//! secret is simply not found any more.

use crate::cache::KeySecret;
use crate::driver::host::Clock;
use crate::shared_map::{Cas, SharedMap, keys};

/// The secret that one VM goes by.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) secret: KeySecret,
    seen: Option<Cas>,
}

impl Held {
    /// Of a VM that has not started; it has no use for a secret yet.
    pub(crate) fn unset() -> Self {
        Self {
            secret: KeySecret::unset(),
            seen: None,
        }
    }

    /// Takes the Envoy's secret, and makes one where there is none. A host that keeps nothing leaves the VM with one of its own.
    pub(crate) fn start(&mut self, host: &(impl SharedMap + Clock)) {
        if self.adopt(host, None) {
            return;
        }
        if let Some(secret) = by_chance(host) {
            publish(host, &secret);
            if !self.adopt(host, None) {
                self.secret = secret;
            }
        }
    }

    /// Takes over what is in force now: the operator's, or what all VMs share. False when nothing is known.
    pub(crate) fn adopt(&mut self, map: &impl SharedMap, configured: Option<&KeySecret>) -> bool {
        if let Some(secret) = configured {
            if self.secret != *secret {
                self.secret = secret.clone();
            }
            self.seen = None;
            return true;
        }
        let Some((bytes, cas)) = map.get(keys::KEY_SECRET) else {
            return false;
        };
        if self.seen == Some(cas) {
            return true;
        }
        let Some(secret) = KeySecret::from_bytes(&bytes) else {
            return false;
        };
        (self.secret, self.seen) = (secret, Some(cas));
        true
    }
}

/// Gives all VMs a secret; false when they have it, or the host refuses.
pub(crate) fn publish(map: &impl SharedMap, secret: &KeySecret) -> bool {
    let known = map
        .get(keys::KEY_SECRET)
        .is_some_and(|(bytes, _)| bytes == secret.as_bytes());
    !known && map.set(keys::KEY_SECRET, secret.as_bytes(), None).is_ok()
}

fn by_chance(host: &impl Clock) -> Option<KeySecret> {
    let mut material = Vec::with_capacity(32);
    for _ in 0..4 {
        material.extend_from_slice(&host.random().to_le_bytes());
    }
    KeySecret::derived(&material)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::fake_host::FakeHost;

    #[test]
    fn all_vms_of_an_envoy_have_one_secret_and_two_envoys_have_not() {
        let (host, other) = (FakeHost::default(), FakeHost::default());
        other.random();
        let of = |host: &FakeHost| {
            let mut held = Held::unset();
            held.start(host);
            held.secret
        };
        assert_eq!(of(&host), of(&host));
        assert_ne!(of(&host), of(&other));
        assert_ne!(of(&host), Held::unset().secret);
    }

    #[test]
    fn a_new_secret_is_taken_over_and_the_operators_goes_first() {
        let host = FakeHost::default();
        let (mut one, mut two) = (Held::unset(), Held::unset());
        one.start(&host);
        two.start(&host);
        let fleet = KeySecret::derived(&[1; 16]).unwrap();
        assert!(publish(&host, &fleet) && !publish(&host, &fleet));
        assert!(one.adopt(&host, None) && two.adopt(&host, None));
        assert_eq!((&one.secret, &two.secret), (&fleet, &fleet));
        let own = KeySecret::derived(&[2; 16]).unwrap();
        assert!(one.adopt(&host, Some(&own)));
        assert_eq!(one.secret, own);
        assert!(one.adopt(&host, None));
        assert_eq!(one.secret, fleet, "and back");
    }

    #[test]
    fn a_host_that_fails_leaves_a_secret_of_ones_own() {
        let host = FakeHost::default();
        host.map.fail_all(true);
        let mut held = Held::unset();
        held.start(&host);
        assert_ne!(held.secret, Held::unset().secret);
        assert!(!held.adopt(&host, None));
    }
}
