//! What a VM tells the shared tier in the background: responses it stored, leases it gives back, what it has made invalid.

use crate::Millis;
use crate::cache::{CacheKey, StoredView};
use crate::collapse::FetchOutcome;
use crate::driver::exchange::tier_client::{Call, SERVICE, TierClient, Work, variant};
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::shared::wake::Wake;
use crate::driver::vm::Vm;
use crate::http::fields::Fields;
use crate::shared_map::{SharedMap, keys};
use optimizer_proto::codes::TierResult;
use optimizer_proto::purge::{Stored, names_of_tag};
use optimizer_proto::url;
use optimizer_proto::v1::tier_subject::Kind;
use optimizer_proto::v1::{Fence, TierInvalidate, TierPut, TierRelease, TierSubject};
use prost::Message;
use std::time::Duration;

/// Work that waits or is under way in one VM; offers beyond it are not made.
const MAX_WORK: usize = 256;
/// Calls under way at once.
const MAX_CALLS: usize = 32;
/// Subjects told in one call, and those that wait at most: beyond it everything in the tier is made invalid.
const MAX_SUBJECTS: usize = 256;
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// An invalidation that could not be told is told again after this.
const RETRY_MS: u64 = 500;

impl TierClient {
    fn waits_to_retry(&self, now_ms: Millis) -> bool {
        (now_ms..=now_ms.saturating_add(RETRY_MS)).contains(&self.retry_ms) && self.retry_ms > now_ms
    }

    fn invalidate_again(&mut self, ctx: Ctx<'_, impl Host>, subject: TierSubject) {
        Blocks::set(ctx.host, &subject, ctx.now_ms);
        match self.work.front_mut() {
            Some(Work::Invalidate(subjects)) if !subjects.contains(&subject) => subjects.push(subject),
            Some(Work::Invalidate(_)) => {}
            _ => self.work.push_front(Work::Invalidate(vec![subject])),
        }
    }
}

impl Vm {
    /// Offers a response that is about to be stored here.
    pub(crate) fn offer(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        key: &CacheKey,
        request: &Fields<'_>,
        fence: Option<Fence>,
        value: &[u8],
        usable_until_ms: Millis,
    ) {
        let Some(fence) = fence else { return };
        let admitted = self.policies.tier.sizes.contains(&value.len())
            && self.tier.work.len() + self.tier.calls.len() < MAX_WORK
            && self.tier.breaker.is_closed();
        let Ok(view) = StoredView::decode(value, false) else {
            return;
        };
        if !admitted || usable_until_ms <= ctx.now_ms {
            return self.recorder.reason(TierResult::NotOffered);
        }
        let vary: Vec<Vec<u8>> = view.selecting().map(|(name, _)| name.to_vec()).collect();
        // The offer ends the lease.
        self.tier.leases.remove(&key.hash());
        self.tier.work.push_back(Work::Put(TierPut {
            key: key.as_bytes().to_vec(),
            variant: variant(&vary, request),
            vary,
            value: value.to_vec(),
            fence: Some(fence),
            host: text(&url::host(key.host())),
            path: text(&url::path(key.path())),
            tags: view.tags().map(text).collect(),
            usable_until_ms,
            now_ms: ctx.now_ms,
        }));
        let _ = ctx.host.enqueue(self.queue, &[Wake::Tier.byte()]);
    }

    /// A fetch has ended: where this VM holds the fleet's lease for it and has not offered the response, it gives the lease back.
    pub(crate) fn tier_landed(&mut self, host: &impl Host, hash: u64, fetched: FetchOutcome) {
        let Some(key) = self.tier.leases.remove(&hash) else {
            return;
        };
        if self.tier.work.len() >= MAX_WORK {
            return;
        }
        self.tier.work.push_back(Work::Release(TierRelease {
            key,
            holder: self.uid,
            not_shareable: fetched == FetchOutcome::NotShareable,
        }));
        let _ = host.enqueue(self.queue, &[Wake::Tier.byte()]);
    }

    /// Makes responses in the tier unusable, as they have just been here. Until the tier has been told, and for a while after,
    /// this Envoy takes none of them from it.
    pub(crate) fn invalidate_in_tier(&mut self, ctx: Ctx<'_, impl Host>, subject: TierSubject) {
        if !self.policies.tier.enabled || self.bootstrap.tier_target().is_none() {
            return;
        }
        Blocks::set(ctx.host, &subject, ctx.now_ms);
        let waiting = self.tier.work.iter_mut().find_map(|work| match work {
            Work::Invalidate(subjects) => Some(subjects),
            _ => None,
        });
        match waiting {
            Some(subjects) if subjects.contains(&subject) => {}
            Some(subjects) if subjects.len() >= MAX_SUBJECTS => {
                let everything = TierSubject {
                    kind: Kind::All.into(),
                    ..TierSubject::default()
                };
                Blocks::set(ctx.host, &everything, ctx.now_ms);
                *subjects = vec![everything];
            }
            Some(subjects) => subjects.push(subject),
            None => self.tier.work.push_front(Work::Invalidate(vec![subject])),
        }
        let _ = ctx.host.enqueue(self.queue, &[Wake::Tier.byte()]);
    }

    /// Starts what waits. Root callbacks only.
    pub(crate) fn run_tier_work(&mut self, ctx: Ctx<'_, impl Host>) {
        let Some(target) = self.bootstrap.tier_target() else {
            return self.tier.work.clear();
        };
        while self.tier.calls.len() < MAX_CALLS {
            if matches!(self.tier.work.front(), Some(Work::Invalidate(_))) && self.tier.waits_to_retry(ctx.now_ms) {
                return;
            }
            let Some(work) = self.tier.work.pop_front() else {
                return;
            };
            let (method, message) = match &work {
                Work::Put(offer) => ("Put", offer.encode_to_vec()),
                Work::Release(lease) => ("Release", lease.encode_to_vec()),
                Work::Invalidate(subjects) => {
                    let subjects = subjects.clone();
                    ("Invalidate", TierInvalidate { subjects }.encode_to_vec())
                }
            };
            match ctx.host.grpc_call(&target, SERVICE, method, &message, CALL_TIMEOUT) {
                Ok(token) => drop(self.tier.calls.insert(token, Call::Work(work))),
                Err(_) => self.tier_work_done(ctx, work, false),
            }
        }
    }

    pub(crate) fn tier_work_done(&mut self, ctx: Ctx<'_, impl Host>, work: Work, done: bool) {
        match work {
            Work::Put(_) => self.recorder.reason(if done {
                TierResult::Offered
            } else {
                TierResult::OfferLost
            }),
            // It ends by itself.
            Work::Release(_) => {}
            Work::Invalidate(_) if done => {}
            Work::Invalidate(subjects) => {
                self.recorder.reason(TierResult::InvalidationLate);
                self.tier.retry_ms = ctx.now_ms.saturating_add(RETRY_MS);
                for subject in subjects {
                    self.tier.invalidate_again(ctx, subject);
                }
            }
        }
    }
}

/// What this Envoy does not take from the tier for a moment, because it has just made it invalid and the tier may not know: a
/// fixed set of records in shared data. Two subjects that share a record only cost a question to the origin.
pub(crate) struct Blocks;

const RECORDS: u64 = 1_024;
/// Longer than a retry, so that it is set again before it ends.
const BLOCKED_MS: u64 = 5_000;

impl Blocks {
    fn set(map: &impl SharedMap, subject: &TierSubject, now_ms: Millis) {
        let record = match subject.kind() {
            Kind::Url => url_record(subject.host.as_bytes(), subject.value.as_bytes()),
            Kind::Tag => tag_record(subject.value.as_bytes()),
            _ => RECORDS,
        };
        // A host that refuses leaves only the moment until the tier knows.
        let _ = map.set(&record_key(record), &(now_ms + BLOCKED_MS).to_le_bytes(), None);
    }

    /// Whether a response may not be taken from the tier now.
    pub(crate) fn block<'t>(
        map: &impl SharedMap,
        host: &[u8],
        path: &[u8],
        tags: impl Iterator<Item = &'t [u8]>,
        now_ms: Millis,
    ) -> bool {
        let is_set = |record: u64| {
            map.get(&record_key(record))
                .and_then(|(bytes, _)| bytes.try_into().ok().map(u64::from_le_bytes))
                .is_some_and(|until| until > now_ms && until <= now_ms + 2 * BLOCKED_MS)
        };
        is_set(RECORDS) || is_set(url_record(host, path)) || tags.flat_map(names_of_tag).map(tag_record).any(is_set)
    }
}

fn url_record(host: &[u8], path: &[u8]) -> u64 {
    let stored = Stored::new(host, path);
    let seed = xxhash_rust::xxh3::xxh3_64(stored.host());
    xxhash_rust::xxh3::xxh3_64_with_seed(url::without_query(stored.path()), seed) % RECORDS
}

fn tag_record(tag: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(tag, 1) % RECORDS
}

fn record_key(record: u64) -> [u8; 6] {
    keys::invalidated_in_tier(u16::try_from(record).unwrap_or(0))
}

/// The subject of one URL.
pub(crate) fn url_subject(key: &CacheKey) -> TierSubject {
    TierSubject {
        kind: Kind::Url.into(),
        host: text(&url::host(key.host())),
        value: text(&url::path(key.path())),
    }
}

/// The subject of a tag; of every host without one.
pub(crate) fn tag_subject(host: &[u8], tag: &[u8]) -> TierSubject {
    TierSubject {
        kind: Kind::Tag.into(),
        host: text(&url::host(host)),
        value: text(tag),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
