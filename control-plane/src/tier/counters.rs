//! What the tier has done since this process began.

use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$about:meta])* $name:ident),* $(,)?) => {
        /// Counters.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[$about])* pub(crate) $name: AtomicU64),*
        }

        impl Counters {
            /// All of them with their names.
            pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed))),*]
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

    pub(crate) fn view(&self) -> Value {
        let listed: Map<String, Value> = self
            .all()
            .into_iter()
            .map(|(name, count)| (name.to_owned(), json!(count)))
            .collect();
        Value::Object(listed)
    }
}
