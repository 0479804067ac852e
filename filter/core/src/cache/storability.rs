//! Storing responses (RFC 9111 section 3).

use super::age::{self, InitialAge};
use super::freshness::{self, Lifetime, Origin};
use super::not_stored::NotStored;
use super::policy::FreshnessPolicy;
use super::sharing::{self, ClientState, is_client_state};
use super::{groups, language, partial, refusal, selecting};
use crate::Millis;
use crate::http::cache_control::{CacheControl, Qualified};
use crate::http::fields::Fields;
use crate::http::list::members;
use crate::http::method::Method;
use crate::http::structured;
use crate::http::target::{Target, resolve};

/// How the end of the content is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`, and the bytes must agree with it.
    Length(u64),
    /// Chunked or HTTP/2: the end is marked.
    Delimited,
    /// The connection's end, which a reset cannot be told from: never stored.
    Close,
    /// No content by definition (204, 304, answers to HEAD).
    Empty,
}

impl Framing {
    /// Framing of a response as Envoy shows it. `marked` says that the upstream speaks HTTP/2 or later.
    #[must_use]
    pub fn of(method: Method, status: u16, response: &Fields<'_>, marked: bool) -> Self {
        if method == Method::Head || matches!(status, 204 | 304) {
            return Self::Empty;
        }
        let chunked = response
            .get(b"transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().windows(7).any(|part| part == b"chunked"));
        if chunked {
            return Self::Delimited;
        }
        let mut lengths = response.all(b"content-length").flat_map(members);
        match lengths.next() {
            None if marked => Self::Delimited,
            None => Self::Close,
            // Contradicting lengths: whatever arrives cannot be proven whole.
            Some(first) if lengths.any(|other| other != first) => Self::Close,
            Some(first) => {
                let length = std::str::from_utf8(first).ok().and_then(|text| text.parse().ok());
                length.map_or(Self::Close, Self::Length)
            }
        }
    }
}

/// A request and the head of its response.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// Of the request.
    pub method: Method,
    /// The client's request fields (not those added for validation).
    pub request: &'a Fields<'a>,
    /// Final status.
    pub status: u16,
    /// Of the response.
    pub response: &'a Fields<'a>,
    /// When the request was sent.
    pub request_time_ms: Millis,
    /// When the response head came.
    pub response_time_ms: Millis,
    /// How the content ends.
    pub framing: Framing,
    /// The key holds the identity (see [`super::policy::KeyPolicy::isolate_authorization`]), so `Authorization` does not
    /// forbid storing.
    pub identity_in_key: bool,
    /// Only freshness that the origin or the operator states counts, as of answers to POST (RFC 9110 section 9.3.3).
    pub stated_freshness_only: bool,
    /// The client has shown credentials that are not in the request any more: a filter in front has taken them off.
    pub hidden_credentials: bool,
}

/// A response that may be stored, with everything computed that reuse needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Freshness lifetime.
    pub lifetime: Lifetime,
    /// Age inputs.
    pub age: InitialAge,
    /// Window after freshness, RFC 5861 section 3.
    pub stale_while_revalidate_ms: Millis,
    /// Window after freshness, RFC 5861 section 4.
    pub stale_if_error_ms: Millis,
    /// Not reused without validation.
    pub no_cache: bool,
    /// Never reused stale (`must-revalidate`, `proxy-revalidate`, `s-maxage`).
    pub must_revalidate: bool,
    /// RFC 8246.
    pub immutable: bool,
    /// Not the origin, but a heuristic or the operator says that it may be reused without validation; or nobody does.
    pub granted: bool,
    /// Known to be the same for requests with `Origin` and without.
    pub for_any_origin: bool,
    /// Names (lower-case) of fields that are not stored: those that `no-cache="…"` and `private="…"` exclude, and what is for the one
    /// client alone.
    pub excluded: Vec<Vec<u8>>,
    /// Sorted lower-case names of `Vary`.
    pub vary: Vec<Vec<u8>>,
    /// Purge tags and groups.
    pub tags: Vec<Vec<u8>>,
    /// Last moment of any use, for the store.
    pub usable_until_ms: Millis,
}

/// Decides whether a response is stored. `jitter` is any number; equal numbers shorten lifetimes equally.
///
/// # Errors
/// Why not.
pub fn judge(exchange: &Exchange<'_>, policy: &FreshnessPolicy, jitter: u64) -> Result<Plan, NotStored> {
    let Exchange {
        request,
        response,
        status,
        ..
    } = *exchange;
    if exchange.method != Method::Get {
        return Err(NotStored::Method);
    }
    match status {
        206 if !partial::is_storable(request, response) => return Err(NotStored::Partial),
        304 => return Err(NotStored::NotModified),
        200..=599 => {}
        _ => return Err(NotStored::Status),
    }
    if let Some(reason) = refusal::refusal(status, response) {
        return Err(reason);
    }
    if exchange.framing == Framing::Close {
        return Err(NotStored::UnprovableEnd);
    }
    let targeted = structured::targeted(response);
    let is_targeted = targeted.is_some();
    let directives = targeted.unwrap_or_else(|| CacheControl::of(response));
    let asks = !policy.ignore_request_cache_control && request.has(b"cache-control");
    if asks && CacheControl::of(request).no_store {
        return Err(NotStored::RequestNoStore);
    }
    if directives.no_store && !(directives.must_understand && is_understood(status)) {
        return Err(NotStored::NoStore);
    }
    if directives.must_understand && !is_understood(status) {
        return Err(NotStored::Status);
    }
    if directives.private == Qualified::Whole {
        return Err(NotStored::Private);
    }
    let permitted = directives.public || directives.must_revalidate || directives.s_maxage.is_some();
    let hidden = exchange.hidden_credentials && !policy.sharing.keys_credentials(request);
    let authorized = hidden || request.has(b"authorization") && !exchange.identity_in_key;
    if authorized && !permitted {
        return Err(NotStored::Authorization);
    }
    let vary = selecting_fields(status, request, response).ok_or(NotStored::VaryStar)?;
    let client_state = policy.sharing.client_state;
    let sets_state = response.iter().any(|(name, _)| is_client_state(name));
    if sets_state && client_state == ClientState::Refuse {
        return Err(NotStored::SetCookie);
    }
    let age = age::initial(response, exchange.request_time_ms, exchange.response_time_ms);
    let without_expires: Fields<'_>;
    let timed = if is_targeted {
        without_expires = response.iter().filter(|(name, _)| *name != b"expires").collect();
        &without_expires
    } else {
        response
    };
    let selects = |wanted: &[u8]| vary.iter().any(|name| name == wanted);
    let credentialed = hidden && !policy.sharing.with_credentials || policy.sharing.is_credentialed(request, selects);
    let brief = refusal::is_brief(status);
    let lasts = |policy: &FreshnessPolicy| freshness::lifetime(status, timed, &directives, policy, age.date_ms, jitter);
    let wide = lasts(policy);
    let lifetime = match (credentialed, brief) {
        // An origin that says `public` of an error has allowed the guess, as of any other response.
        (false, true) if directives.public && wide.origin == Origin::Heuristic => {
            wide.at_most(policy.error_ttl_ceiling_ms)
        }
        (_, true) => lasts(&policy.without_grants()).at_most(policy.error_ttl_ceiling_ms),
        (true, false) => lasts(&policy.without_grants()),
        (false, false) => wide,
    };
    let stated = matches!(lifetime.origin, Origin::Explicit | Origin::Override) && lifetime.ms > 0;
    if exchange.stated_freshness_only && !stated {
        return Err(NotStored::NoFreshness);
    }
    if sets_state && matches!(lifetime.origin, Origin::Default | Origin::Heuristic) {
        return Err(NotStored::SetCookie);
    }
    let mut excluded = Vec::new();
    for qualified in [&directives.no_cache, &directives.private] {
        if let Qualified::Fields(names) = qualified {
            excluded.extend(names.iter().cloned());
        }
    }
    let left_out = response.iter().filter(|line| policy.sharing.leaves_out(*line, request));
    excluded.extend(left_out.map(|(name, _)| name.to_vec()));
    let no_cache = directives.no_cache == Qualified::Whole;
    // An error outlives its lifetime in no case.
    let must_revalidate =
        brief || directives.must_revalidate || directives.proxy_revalidate || directives.s_maxage.is_some();
    let seconds = |given: Option<u32>, otherwise: Millis| given.map_or(otherwise, |seconds| u64::from(seconds) * 1_000);
    // A refresh in the background asks for the whole: it would not make a part fresh.
    let stale_while_revalidate_ms = match status {
        206 => 0,
        _ => seconds(directives.stale_while_revalidate, policy.stale_while_revalidate_ms),
    };
    let stale_if_error_ms = seconds(directives.stale_if_error, policy.stale_if_error_ms);
    let has_validator = response.has(b"etag") || response.has(b"last-modified");
    let remaining = lifetime.ms.saturating_sub(age.corrected_ms);
    // RFC 9111 section 3: without explicit permission only what is cacheable by default may be stored; and it must be of some use.
    let explicit = matches!(lifetime.origin, Origin::Explicit | Origin::Override) || directives.public || no_cache;
    let own_window = directives.stale_while_revalidate.is_some() || directives.stale_if_error.is_some();
    let granted = lifetime.is_granted() || lifetime.ms == 0 && !own_window;
    if credentialed && granted && (wide.ms > 0 || has_validator) {
        return Err(NotStored::Credentials);
    }
    let useful = lifetime.ms > 0 || !brief && (has_validator || own_window);
    if !useful || !(explicit || freshness::is_heuristically_cacheable(status)) {
        return Err(NotStored::NoFreshness);
    }
    let tags = groups::tags(response).ok_or(NotStored::TooManyTags)?;
    let after = if must_revalidate || no_cache {
        0
    } else {
        stale_while_revalidate_ms
            .max(stale_if_error_ms)
            .max(policy.max_stale_on_outage_ms)
    };
    // A response without validator is still of use to a client that takes stale ones (max-stale).
    let for_validation = policy.keep_for_validation_ms;
    let usable_until_ms = exchange
        .response_time_ms
        .saturating_add(remaining)
        .saturating_add(after.max(for_validation));
    Ok(Plan {
        lifetime,
        age,
        stale_while_revalidate_ms,
        stale_if_error_ms,
        no_cache,
        must_revalidate,
        immutable: directives.immutable,
        granted,
        for_any_origin: sharing::is_for_any_origin(request, response),
        excluded,
        vary,
        tags,
        usable_until_ms,
    })
}

/// Names of the request's fields that select the response, sorted; `None` for `Vary: *`.
fn selecting_fields(status: u16, request: &Fields<'_>, response: &Fields<'_>) -> Option<Vec<Vec<u8>>> {
    let named = selecting::vary_names(response)?;
    let mut names: Vec<Vec<u8>> = named.into_iter().map(std::borrow::Cow::into_owned).collect();
    language::refine(&mut names, request, response);
    if sharing::is_selected_by_origin(request, response) {
        names.push(b"origin".to_vec());
    }
    if status == 206 {
        names.extend(partial::SELECTING.map(<[u8]>::to_vec));
    }
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// True when the answer to a POST may be stored as what a GET of the same URI would be answered (RFC 9110 section 9.3.3): it says
/// so with a `Content-Location` of the target URI, and how long with explicit freshness.
#[must_use]
pub fn represents_target(target: &Target<'_>, status: u16, response: &Fields<'_>) -> bool {
    let directives = structured::targeted(response).unwrap_or_else(|| CacheControl::of(response));
    let explicit = directives.max_age.is_some() || directives.s_maxage.is_some() || response.has(b"expires");
    let location = response
        .get(b"content-location")
        .and_then(|reference| resolve(target, reference));
    (200..300).contains(&status) && status != 206 && explicit && location.is_some() && location == resolve(target, b"")
}

/// Final statuses whose caching requirements this cache knows (RFC 9110 section 15; RFC 9111 section 3).
fn is_understood(status: u16) -> bool {
    matches!(
        status,
        200 | 203 | 204 | 300 | 301 | 302 | 303 | 307 | 308 | 404 | 405 | 410 | 414 | 501
    )
}
