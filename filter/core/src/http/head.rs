//! The head of a request as the origin sees it: what belongs to the message, and what each hop makes anew.

use super::fields::Line;

/// Fields by which a hop is traced.
const TRACING: [&[u8]; 15] = [
    b"x-request-id",
    b"traceparent",
    b"tracestate",
    b"baggage",
    b"b3",
    b"x-cloud-trace-context",
    b"x-amzn-trace-id",
    b"x-ot-span-context",
    b"grpc-trace-bin",
    b"uber-trace-id",
    b"sw8",
    b"x-client-trace-id",
    b"x-datadog-trace-id",
    b"x-datadog-parent-id",
    b"x-datadog-sampling-priority",
];
/// What a cache sets in a request.
const OURS: [&[u8]; 3] = [b"surrogate-capability", b"if-none-match", b"if-modified-since"];
/// What asks for less, or for something newer, of the same resource.
const ASKING: [&[u8]; 6] = [
    b"range",
    b"if-range",
    b"if-match",
    b"if-unmodified-since",
    b"cache-control",
    b"pragma",
];

/// Whether a field says something of one hop or one exchange, not of what is asked for.
#[must_use]
pub fn is_of_the_hop(name: &[u8]) -> bool {
    name.starts_with(b"x-envoy-") || name.starts_with(b"x-b3-") || name == b":scheme" || TRACING.contains(&name)
}

/// The lines that count, those of one name in their order.
fn compared<'l>(lines: &[Line<'l>], counts: impl Fn(&[u8]) -> bool) -> Vec<Line<'l>> {
    let mut compared: Vec<Line<'l>> = lines.iter().copied().filter(|(name, _)| counts(name)).collect();
    compared.sort_by_key(|(name, _)| *name);
    compared
}

/// Whether a head left the proxy as it came to the cache: apart from what belongs to the hop and what the cache itself has set.
#[must_use]
pub fn left_unchanged(came: &[Line<'_>], left: &[Line<'_>]) -> bool {
    let counts = |name: &[u8]| !is_of_the_hop(name) && !OURS.contains(&name);
    compared(came, counts) == compared(left, counts)
}

/// Fields that usual clients send of themselves, and proxies seldom give.
const OF_CLIENTS: [&[u8]; 12] = [
    b"accept",
    b"accept-charset",
    b"accept-encoding",
    b"accept-language",
    b"authorization",
    b"cookie",
    b"if-range",
    b"origin",
    b"range",
    b"referer",
    b"user-agent",
    b"x-requested-with",
];

/// Whether a field is one that clients send of themselves, and proxies seldom give to requests.
#[must_use]
pub fn is_usually_of_clients(name: &[u8]) -> bool {
    OF_CLIENTS.contains(&name) || name.starts_with(b"sec-") || name.starts_with(b"access-control-request-")
}

/// Names of the fields to which the proxy has given a value of its own. What it takes away is the same for all who ask, so is not among
/// them; nor is what it makes of the codings, which says nothing of who asks, or of the authority that the request came with.
#[must_use]
pub fn given_behind<'l>(came: &[Line<'_>], left: &[Line<'l>]) -> Vec<&'l [u8]> {
    let counts = |name: &[u8]| {
        !(is_of_the_hop(name) || OURS.contains(&name) || name.starts_with(b":") || name == b"accept-encoding")
    };
    let authority = values(came, b":authority");
    let mut names: Vec<&[u8]> = left.iter().map(|(name, _)| *name).filter(|name| counts(name)).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| {
        let given = values(left, name);
        given != values(came, name) && !(*name == b"x-forwarded-host" && given == authority)
    });
    names
}

/// Whether the authority with which a head left is one that the request brought in another field, and not in one of these (names in
/// lower case): the route takes it from there.
#[must_use]
pub fn takes_authority_from_field(came: &[Line<'_>], left: &[Line<'_>], keyed: &[Vec<u8>]) -> bool {
    let (was, is) = (values(came, b":authority"), values(left, b":authority"));
    let [authority] = is.as_slice() else {
        return was != is;
    };
    was != is
        && came.iter().any(|(name, value)| {
            !name.starts_with(b":") && !keyed.iter().any(|keyed| keyed == name) && value.eq_ignore_ascii_case(authority)
        })
}

/// Whether an address is the value of a field of the request, and not of one of these (names in lower case): it may have been taken from
/// there.
#[must_use]
pub fn brings_address(came: &[Line<'_>], address: &[u8], keyed: &[Vec<u8>]) -> bool {
    came.iter()
        .any(|(name, value)| *value == address && !name.starts_with(b":") && !keyed.iter().any(|keyed| keyed == name))
}

fn values<'l>(lines: &[Line<'l>], name: &[u8]) -> Vec<&'l [u8]> {
    let named = lines.iter().filter(|line| line.0 == name);
    named.map(|(_, value)| *value).collect()
}

/// Digest of all that a proxy may have chosen a route by, in hexadecimal: 128 bits of BLAKE3, so that nobody makes two heads with one
/// digest.
#[must_use]
pub fn digest(lines: &[Line<'_>]) -> String {
    let counts = |name: &[u8]| !is_of_the_hop(name) && !OURS.contains(&name) && !ASKING.contains(&name);
    let mut hasher = blake3::Hasher::new();
    for (name, value) in compared(lines, counts) {
        for part in [name, value] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hasher.finalize().to_hex().chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAME: [Line<'static>; 5] = [
        (b":path", b"/a"),
        (b":scheme", b"http"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"if-none-match", b"\"c\""),
    ];

    fn with(more: &[Line<'static>]) -> Vec<Line<'static>> {
        CAME.iter().chain(more).copied().collect()
    }

    #[test]
    fn what_a_hop_adds_is_no_change_and_anything_else_is() {
        let hop: [Line<'_>; 5] = [
            (b"x-envoy-expected-rq-timeout-ms", b"60000"),
            (b"traceparent", b"00-1"),
            (b"x-b3-spanid", b"1"),
            (b"surrogate-capability", b"x"),
            (b"x-request-id", b"1"),
        ];
        assert!(left_unchanged(&CAME, &with(&hop)));
        assert!(left_unchanged(
            &CAME,
            &CAME
                .into_iter()
                .rev()
                .filter(|line| line.0 != b"x-a")
                .chain([CAME[2], CAME[3]])
                .collect::<Vec<_>>()
        ));
        assert!(!left_unchanged(&CAME, &with(&[(b"x-tenant", b"1")])));
        assert!(!left_unchanged(&CAME, &CAME[1..]), "a field less");
        assert!(
            !left_unchanged(&CAME, &[CAME[0], CAME[1], CAME[3], CAME[2]]),
            "another order of values"
        );
        assert!(!left_unchanged(&[(b":path", b"/a")], &[(b":path", b"/b")]));
    }

    #[test]
    fn what_the_proxy_gives_a_request_is_told_from_what_it_came_with() {
        let given = |came: &[Line<'static>], left: &[Line<'static>]| {
            let names = given_behind(&with(came), &with(left));
            names
                .into_iter()
                .map(String::from_utf8_lossy)
                .collect::<Vec<_>>()
                .join(" ")
        };
        const HOST: Line<'static> = (b":authority", b"a");
        type Case = (&'static [Line<'static>], &'static [Line<'static>], &'static str);
        let cases: [Case; 8] = [
            (&[], &[], ""),
            (&[], &[(b"x-client", b"1"), (b"accept", b"*")], "accept x-client"),
            (&[(b"x-client", b"1")], &[(b"x-client", b"2")], "x-client"),
            (
                &[(b"x-client", b"1")],
                &[(b"x-client", b"1"), (b"x-client", b"2")],
                "x-client",
            ),
            (&[(b"x-client", b"1")], &[], ""),
            (
                &[],
                &[
                    (b"accept-encoding", b"gzip"),
                    (b"x-envoy-attempt-count", b"1"),
                    (b":path", b"/b"),
                ],
                "",
            ),
            (&[HOST], &[HOST, (b"x-forwarded-host", b"a")], ""),
            (&[HOST], &[HOST, (b"x-forwarded-host", b"b")], "x-forwarded-host"),
        ];
        for (came, left, names) in cases {
            assert_eq!(given(came, left), names, "{came:?} {left:?}");
        }
    }

    #[test]
    fn an_authority_that_a_field_has_brought_is_told() {
        let from_field = |came: &[Line<'static>], is: &'static [u8], keyed: &[Vec<u8>]| {
            takes_authority_from_field(came, &[(b":authority", is)], keyed)
        };
        let came: [Line<'_>; 2] = [(b":authority", b"a"), (b"x-target", b"B.internal")];
        assert!(from_field(&came, b"b.internal", &[]));
        assert!(
            !from_field(&came, b"b.internal", &[b"x-target".to_vec()]),
            "it is in the key"
        );
        assert!(!from_field(&came, b"c.internal", &[]), "by the route's own word");
        assert!(
            !from_field(&[(b":authority", b"a"), (b"x-target", b"a")], b"a", &[]),
            "not changed"
        );
    }

    #[test]
    fn a_digest_holds_what_a_route_may_be_chosen_by() {
        let base = digest(&CAME);
        assert_eq!(base.len(), 32);
        for same in [
            (&b"range"[..], &b"bytes=0-1"[..]),
            (b"cache-control", b"no-cache"),
            (b"x-request-id", b"7"),
        ] {
            assert_eq!(digest(&with(&[same])), base);
        }
        for other in [(&b"x-canary"[..], &b"1"[..]), (b"cookie", b"a=b"), (b"x-a", b"")] {
            assert_ne!(digest(&with(&[other])), base);
        }
        assert_ne!(digest(&[(b"a", b"bc")]), digest(&[(b"ab", b"c")]));
    }
}
