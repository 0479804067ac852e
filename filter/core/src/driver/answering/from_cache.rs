//! Answering from the cache: look up, check, decide.

use crate::Millis;
use crate::cache::reply::{self, Answer};
use crate::cache::reuse::{Action, Reuse};
use crate::cache::{CacheKey, CacheStatus, Corrupt, Forward, ReuseReason, StoredView, Variance, selecting};
use crate::driver::exchange::plan::{ForwardPlan, Holdings, Stored};
use crate::driver::exchange::{Exchange, Flow};
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::reply::answer::Served;
use crate::driver::vm::Vm;
use crate::engine::{CacheRequest, Decision, Missing, decide};
use crate::http::fields::Fields;
use crate::policy::RoutePolicy;
use crate::reason::Reason;
use crate::store::{Found, KeyParts, Verdict};
use optimizer_proto::v1::Outcome;

/// What a lookup found for a request.
pub(super) enum Lookup {
    Usable { found: Found, soft: bool },
    Missing(Missing),
}

impl Vm {
    /// Answers from the cache, or says how to forward.
    pub(crate) fn answer_from_cache(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        cache_request: &CacheRequest<'_>,
        route: &RoutePolicy,
        landed_since: Option<Millis>,
        holds: &mut Holdings,
    ) -> Result<Flow, ForwardPlan> {
        let Ctx { host, now_ms } = ctx;
        let key = match self.key_of(host, exchange, cache_request, route) {
            Ok(key) => key,
            Err(reason) => {
                self.recorder.reason(reason);
                return Err(ForwardPlan {
                    detail: Some(reason.as_str()),
                    ..ForwardPlan::plain(Forward::Bypass)
                });
            }
        };
        self.recorder.looked_up(key.hash());
        let directives = cache_request.directives(&route.freshness);
        if self.doubts(ctx) {
            self.recorder.cache.lookups += 1;
            return Err(ForwardPlan {
                key: Some(key),
                detail: Some(Reason::CatchingUp.as_str()),
                ..ForwardPlan::plain(Forward::Miss)
            });
        }
        let (looked_up, searched) = self.look_up(ctx, &key, &cache_request.fields, route);
        let (found, soft) = match looked_up {
            Lookup::Usable { found, soft } => (found, soft),
            Lookup::Missing(missing) => {
                if let Some(reason) = missing.lost(|| self.figures.lost.reason(key.hash())) {
                    self.recorder.lost_hit(reason);
                }
                if directives.only_if_cached {
                    return Ok(self.answer_timeout(host, exchange));
                }
                return Err(ForwardPlan {
                    key: Some(key),
                    detail: missing.detail(),
                    ..ForwardPlan::plain(missing.cause())
                });
            }
        };
        // `find` has decoded it already; this only reads offsets again.
        let Ok(view) = StoredView::decode_again(found.value()) else {
            return Err(ForwardPlan {
                key: Some(key),
                ..ForwardPlan::plain(Forward::UriMiss)
            });
        };
        if self
            .learned
            .is_given_behind(exchange.routed.as_ref(), view.selecting().map(|(name, _)| name), now_ms)
        {
            self.recorder.reason(Reason::GivenBehind);
            return Err(ForwardPlan {
                key: Some(key),
                detail: Some(Reason::GivenBehind.as_str()),
                ..ForwardPlan::plain(Forward::VaryMiss)
            });
        }
        let decision = decide(&view, cache_request, &directives, soft, exchange.started_ns, now_ms);
        let decision = match landed_since {
            Some(since_ms) => answered_by(decision, &view, cache_request, since_ms, exchange.started_ns, now_ms),
            None => decision,
        };
        match decision {
            Decision::Reply {
                reuse, refresh: true, ..
            } if let Some(renewal) = self.renews(
                ctx,
                exchange,
                cache_request,
                (searched.as_ref().unwrap_or(&key), &view),
                soft,
            ) =>
            {
                holds.flight = Some(renewal.flight);
                holds.leave = renewal.leave;
                Err(ForwardPlan {
                    detail: Some(if reuse.ttl_s < 0 { "refresh" } else { "early-refresh" }),
                    key: Some(key),
                    stored: Some(Box::new(Stored::of(found))),
                    validate: !cache_request.is_posted_read() && searched.is_none(),
                    ..ForwardPlan::plain(Forward::Stale)
                })
            }
            Decision::Reply { reply, reuse, refresh } => {
                self.store.touch(found.id, now_ms);
                let outcome = if reuse.ttl_s < 0 { Outcome::Stale } else { Outcome::Hit };
                let status = CacheStatus {
                    hit: !exchange.collapsed,
                    forward: exchange.collapsed.then_some(Forward::UriMiss),
                    collapsed: exchange.collapsed,
                    ttl_s: Some(reuse.ttl_s),
                    detail: (outcome == Outcome::Stale).then(|| reuse.reason.as_str()),
                    ..CacheStatus::default()
                };
                let served = Served {
                    view: &view,
                    reply: &reply,
                    status,
                    outcome,
                    more: &[],
                    memory: Some(found.memory()),
                };
                let flow = self.answer(host, exchange, &served);
                if flow == Flow::Pause {
                    // Only what the lookup itself answered is a hit; counted with the lookup, so that no report has more hits.
                    self.recorder.cache.hits += 1;
                    self.recorder.cache.collapsed += u64::from(exchange.collapsed);
                    self.recorder.cache.hit_bytes = self.recorder.cache.hit_bytes.saturating_add(exchange.bytes);
                    let saved_ms = view.response_time_ms().saturating_sub(view.request_time_ms());
                    self.recorder.cache.saved_ms = self.recorder.cache.saved_ms.saturating_add(saved_ms);
                    self.figures.top.hit(key.hash(), key.url(), exchange.bytes, saved_ms);
                }
                if flow == Flow::Pause && searched.is_none() {
                    if refresh {
                        self.refresh_later(ctx, exchange, cache_request, &key, found);
                    } else if outcome == Outcome::Hit && !soft && !exchange.collapsed && self.is_to_verify(exchange) {
                        self.verify_later(ctx, exchange, cache_request, key, found);
                    }
                }
                Ok(flow)
            }
            Decision::Timeout => Ok(self.answer_timeout(host, exchange)),
            Decision::Forward {
                cause,
                reason,
                validate,
            } => {
                self.recorder.reason(reason);
                self.recorder.lost_hit(reason.as_str());
                Err(ForwardPlan {
                    detail: Some(reason.as_str()),
                    key: Some(key),
                    stored: Some(Box::new(Stored::of(found))),
                    // The origin is asked for another URL than the stored one's: a tag says nothing about that (RFC 9110 section 8.8.3).
                    validate: validate && searched.is_none(),
                    ..ForwardPlan::plain(cause)
                })
            }
        }
    }

    /// Looks a request up: under its own key, and then under those by which responses of its route answer other queries too. What was found
    /// under one of these, or not, comes with it.
    pub(super) fn look_up(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        key: &CacheKey,
        request: &Fields<'_>,
        route: &RoutePolicy,
    ) -> (Lookup, Option<CacheKey>) {
        let own = self.find(ctx, key, request, route);
        if self.learned.searches.is_empty() || !matches!(own, Lookup::Missing(Missing::Uri)) {
            return (own, None);
        }
        for text in self.learned.searches_of(route, ctx.now_ms) {
            let Some(variance) = Variance::read(&text) else {
                continue;
            };
            let Some(searched) = key.searched(&variance) else {
                continue;
            };
            // One request is one lookup.
            let lookups = self.recorder.cache.lookups;
            let looked_up = self.find(ctx, &searched, request, route);
            self.recorder.cache.lookups = lookups;
            match looked_up {
                Lookup::Missing(Missing::Uri) => {}
                // What was restored may say something else than it was stored for.
                Lookup::Usable { ref found, .. } if !says(found.value(), &variance) => {}
                other => {
                    self.learned.learn_search(ctx, route, text);
                    return (other, Some(searched));
                }
            }
        }
        (Lookup::Missing(Missing::Uri), None)
    }

    /// Looks a key up: right key, right selecting fields, for this client, not purged, whole.
    pub(super) fn find(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        key: &CacheKey,
        request: &Fields<'_>,
        route: &RoutePolicy,
    ) -> Lookup {
        let Ctx { host, now_ms } = ctx;
        self.recorder.cache.lookups += 1;
        let variant = |names: crate::store::VaryNames<'_>| selecting::variant_hash(names.iter(), request);
        let Some(found) = self.store.lookup(host, key.as_bytes(), variant, now_ms) else {
            return Lookup::Missing(if self.store.passed_over_variants() {
                Missing::Vary
            } else {
                Missing::Uri
            });
        };
        let decoded = if found.is_checked() {
            StoredView::decode_again(found.value())
        } else {
            let whole = found.value().len() <= VERIFIED_WHOLE;
            StoredView::decode(found.value(), whole)
                .and_then(|view| if view.is_sound() { Ok(view) } else { Err(Corrupt::Head) })
        };
        let view = match decoded {
            Ok(view) => view,
            Err(corrupt) => {
                self.recorder.reason(corrupt);
                self.store.discard_corrupt(host, found.id);
                return Lookup::Missing(Missing::Uri);
            }
        };
        if view.key() != key.as_bytes() {
            return Lookup::Missing(Missing::Uri);
        }
        if !selecting::matches(&view, request) {
            return Lookup::Missing(Missing::Vary);
        }
        if let Some(withheld) = route.freshness.sharing.withholds(&view, request) {
            return Lookup::Missing(withheld.into());
        }
        let parts = KeyParts {
            host: key.host(),
            path: key.path(),
        };
        let verdict = self
            .invalidation_log
            .verdict(found.purge_generation, &parts, view.tags());
        if verdict != Verdict::Purged {
            self.store.keep(&found);
        }
        match verdict {
            Verdict::Live => Lookup::Usable { found, soft: false },
            Verdict::Soft => Lookup::Usable { found, soft: true },
            Verdict::Purged => {
                self.store.discard(host, found.id);
                Lookup::Missing(Missing::Purged)
            }
        }
    }
}

/// Whether a stored response says this of queries.
fn says(stored: &[u8], variance: &Variance) -> bool {
    let found = StoredView::decode_again(stored).map(|view| Variance::of(&view.fields().collect()));
    found.is_ok_and(|found| found.as_ref() == Some(variance))
}

/// A response that came after this request had asked answers it, as it answers the one it was fetched for, also where it may not answer
/// the next one without validation.
fn answered_by<'v>(
    decision: Decision<'v>,
    view: &StoredView<'v>,
    cache_request: &CacheRequest<'_>,
    since_ms: Millis,
    seed: u64,
    now_ms: Millis,
) -> Decision<'v> {
    let needs_validation = matches!(
        decision,
        Decision::Forward {
            reason: ReuseReason::Stale | ReuseReason::NoCache,
            validate: true,
            ..
        }
    );
    if !needs_validation || view.response_time_ms() <= since_ms {
        return decision;
    }
    let reuse = Reuse {
        action: Action::Serve,
        reason: ReuseReason::Fresh,
        age_s: view.age_ms(now_ms) / 1_000,
        ttl_s: 0,
    };
    match reply::build(view, &reuse, cache_request.method, &cache_request.fields, seed, now_ms) {
        Answer::Reply(reply) => Decision::Reply {
            reply,
            reuse,
            refresh: false,
        },
        Answer::AskOrigin => decision,
    }
}

/// Stored responses up to this size are compared with their checksum as a whole whenever they come from shared data, larger ones
/// only their heads:
/// a megabyte costs as much to sum up as to send.
const VERIFIED_WHOLE: usize = 16 << 10;
