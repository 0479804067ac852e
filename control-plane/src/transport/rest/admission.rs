//! Which requests are accepted: by token, by the name of this control plane that they use, and by writes per second.

use crate::credentials::{Role, TokenFile, Tokens};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::Arc;

/// Callers whose writes are counted before those who have been quiet are left out.
const CALLERS: usize = 1_024;

/// What is asked of requests.
#[derive(Debug)]
pub(crate) struct Admission {
    tokens: Option<Arc<TokenFile>>,
    /// Probes and `/metrics` need a token, where there are any.
    pub(super) close_probes: bool,
    /// Names by which the REST port is called.
    pub(super) hosts: Vec<String>,
    /// Nobody is asked for credentials.
    pub(super) asks_nobody: bool,
    writes: DefaultDirectRateLimiter,
    /// The same for each caller: one alone does not keep the others out.
    writes_each: DefaultKeyedRateLimiter<String>,
}

impl Admission {
    pub(crate) fn new(
        tokens: Option<Arc<TokenFile>>,
        close_probes: bool,
        hosts: Vec<String>,
        asks_nobody: bool,
        writes_per_second: NonZeroU32,
    ) -> Self {
        Self {
            tokens,
            close_probes,
            hosts,
            asks_nobody,
            writes: RateLimiter::direct(Quota::per_second(writes_per_second)),
            writes_each: RateLimiter::keyed(Quota::per_second(half(writes_per_second))),
        }
    }

    /// The credentials in force; `None` when none are configured.
    pub(super) fn tokens(&self) -> Option<Arc<Tokens>> {
        self.tokens.as_ref().map(|file| file.tokens())
    }

    /// Returns when a caller's token is no longer in force, or not with its role.
    pub(super) async fn revoked(&self, name: &str, role: Role, token: &str) {
        match &self.tokens {
            Some(file) => file.until_not(|tokens| tokens.who(token) == Some((name, role))).await,
            None => std::future::pending().await,
        }
    }

    /// Whether one more write of a caller may be taken now.
    pub(super) fn admit_write(&self, caller: &str) -> bool {
        if self.writes_each.len() > CALLERS {
            self.writes_each.retain_recent();
        }
        self.writes_each.check_key(&caller.to_owned()).is_ok() && self.writes.check().is_ok()
    }
}

fn half(all: NonZeroU32) -> NonZeroU32 {
    NonZeroU32::new(all.get().div_ceil(2)).unwrap_or(all)
}
