//! What the tier has done since this process began.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$about:meta])* $name:ident),* $(,)?) => {
        /// Counters.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[$about])* pub(crate) $name: AtomicU64),*
        }

        /// Their values.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
        pub(crate) struct Counts {
            $($(#[$about])* $name: u64),*
        }

        impl Counters {
            pub(crate) fn counts(&self) -> Counts {
                Counts { $($name: self.$name.load(Ordering::Relaxed)),* }
            }
        }
    };
}

counters! {
    /// Responses handed out.
    hits,
    /// Nothing to hand out.
    misses,
    /// Asked again with other selecting fields.
    vary,
    /// Told that another fetches.
    leased,
    /// Leases granted.
    leases,
    /// Offers taken.
    stores,
    /// Offers refused.
    refused,
    /// Bytes written.
    bytes,
    /// Purges recorded.
    purges,
    /// Values not handed out because purged.
    purged,
    /// Values that do not decode, decrypt or sum up.
    damaged,
    /// Sound values of another key.
    foreign,
    /// Operations that failed.
    faults,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn faulted(&self) {
        Self::add(&self.faults);
    }
}
