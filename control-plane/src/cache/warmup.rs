//! Warm starts: a new Envoy gets the hottest responses of the others before it is sent traffic.

use crate::cache::export::{Export, Wanted};
use crate::cache::import::Restore;
use crate::kernel::clock::now_ms;
use crate::plane::Plane;
use crate::replication::Entry;
use control_domain::warm::Warmth;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// An Envoy whose process is older than this when it connects is no new one.
const NEW_MS: u64 = 120_000;
/// Warmths remembered.
const REMEMBERED: usize = 10_000;

/// How warm which Envoy is, and how much a new one gets.
#[derive(Debug, Default)]
pub(crate) struct Warming {
    /// Bytes of responses given to a new Envoy; 0 = a new one starts cold.
    automatic_bytes: u64,
    envoys: Mutex<BTreeMap<String, Warmth>>,
}

impl Warming {
    /// New Envoys get so many bytes.
    pub(crate) fn new(automatic_bytes: u64) -> Self {
        Self {
            automatic_bytes,
            envoys: Mutex::default(),
        }
    }

    /// How warm an Envoy is.
    pub(crate) fn of(&self, envoy: &str) -> Warmth {
        let envoys = self.envoys.lock().unwrap_or_else(PoisonError::into_inner);
        envoys.get(envoy).copied().unwrap_or_default()
    }

    pub(crate) fn set(&self, envoy: &str, warmth: Warmth) {
        let mut envoys = self.envoys.lock().unwrap_or_else(PoisonError::into_inner);
        if envoys.len() >= REMEMBERED
            && let Some(one) = envoys.keys().next().cloned()
        {
            envoys.remove(&one);
        }
        envoys.insert(envoy.to_owned(), warmth);
    }
}

/// Warms an Envoy that has just connected, if it is new and new ones are to be warmed.
pub(crate) fn connected(plane: &Arc<Plane>, envoy: &str) {
    let bytes = plane.warming.automatic_bytes;
    let started_ms = plane.domain().fleet.get(envoy).map_or(0, |envoy| envoy.started_ms);
    let is_new = now_ms().saturating_sub(started_ms) < NEW_MS && plane.warming.of(envoy) == Warmth::default();
    if bytes > 0 && is_new && !begin(plane, envoy, bytes) {
        // The other replicas wait for a word.
        note(plane, envoy, Warmth::begun(0).ended());
    }
}

/// How warm an Envoy of any replica is. A new one at another replica is not warm before that says so.
pub(crate) fn of(plane: &Plane, envoy: &str) -> Warmth {
    let known = plane.warming.of(envoy);
    let has_word = known != Warmth::default() || plane.warming.automatic_bytes == 0 || plane.is_here(envoy);
    let started_ms = plane.domain().fleet.get(envoy).map_or(0, |envoy| envoy.started_ms);
    if has_word || now_ms().saturating_sub(started_ms) >= NEW_MS {
        known
    } else {
        Warmth::begun(0)
    }
}

fn note(plane: &Plane, envoy: &str, warmth: Warmth) {
    let before = plane.warming.of(envoy);
    plane.warming.set(envoy, warmth);
    if warmth.is_news_after(before) {
        plane.share_later(|| Entry::Warmed {
            envoy: envoy.to_owned(),
            warmth,
        });
    }
}

/// Begins to warm an Envoy from the others; false when there is no other.
pub(crate) fn begin(plane: &Arc<Plane>, envoy: &str, bytes: u64) -> bool {
    let others: Vec<String> = plane.everywhere().into_iter().filter(|name| name != envoy).collect();
    if others.is_empty() {
        return false;
    }
    note(plane, envoy, Warmth::begun(expected(plane, &others, bytes)));
    let (plane, envoy) = (Arc::clone(plane), envoy.to_owned());
    tokio::spawn(async move { warm(plane, envoy, others, bytes).await });
    true
}

/// About how many responses it will be: those of the Envoy that has most, within the bytes.
fn expected(plane: &Plane, others: &[String], bytes: u64) -> u64 {
    let domain = plane.domain();
    let gauges = others
        .iter()
        .filter_map(|name| domain.fleet.get(name))
        .map(|envoy| &envoy.gauges);
    let largest = gauges.max_by_key(|gauges| gauges.cache_entries);
    largest.map_or(0, |gauges| {
        let each = gauges.cache_bytes.checked_div(gauges.cache_entries).unwrap_or(1).max(1);
        gauges.cache_entries.min(bytes / each)
    })
}

async fn warm(plane: Arc<Plane>, envoy: String, others: Vec<String>, bytes: u64) {
    let wanted = Wanted {
        max_bytes: bytes,
        // A copy from cache to cache leaves nobody's data anywhere else.
        private: true,
        ..Wanted::default()
    };
    let restore = Restore::new(Arc::clone(&plane), vec![envoy.clone()], false);
    let restore = tokio::sync::Mutex::new(restore);
    let mut export = Export::new(&plane, wanted);
    export
        .run(&others, |_, record| {
            let (restore, plane, envoy) = (&restore, &plane, &envoy);
            async move {
                let mut restore = restore.lock().await;
                restore.give(record).await;
                let warmth = plane.warming.of(envoy).given(restore.so_far());
                note(plane, envoy, warmth);
                plane.is_connected(envoy)
            }
        })
        .await;
    let (restored, _) = restore.into_inner().finish().await;
    note(&plane, &envoy, plane.warming.of(&envoy).ended());
    tracing::info!(envoy, ?restored, "warmed");
}
