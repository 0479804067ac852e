//! What the origin has: resources of every kind that a shared cache treats differently, each with content that tells what it is.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// How a resource may be stored and reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For everybody, with tags and validators.
    Page,
    /// The same, large; clients ask for ranges of it.
    Part,
    /// By `Accept-Language`.
    Language,
    /// Of one user, kept apart by `Vary: Cookie`.
    Account,
    /// Of one user, `private`.
    Mine,
    /// Of one user, by `Authorization`, and nothing that lets it be shared.
    Bearer,
    /// Of one user, `no-store`.
    Unstored,
}

/// Name of a kind's folder, and how many resources of it there are.
pub(crate) const KINDS: [(&str, Kind, u64); 7] = [
    ("pages", Kind::Page, 160),
    ("parts", Kind::Part, 16),
    ("languages", Kind::Language, 40),
    ("accounts", Kind::Account, 16),
    ("mine", Kind::Mine, 8),
    ("bearers", Kind::Bearer, 8),
    ("unstored", Kind::Unstored, 4),
];
pub(crate) const USERS: u64 = 8;
pub(crate) const LANGUAGES: [&str; 3] = ["de", "en", "fr"];
const TAGS: u64 = 7;

/// One resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) kind: Kind,
    pub(crate) number: u64,
}

impl Resource {
    pub(crate) fn read(path: &str) -> Option<Self> {
        let (folder, number) = path.strip_prefix('/')?.split_once('/')?;
        let (_, kind, count) = KINDS.iter().find(|(name, ..)| *name == folder)?;
        let number = number.parse().ok().filter(|number| number < count)?;
        Some(Self { kind: *kind, number })
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let of = |(_, kind, count): (&str, Kind, u64)| (0..count).map(move |number| Self { kind, number });
        KINDS.into_iter().flat_map(of)
    }

    pub(crate) fn path(self) -> String {
        let folder = KINDS.iter().find(|(_, kind, _)| *kind == self.kind);
        format!("/{}/{}", folder.map_or("", |(name, ..)| name), self.number)
    }

    /// Whether it is another one for each user.
    pub(crate) fn is_personal(self) -> bool {
        matches!(self.kind, Kind::Account | Kind::Mine | Kind::Bearer | Kind::Unstored)
    }

    pub(crate) fn tag(self) -> String {
        tag(self.number)
    }

    /// How long a response of it may be reused, and how long beyond that while it is fetched anew, and in place of an error.
    pub(crate) fn lifetime(self) -> Lifetime {
        let seconds = Duration::from_secs;
        let fresh = match self.kind {
            Kind::Mine | Kind::Bearer | Kind::Unstored => seconds(0),
            _ => seconds(1 + self.number % 5),
        };
        let (while_revalidate, if_error) = match (self.kind, self.number % 3) {
            (Kind::Page | Kind::Language, 0) => (seconds(2), seconds(10)),
            _ => (seconds(0), seconds(0)),
        };
        Lifetime {
            fresh,
            while_revalidate,
            if_error,
        }
    }

    pub(crate) fn cache_control(self) -> String {
        match self.kind {
            Kind::Mine => "private, max-age=5".to_owned(),
            // Not for shared caches where the request shows a credential (RFC 9111 section 3.5).
            Kind::Bearer => "max-age=5".to_owned(),
            Kind::Unstored => "no-store".to_owned(),
            _ => {
                let lifetime = self.lifetime();
                let mut value = format!("max-age={}", lifetime.fresh.as_secs());
                if !lifetime.if_error.is_zero() {
                    value += &format!(
                        ", stale-while-revalidate={}, stale-if-error={}",
                        lifetime.while_revalidate.as_secs(),
                        lifetime.if_error.as_secs()
                    );
                }
                value
            }
        }
    }

    pub(crate) fn vary(self) -> Option<&'static str> {
        match self.kind {
            Kind::Language => Some("accept-language"),
            Kind::Account => Some("cookie"),
            _ => None,
        }
    }

    fn size(self) -> usize {
        let spread = usize::try_from(mix(self.number) % 4_000).unwrap_or(0);
        match (self.kind, self.number) {
            // More than the shared tier takes.
            (Kind::Part, 0) => 400_000,
            (Kind::Part, _) => 40_000 + spread * 8,
            _ => 300 + spread,
        }
    }
}

/// How long a response may be reused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    pub(crate) fresh: Duration,
    pub(crate) while_revalidate: Duration,
    pub(crate) if_error: Duration,
}

pub(crate) fn tag(number: u64) -> String {
    format!("tag-{}", number % TAGS)
}

/// The content of a version for somebody: the same bytes whenever it is asked for.
pub(crate) fn content(resource: Resource, who: &str, version: u64) -> Vec<u8> {
    let mut body = format!("{} for <{who}> version {version}\n", resource.path()).into_bytes();
    let mut state = hash(&body);
    while body.len() < resource.size() {
        state = mix(state);
        body.extend_from_slice(&state.to_le_bytes());
    }
    body.truncate(resource.size());
    body
}

pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The next of a row of numbers without a visible order (SplitMix64).
pub(crate) fn mix(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Numbers from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed ^ mix(stream)))
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % limit.max(1)
    }

    /// True so many times in a thousand.
    pub(crate) fn chance(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let at = usize::try_from(self.below(items.len() as u64)).unwrap_or(0);
        &items[at]
    }
}
