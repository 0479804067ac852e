//! How a call to an upstream ended, told from Envoy's response flags and code details.

/// The way a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutcomeClass {
    /// The upstream answered with this status.
    Status(u16),
    /// No connection.
    ConnectFailure,
    /// The connection or stream ended before the response did.
    Reset,
    /// No answer in time.
    Timeout,
    /// The upstream refused the stream without looking at it.
    Refused,
    /// The answer was no HTTP.
    ProtocolError,
    /// The client went away: says nothing about the upstream.
    ClientGone,
    /// Envoy's own limits, or no cluster: says nothing about the upstream.
    Overflow,
    /// Envoy or a filter answered without the upstream.
    Local,
}

const NO_HEALTHY_UPSTREAM: u64 = 1 << 1;
const UPSTREAM_REQUEST_TIMEOUT: u64 = 1 << 2;
const UPSTREAM_REMOTE_RESET: u64 = 1 << 4;
const UPSTREAM_CONNECTION_FAILURE: u64 = 1 << 5;
const UPSTREAM_CONNECTION_TERMINATION: u64 = 1 << 6;
const UPSTREAM_OVERFLOW: u64 = 1 << 7;
const DOWNSTREAM_TERMINATION: u64 = 1 << 14;
const STREAM_IDLE_TIMEOUT: u64 = 1 << 16;
const DOWNSTREAM_PROTOCOL_ERROR: u64 = 1 << 18;
const UPSTREAM_MAX_STREAM_DURATION: u64 = 1 << 19;
const UPSTREAM_PROTOCOL_ERROR: u64 = 1 << 23;
const NO_CLUSTER: u64 = 1 << 24;

/// Classifies the end of a forwarded request. `status` is that of the response head, 0 when none came.
#[must_use]
pub fn classify(flags: u64, code_details: &[u8], status: u16) -> OutcomeClass {
    let any = |wanted: u64| flags & wanted != 0;
    if any(UPSTREAM_OVERFLOW | NO_CLUSTER) {
        return OutcomeClass::Overflow;
    }
    if any(UPSTREAM_CONNECTION_FAILURE | NO_HEALTHY_UPSTREAM) {
        return OutcomeClass::ConnectFailure;
    }
    if contains(code_details, b"remote_refused_stream_reset") {
        return OutcomeClass::Refused;
    }
    if any(UPSTREAM_REQUEST_TIMEOUT | UPSTREAM_MAX_STREAM_DURATION) {
        return OutcomeClass::Timeout;
    }
    if any(UPSTREAM_REMOTE_RESET | UPSTREAM_CONNECTION_TERMINATION) {
        return OutcomeClass::Reset;
    }
    if any(UPSTREAM_PROTOCOL_ERROR) {
        // Envoy reports a body cut short as a protocol error too; there the head had come.
        let cut = code_details.starts_with(b"upstream_reset_after_response_started");
        return if cut {
            OutcomeClass::Reset
        } else {
            OutcomeClass::ProtocolError
        };
    }
    // Idle with the request complete (504, else Envoy says 408): it was the upstream that kept silent.
    if any(STREAM_IDLE_TIMEOUT) && status == 504 {
        return OutcomeClass::Timeout;
    }
    if any(DOWNSTREAM_TERMINATION | DOWNSTREAM_PROTOCOL_ERROR | STREAM_IDLE_TIMEOUT) {
        return OutcomeClass::ClientGone;
    }
    if code_details == b"via_upstream" && status > 0 {
        OutcomeClass::Status(status)
    } else {
        OutcomeClass::Local
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let before = "upstream_reset_before_response_started";
        for (flags, details, status, class) in [
            (0, "via_upstream", 200, OutcomeClass::Status(200)),
            (0, "via_upstream", 503, OutcomeClass::Status(503)),
            (32_768, "via_upstream", 503, OutcomeClass::Status(503)),
            (
                32,
                &format!("{before}{{remote_connection_failure|x}}"),
                503,
                OutcomeClass::ConnectFailure,
            ),
            (
                64,
                &format!("{before}{{connection_termination}}"),
                503,
                OutcomeClass::Reset,
            ),
            (16, &format!("{before}{{remote_reset}}"), 503, OutcomeClass::Reset),
            (
                16,
                &format!("{before}{{remote_refused_stream_reset}}"),
                503,
                OutcomeClass::Refused,
            ),
            (
                8_388_608,
                &format!("{before}{{protocol_error}}"),
                502,
                OutcomeClass::ProtocolError,
            ),
            (
                8_388_608,
                "upstream_reset_after_response_started{protocol_error}",
                200,
                OutcomeClass::Reset,
            ),
            (4, "response_timeout", 504, OutcomeClass::Timeout),
            (128, &format!("{before}{{overflow}}"), 503, OutcomeClass::Overflow),
            (16_777_216, "cluster_not_found", 503, OutcomeClass::Overflow),
            (65_536, "stream_idle_timeout", 504, OutcomeClass::Timeout),
            (65_536, "stream_idle_timeout", 408, OutcomeClass::ClientGone),
            (16_384, "downstream_remote_disconnect", 0, OutcomeClass::ClientGone),
            (0, "", 503, OutcomeClass::Local),
            (0, "direct_response", 200, OutcomeClass::Local),
        ] {
            assert_eq!(classify(flags, details.as_bytes(), status), class, "{flags} {details}");
        }
    }
}
