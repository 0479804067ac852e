//! Cache directives (RFC 9111 section 5.2; RFC 5861, RFC 8246, RFC 9213).

use super::fields::{Fields, is_token, is_token_byte, trim};
use super::list::members;

/// Seconds, at most 2^31 (RFC 9111 section 1.2.2).
pub type DeltaSeconds = u32;

/// `no-cache` and `private`, which may name the fields they are meant for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Qualified {
    /// Not there.
    #[default]
    Absent,
    /// Only for these fields (lower-case names).
    Fields(Vec<Vec<u8>>),
    /// For the whole response.
    Whole,
}

/// `max-stale` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxStale {
    /// However stale.
    Any,
    /// At most so many seconds past its freshness.
    Seconds(DeltaSeconds),
}

/// The directives of one message. An argument that is no delta-seconds makes the directive count as 0, which is the cautious
/// reading of both freshness and windows; of contradicting duplicates the most restrictive counts. What is no directive by its form
/// (`private; max-age=60`, `"no-store"`, a quoted string without an end) forbids whatever a word in it forbids: nobody means to allow
/// storing by it, and other caches look for the words alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheControl {
    /// The field was there, with or without known directives.
    pub present: bool,
    /// `no-store`
    pub no_store: bool,
    /// `no-cache`
    pub no_cache: Qualified,
    /// `private`
    pub private: Qualified,
    /// `public`
    pub public: bool,
    /// `must-revalidate`
    pub must_revalidate: bool,
    /// `proxy-revalidate`
    pub proxy_revalidate: bool,
    /// `must-understand`
    pub must_understand: bool,
    /// `immutable` (RFC 8246)
    pub immutable: bool,
    /// `only-if-cached` (request)
    pub only_if_cached: bool,
    /// `max-age`
    pub max_age: Option<DeltaSeconds>,
    /// `s-maxage`
    pub s_maxage: Option<DeltaSeconds>,
    /// `min-fresh` (request)
    pub min_fresh: Option<DeltaSeconds>,
    /// `max-stale` (request)
    pub max_stale: Option<MaxStale>,
    /// `stale-while-revalidate` (RFC 5861)
    pub stale_while_revalidate: Option<DeltaSeconds>,
    /// `stale-if-error` (RFC 5861)
    pub stale_if_error: Option<DeltaSeconds>,
}

impl CacheControl {
    /// Reads all `Cache-Control` lines.
    #[must_use]
    pub fn of(fields: &Fields<'_>) -> Self {
        let mut read = Self::default();
        for line in fields.all(b"cache-control") {
            read.present = true;
            members(line).for_each(|member| read.take(member));
        }
        read
    }

    fn take(&mut self, member: &[u8]) {
        if !is_directive(member) {
            member
                .split(|byte| !is_token_byte(*byte))
                .for_each(|word| self.forbid(&word.to_ascii_lowercase()));
        }
        let (name, argument) = match member.iter().position(|byte| *byte == b'=') {
            Some(at) => (member.get(..at).unwrap_or_default(), member.get(at + 1..)),
            None => (member, None),
        };
        let name = trim(name).to_ascii_lowercase();
        let seconds = || argument.map_or(Some(0), |text| Some(delta_seconds(unquoted(trim(text))).unwrap_or(0)));
        match name.as_slice() {
            b"no-store" => self.no_store = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"immutable" => self.immutable = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"no-cache" => self.no_cache.add(argument),
            b"private" => self.private.add(argument),
            b"max-age" => least(&mut self.max_age, seconds()),
            b"s-maxage" => least(&mut self.s_maxage, seconds()),
            b"stale-while-revalidate" => least(&mut self.stale_while_revalidate, seconds()),
            b"stale-if-error" => least(&mut self.stale_if_error, seconds()),
            b"min-fresh" => self.min_fresh = self.min_fresh.max(seconds()),
            b"max-stale" => {
                self.max_stale = match (self.max_stale, argument) {
                    (None, None) => Some(MaxStale::Any),
                    (Some(MaxStale::Seconds(present)), Some(_)) => {
                        Some(MaxStale::Seconds(present.min(seconds().unwrap_or(0))))
                    }
                    (present @ Some(MaxStale::Seconds(_)), None) => present,
                    (_, Some(_)) => seconds().map(MaxStale::Seconds),
                    (Some(MaxStale::Any), None) => Some(MaxStale::Any),
                }
            }
            _ => {}
        }
    }

    /// Takes in a word that stands where no directive can be read.
    fn forbid(&mut self, word: &[u8]) {
        match word {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = Qualified::Whole,
            b"private" => self.private = Qualified::Whole,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            _ => {}
        }
    }
}

/// Whether a member is a token, alone or with an argument that is a token or a quoted string (RFC 9111 section 5.2). Blanks around `=`
/// are let pass.
fn is_directive(member: &[u8]) -> bool {
    let mut parts = member.splitn(2, |byte| *byte == b'=').map(trim);
    let named = parts.next().is_some_and(is_token);
    named
        && parts
            .next()
            .is_none_or(|argument| is_token(argument) || is_quoted_string(argument))
}

/// Whether a text is one quoted string and nothing else (RFC 9110 section 5.6.4).
fn is_quoted_string(text: &[u8]) -> bool {
    let Some(inner) = text.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return false;
    };
    let mut escaped = false;
    let ends_within = inner.iter().any(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    !ends_within && !escaped
}

impl Qualified {
    /// Only a quoted string names fields. A bare word, as in `private=true`, counts for the whole response: a cache may always read the
    /// directive so (RFC 9111 sections 5.2.2.4 and 5.2.2.7), and few mean a field by it.
    fn add(&mut self, argument: Option<&[u8]>) {
        let names: Vec<Vec<u8>> = argument
            .map(trim)
            .filter(|text| is_quoted_string(text))
            .map(unquoted)
            .into_iter()
            .flat_map(members)
            .filter(|name| is_token(name))
            .map(<[u8]>::to_ascii_lowercase)
            .collect();
        match self {
            Self::Whole => {}
            // An argument without a readable name is read cautiously: the whole response.
            _ if names.is_empty() => *self = Self::Whole,
            Self::Absent => *self = Self::Fields(names),
            Self::Fields(present) => present.extend(names),
        }
    }
}

fn least(present: &mut Option<DeltaSeconds>, new: Option<DeltaSeconds>) {
    *present = match (*present, new) {
        (Some(present), Some(new)) => Some(present.min(new)),
        (present, new) => present.or(new),
    };
}

fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    }
}

/// Reads delta-seconds; what is greater than 2^31 counts as that (RFC 9111 section 1.2.2).
#[must_use]
pub fn delta_seconds(text: &[u8]) -> Option<DeltaSeconds> {
    const MOST: u64 = 1 << 31;
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text
        .iter()
        .fold(0_u64, |value, digit| (value * 10 + u64::from(digit - b'0')).min(MOST));
    u32::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(lines: &[&str]) -> CacheControl {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| (&b"cache-control"[..], line.as_bytes()))
            .collect();
        CacheControl::of(&Fields::from(lines))
    }

    #[test]
    fn directives_are_read_in_any_case_and_over_lines() {
        let read = of(&["Max-Age=60 , PUBLIC", "s-maxage=\"30\", must-revalidate, x=y"]);
        assert_eq!((read.max_age, read.s_maxage), (Some(60), Some(30)));
        assert!(read.public && read.must_revalidate && read.present && !read.no_store);
        assert!(!of(&[]).present);
    }

    #[test]
    fn what_is_wrong_is_read_cautiously() {
        for (line, max_age) in [
            ("max-age=60, max-age=10", Some(10)),
            ("max-age=a", Some(0)),
            ("max-age=-5", Some(0)),
            ("max-age=1.5", Some(0)),
            ("max-age", Some(0)),
            ("max-age=99999999999999999999", Some(1 << 31)),
            ("xmax-age=1", None),
            ("a=\"max-age=1\"", None),
        ] {
            assert_eq!(of(&[line]).max_age, max_age, "{line}");
        }
    }

    #[test]
    fn no_cache_may_name_fields() {
        assert_eq!(
            of(&["no-cache=\"Set-Cookie, a\""]).no_cache,
            Qualified::Fields(vec![b"set-cookie".to_vec(), b"a".to_vec()])
        );
        assert_eq!(of(&["no-cache=\"a\", no-cache"]).no_cache, Qualified::Whole);
        for line in [
            "private=\"\"",
            "private=true",
            "private=set-cookie",
            "private=\"a",
            "private=\"a\"b\"",
        ] {
            assert_eq!(of(&[line]).private, Qualified::Whole, "{line}");
        }
    }

    #[test]
    fn what_is_no_directive_forbids_what_its_words_forbid() {
        let forbidden = |lines: &[&str]| {
            let read = of(lines);
            (
                read.no_store,
                read.private == Qualified::Whole,
                read.no_cache == Qualified::Whole,
            )
        };
        for (lines, expected) in [
            (&["private; max-age=60"][..], (false, true, false)),
            (&["max-age=60; private"], (false, true, false)),
            (&["no-cache; no-store; must-revalidate"], (true, false, true)),
            (&["Private max-age=60"], (false, true, false)),
            (&["max-age=60 NO-STORE"], (true, false, false)),
            (&["\"private\""], (false, true, false)),
            (&["private:x, max-age:60"], (false, true, false)),
            (&["private\u{a0}"], (false, true, false)),
            (&["max-age=60, x=\"open, private"], (false, true, false)),
            (&["max-age=60, x=\"open", "private"], (false, true, false)),
            (&["x=\"a\"b, no-store\""], (true, false, false)),
            // These are directives, if unknown ones, and no words of others.
            (&["x=\"private, no-store\""], (false, false, false)),
            (&["x=\"a \\\" private\""], (false, false, false)),
            (&["x=private, x-private, not-private"], (false, false, false)),
            (&["xno-store; private2"], (false, false, false)),
        ] {
            assert_eq!(forbidden(lines), expected, "{lines:?}");
        }
        assert!(of(&["no-cache; must-revalidate"]).must_revalidate);
        assert!(of(&["max-age=60 proxy-revalidate"]).proxy_revalidate);
    }

    proptest! {
        /// Whatever stands before and behind it, however the members are separated, a word that forbids to store is found.
        #[test]
        fn a_word_that_forbids_is_found_wherever_it_stands_bare(
            before in "[a-z0-9;:, \\t'(){}/-]{0,12}",
            after in "[a-z0-9=;:, \\t'(){}/-]{0,12}",
            separator in "[;, :\\t/]",
        ) {
            let line = format!("{before}{separator}no-store{separator}{after}");
            prop_assert!(of(&[&line]).no_store, "{line}");
        }
    }
}
