//! What to do with a request, given what is stored for it.

use super::CacheRequest;
use crate::Millis;
use crate::cache::reply::{self, Answer, Reply};
use crate::cache::request_directives::RequestDirectives;
use crate::cache::reuse::{self, Action, Reuse};
use crate::cache::{Forward, ReuseReason, StoredView, Withheld, early};
use crate::http::method::Method;

/// What to do with the request.
#[derive(Debug)]
pub enum Decision<'v> {
    /// Answer from the cache.
    Reply {
        /// The answer.
        reply: Reply<'v>,
        /// Why it may be reused.
        reuse: Reuse,
        /// Refresh it in the background.
        refresh: bool,
    },
    /// Forward; what is stored serves for validation, or in place of a failure.
    Forward {
        /// Cause, for `Cache-Status`.
        cause: Forward,
        /// Why what is stored does not do.
        reason: ReuseReason,
        /// Add validators of the stored response. Without, the client's own conditions go to the origin.
        validate: bool,
    },
    /// 504: the client wants nothing forwarded.
    Timeout,
}

/// Why nothing stored came into question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nothing under the key.
    Uri,
    /// Something under the key, for other selecting fields.
    Vary,
    /// Purged.
    Purged,
    /// Something stored that the origin gave no freshness, and the request has credentials.
    Withheld,
}

impl Missing {
    /// Cause, for `Cache-Status`.
    #[must_use]
    pub fn cause(self) -> Forward {
        match self {
            Self::Uri => Forward::UriMiss,
            Self::Vary => Forward::VaryMiss,
            Self::Purged => Forward::Miss,
            Self::Withheld => Forward::Request,
        }
    }

    /// What a hit was lost to, if it was lost: `known` says why the key's last response was not stored.
    pub fn lost(self, known: impl FnOnce() -> Option<&'static str>) -> Option<&'static str> {
        match self {
            Self::Uri => known(),
            Self::Vary => Some("vary"),
            Self::Purged => None,
            Self::Withheld => self.detail(),
        }
    }

    /// More about it, for `Cache-Status`.
    #[must_use]
    pub fn detail(self) -> Option<&'static str> {
        (self == Self::Withheld).then_some("credentials")
    }
}

impl From<Withheld> for Missing {
    fn from(withheld: Withheld) -> Self {
        match withheld {
            Withheld::Credentials => Self::Withheld,
            Withheld::Origin => Self::Vary,
        }
    }
}

/// Whether the validators of what is stored may go into the request. Not beside conditions under which the origin is to act
/// (RFC 9110 section 13.1): a 304 would be no answer to those, nor to a POST. And not where a part is stored and HEAD asks for the whole.
fn may_validate(view: &StoredView<'_>, request: &CacheRequest<'_>) -> bool {
    let acts = request.fields.has(b"if-match") || request.fields.has(b"if-unmodified-since");
    !acts && !request.is_posted_read() && (view.status() != 206 || request.method == Method::Get)
}

/// Decides about a stored response whose key and selecting fields match.
#[must_use]
pub fn decide<'v>(
    view: &StoredView<'v>,
    request: &CacheRequest<'_>,
    directives: &RequestDirectives,
    soft_purged: bool,
    seed: u64,
    now_ms: Millis,
) -> Decision<'v> {
    let reuse = reuse::decide(view, directives, soft_purged, now_ms);
    let refresh = match reuse.action {
        Action::GatewayTimeout => return Decision::Timeout,
        Action::Validate => {
            return Decision::Forward {
                cause: cause(reuse.reason),
                reason: reuse.reason,
                validate: may_validate(view, request),
            };
        }
        Action::ServeAndRevalidate => true,
        Action::Serve => {
            let chance = xxhash_rust::xxh3::xxh3_64(&seed.to_le_bytes());
            reuse.reason == ReuseReason::Fresh && early::is_due(view, chance, now_ms)
        }
    };
    // What a client wants nothing stored of renews nothing, and a whole response does not renew a part.
    let refresh = refresh && !directives.no_store && view.status() != 206;
    match reply::build(view, &reuse, request.method, &request.fields, seed, now_ms) {
        Answer::Reply(reply) => Decision::Reply { reply, reuse, refresh },
        Answer::AskOrigin => Decision::Forward {
            cause: Forward::Request,
            reason: reuse.reason,
            validate: false,
        },
    }
}

/// RFC 9211 section 2.2: `request` when a fresh response is passed over on the client's word, `stale` otherwise.
fn cause(reason: ReuseReason) -> Forward {
    match reason {
        ReuseReason::RequestNoCache | ReuseReason::RequestMaxAge | ReuseReason::RequestMinFresh => Forward::Request,
        _ => Forward::Stale,
    }
}
