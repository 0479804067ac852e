//! How much is taken at a time, in all and from one address: connections and calls of a port, bytes of bodies. What REST may take of connections is
//! kept from gRPC, and the other way round: probes are answered whatever happens at the other port.

use crate::kernel::sync::lock;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

/// Descriptors for files, Redis, notifications.
pub(crate) const RESERVE: u64 = 64;
/// Most connections of operators and probes.
pub(crate) const REST: usize = 2_048;
/// Most connections of Envoys.
pub(crate) const GRPC: usize = 100_000;
/// Calls of an address at a time at the port for Envoys, for each connection that it may have: an Envoy has three streams, and may wait
/// for the shared tier beside them. Of operators' requests there are as many as connections.
pub(crate) const CALLS_PER_CONNECTION: usize = 4;

/// What the two ports may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) rest: usize,
    pub(crate) grpc: usize,
}

impl Limits {
    /// As many as this process may have descriptors.
    pub(crate) fn of_this_process() -> Self {
        let mut limit = getrlimit(Resource::Nofile);
        // As many as it may ask for.
        let wanted = rustix::process::Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, wanted).is_ok() {
            limit.current = limit.maximum;
        }
        Self::within(limit.current)
    }

    pub(crate) fn within(descriptors: Option<u64>) -> Self {
        let free = descriptors.unwrap_or(u64::MAX).saturating_sub(RESERVE);
        let free = usize::try_from(free).unwrap_or(usize::MAX);
        let rest = (free / 3).clamp(1, REST);
        Self {
            rest,
            grpc: free.saturating_sub(rest).clamp(1, GRPC),
        }
    }
}

/// A counted resource of one port, bounded in all and for each address: connections, calls, or bytes of bodies.
#[derive(Debug)]
pub(crate) struct Places {
    all: usize,
    each: usize,
    taken: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

/// Places that are taken. Dropped, they are free again.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    address: IpAddr,
    amount: usize,
}

impl Place {
    /// From where they were taken.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }
}

impl Places {
    pub(crate) fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self {
            all,
            each,
            taken: Mutex::default(),
        })
    }

    /// Takes `amount` for an address; `None` when there is not as much left.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr, amount: usize) -> Option<Place> {
        let mut taken = lock(&self.taken);
        let own = taken.1.get(&address).copied().unwrap_or(0);
        let (all, own) = (taken.0.checked_add(amount)?, own.checked_add(amount)?);
        if all > self.all || own > self.each {
            return None;
        }
        taken.0 = all;
        taken.1.insert(address, own);
        Some(Place {
            places: Arc::clone(self),
            address,
            amount,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.places.taken);
        taken.0 = taken.0.saturating_sub(self.amount);
        let own = taken.1.get(&self.address).copied().unwrap_or(0);
        if own > self.amount {
            taken.1.insert(self.address, own - self.amount);
        } else {
            taken.1.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_for_each() {
        let places = Places::new(3, 2);
        let [a, b]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let first = places.take(a, 1);
        let _second = places.take(a, 1).unwrap();
        assert!(first.is_some() && places.take(a, 1).is_none());
        let other = places.take(b, 1).unwrap();
        assert!(places.take(b, 1).is_none(), "all are taken");
        drop(first);
        assert!(places.take(b, 1).is_some());
        assert!(places.take(a, 1).is_some());
        assert!(places.take(b, 2).is_none() && places.take(b, usize::MAX).is_none());
        drop(other);
        assert!(places.take(b, 2).is_some());
    }

    #[test]
    fn each_port_has_descriptors_of_its_own() {
        for descriptors in [Some(256), Some(1_024), Some(1 << 20), None] {
            let limits = Limits::within(descriptors);
            let all = (limits.rest + limits.grpc) as u64 + RESERVE;
            assert!(
                all <= descriptors.unwrap_or(u64::MAX) && limits.rest >= 60,
                "{limits:?}"
            );
        }
        let all = |rest, grpc| Limits { rest, grpc };
        assert_eq!(Limits::within(Some(10)), all(1, 1));
        assert_eq!(Limits::within(None), all(2_048, 100_000));
        assert_eq!(
            Limits::within(Some(1_024)),
            all(320, 640),
            "64 of them for everything else"
        );
    }
}
