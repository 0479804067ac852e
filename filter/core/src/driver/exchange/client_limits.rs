//! Time limits that a client sets for its own request, by fields that Envoy's router obeys. Envoy takes them off requests from outside, so
//! those that are there count.

use crate::Millis;
use crate::http::fields::Fields;

/// Fields of Envoy's router, in milliseconds; 0 is no limit.
const LIMITS: [&[u8]; 3] = [
    b"x-envoy-upstream-rq-timeout-ms",
    b"x-envoy-upstream-rq-per-try-timeout-ms",
    b"x-envoy-upstream-stream-duration-ms",
];

/// How long the upstream may take at most, as the client has it; `None` where it says nothing.
pub(crate) fn deadline_ms(request: &Fields<'_>) -> Option<Millis> {
    let limits = LIMITS.iter().filter_map(|name| {
        let text = std::str::from_utf8(request.get(name)?).ok()?;
        text.parse().ok().filter(|limit| *limit > 0)
    });
    limits.min()
}

/// Whether a field sets such a limit.
pub(crate) fn is_limit(name: &[u8]) -> bool {
    LIMITS.contains(&name)
}

/// Whether a request is bound to a limit of its client's own: others are not to wait for it.
pub(crate) fn is_limited(request: &Fields<'_>) -> bool {
    LIMITS.iter().any(|name| request.has(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_limit_counts() {
        let of = |lines: &[(&'static str, &'static str)]| {
            let request = lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            deadline_ms(&request.collect())
        };
        for (lines, expected) in [
            (&[][..], None),
            (&[("x-envoy-upstream-rq-timeout-ms", "250")], Some(250)),
            (&[("x-envoy-upstream-rq-per-try-timeout-ms", "7")], Some(7)),
            (&[("x-envoy-upstream-stream-duration-ms", "9")], Some(9)),
            (
                &[
                    ("x-envoy-upstream-rq-timeout-ms", "250"),
                    ("x-envoy-upstream-rq-per-try-timeout-ms", "100"),
                ],
                Some(100),
            ),
            (
                &[
                    ("x-envoy-upstream-rq-timeout-ms", "0"),
                    ("x-envoy-upstream-rq-per-try-timeout-ms", "100"),
                ],
                Some(100),
            ),
            (&[("x-envoy-upstream-rq-timeout-ms", "0")], None),
            (&[("x-envoy-upstream-rq-timeout-ms", "soon")], None),
            (&[("x-envoy-upstream-rq-timeout-ms", "-5")], None),
            // Envoy does not obey this one.
            (&[("x-envoy-expected-rq-timeout-ms", "5")], None),
        ] {
            assert_eq!(of(lines), expected, "{lines:?}");
        }
    }
}
