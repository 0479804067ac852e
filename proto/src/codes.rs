//! Stable codes: words that stand in messages, answers, labels and log lines.

use std::fmt;

/// Something that is known by a stable code.
pub trait Code: Copy {
    /// The code.
    fn as_str(self) -> &'static str;
}

/// A text that is none of the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCode;

impl fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such code")
    }
}

impl std::error::Error for UnknownCode {}

/// Declares an enum whose variants are known by stable codes, one row each: `Variant = "code",`.
#[macro_export]
macro_rules! codes {
    (
        $(#[$about:meta])*
        $name:ident { $( $(#[$meaning:meta])* $variant:ident = $code:literal, )+ }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( $(#[$meaning])* #[doc = concat!("`", $code, "`")] $variant, )+
        }

        impl $name {
            /// Every one, in canonical order.
            pub const ALL: &'static [Self] = &[$( Self::$variant ),+];

            /// The code.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $code, )+ }
            }
        }

        impl $crate::codes::Code for $name {
            fn as_str(self) -> &'static str {
                Self::as_str(self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::codes::UnknownCode;

            fn from_str(code: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().find(|one| one.as_str() == code).copied().ok_or($crate::codes::UnknownCode)
            }
        }
    };
}

codes! {
    /// Where a circuit breaker stands as calls feel it.
    BreakerState {
        /// Calls pass and are counted.
        Closed = "closed",
        /// Calls are refused until the wait is over.
        Open = "open",
        /// A few calls pass as probes.
        HalfOpen = "half_open",
        /// An operator has calls refused.
        ForcedOpen = "forced_open",
        /// An operator lets calls pass.
        ForcedClosed = "forced_closed",
        /// The breaker judges and counts, and refuses nothing.
        DryRun = "dry_run",
    }
}

impl BreakerState {
    /// The worst of the runbook's three states that it may be: closed, half-open or open.
    #[must_use]
    pub fn for_runbook(self) -> Self {
        match self {
            Self::Open | Self::ForcedOpen => Self::Open,
            Self::HalfOpen => Self::HalfOpen,
            Self::Closed | Self::ForcedClosed | Self::DryRun => Self::Closed,
        }
    }

    /// How bad it is: 0 closed, 1 half-open, 2 open.
    #[must_use]
    pub fn severity(self) -> u8 {
        match self.for_runbook() {
            Self::Open => 2,
            Self::HalfOpen => 1,
            _ => 0,
        }
    }

    /// Whether every call is refused.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.for_runbook() == Self::Open
    }
}

codes! {
    /// What came of a question to the shared tier, or of an offer to it. They are counted among the reasons of telemetry.
    TierResult {
        /// The response was served.
        Hit = "tier-hit",
        /// It had none that fits.
        Miss = "tier-miss",
        /// It names the fields that the responses vary by, and is asked again with them.
        Vary = "tier-vary",
        /// Another Envoy fetches the response, and it is waited for.
        Waited = "tier-waited",
        /// No answer in time.
        Timeout = "tier-timeout",
        /// It could not be called.
        Unreachable = "tier-unreachable",
        /// Its answer was no message.
        Unreadable = "tier-unreadable",
        /// The stored response was not what was written.
        Damaged = "tier-damaged",
        /// The stored response may not be given to this client.
        Withheld = "tier-withheld",
        /// What it had was purged here meanwhile.
        Purged = "tier-purged",
        /// What it had may not be served any more.
        Stale = "tier-stale",
        /// Too many questions are under way, or it has failed lately.
        NotAsked = "tier-not-asked",
        /// A response was offered to it.
        Offered = "tier-offered",
        /// A response was not offered: too much waits to be.
        NotOffered = "tier-not-offered",
        /// An offer did not arrive.
        OfferLost = "tier-offer-lost",
        /// Word of an invalidation arrived late.
        InvalidationLate = "tier-invalidation-late",
    }
}

impl TierResult {
    /// The code without what tells it from other reasons: a label.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.as_str().trim_start_matches("tier-")
    }
}

codes! {
    /// How a call of an upstream failed, as failures are counted.
    ErrorKind {
        /// No connection came about.
        ConnectFailure = "connect_failure",
        /// The upstream or the connection broke off.
        Reset = "reset",
        /// No answer in time.
        Timeout = "timeout",
        /// The upstream refused the call.
        Refused = "refused",
        /// The answer was no HTTP.
        ProtocolError = "protocol_error",
        /// A status of 500 or above.
        Upstream5xx = "upstream_5xx",
        /// Envoy's own limit on calls of this upstream was reached.
        Overflow = "overflow",
    }
}

codes! {
    /// Why a stored response was given up before its time.
    InvalidationCause {
        /// A request with an unsafe method to its URL.
        UnsafeMethod = "unsafe-method",
        /// A request that invalidated its cache group.
        CacheGroup = "cache-group",
        /// A purge of its URL.
        PurgeUrl = "purge-url",
        /// A purge of a prefix of its path.
        PurgePrefix = "purge-prefix",
        /// A purge of its host.
        PurgeHost = "purge-host",
        /// A purge of one of its tags.
        PurgeTag = "purge-tag",
        /// A purge of everything.
        PurgeAll = "purge-all",
        /// A response to HEAD contradicted it.
        HeadDiffers = "head-differs",
        /// A newer response took its place.
        Replaced = "replaced",
        /// Its revalidation brought a response that is not stored.
        RevalidatedAway = "revalidated-away",
        /// It was removed by a purge.
        PurgedRemoved = "purged-removed",
    }
}

codes! {
    /// What verified sharing did, and what came of it. They are counted among the reasons of telemetry.
    VerifyResult {
        /// A request was made for it.
        Request = "verify-request",
        /// A hit was what the origin says.
        Same = "verify-same",
        /// The origin says something else by now, whoever asks.
        Changed = "verify-changed",
        /// The same request gets different answers of the origin.
        DiffersByItself = "verify-differs-by-itself",
        /// The answer depends on something that is not in the key.
        NotInKey = "verify-not-in-key",
        /// A hit of the sample could not be compared: it is not known that a request of the filter's own would get what this client would, or
        /// the origin did not say.
        NotVerifiable = "verify-not-verifiable",
    }
}

impl VerifyResult {
    /// The code without what tells it from other reasons: a label.
    #[must_use]
    pub fn label(self) -> &'static str {
        let code = self.as_str();
        code.strip_prefix("verify-").unwrap_or(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_written_and_each_is_there_once() {
        for state in BreakerState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        for result in TierResult::ALL {
            assert_eq!(result.as_str().parse(), Ok(*result));
            assert_eq!(format!("tier-{}", result.label()), result.as_str());
        }
        for result in VerifyResult::ALL {
            assert_eq!(result.as_str().parse(), Ok(*result));
            assert_eq!(format!("verify-{}", result.label()), result.as_str());
        }
        assert_eq!("ajar".parse::<BreakerState>(), Err(UnknownCode));
        assert_eq!("hit".parse::<TierResult>(), Err(UnknownCode));
    }

    #[test]
    fn the_runbook_knows_three_states() {
        let worst = BreakerState::ALL
            .iter()
            .map(|state| (state.for_runbook().as_str(), state.severity()));
        let expected = [
            ("closed", 0),
            ("open", 2),
            ("half_open", 1),
            ("open", 2),
            ("closed", 0),
            ("closed", 0),
        ];
        assert_eq!(worst.collect::<Vec<_>>(), expected);
        assert!(BreakerState::ForcedOpen.is_open() && !BreakerState::HalfOpen.is_open());
    }
}
