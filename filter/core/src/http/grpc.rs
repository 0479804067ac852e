//! What a proxy has to know of gRPC over HTTP/2 to tell how a call ended.

use super::fields::Fields;
use crate::Millis;

const CONTENT_TYPE: &[u8] = b"application/grpc";
/// More digits a deadline must not have.
const DEADLINE_DIGITS: usize = 8;
const OK: u8 = 0;
const DEADLINE_EXCEEDED: u8 = 4;

/// Whether a message is one of gRPC. gRPC-Web is not: its status is in the content.
#[must_use]
pub fn is_grpc(fields: &Fields<'_>) -> bool {
    let rest = fields
        .get(b"content-type")
        .and_then(|value| value.strip_prefix(CONTENT_TYPE));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// `grpc-status` of trailers, or of a head that stands for them. One that is no number is none.
#[must_use]
pub fn status(fields: &Fields<'_>) -> Option<u8> {
    number(fields.get(b"grpc-status")?)?.try_into().ok()
}

/// Whether the status says that the deadline is over.
#[must_use]
pub fn is_deadline(status: u8) -> bool {
    status == DEADLINE_EXCEEDED
}

/// The HTTP status that a gRPC status stands for, as Envoy and `google.rpc.Code` have it. An unknown one is a server's error.
#[must_use]
pub fn http_status(status: u8) -> u16 {
    match status {
        OK => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        DEADLINE_EXCEEDED => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// How long the client waits at most: its `grpc-timeout`.
#[must_use]
pub fn deadline_ms(request: &Fields<'_>) -> Option<Millis> {
    let (unit, digits) = request.get(b"grpc-timeout")?.split_last()?;
    if digits.len() > DEADLINE_DIGITS {
        return None;
    }
    let count = number(digits)?;
    Some(match unit {
        b'H' => count.saturating_mul(3_600_000),
        b'M' => count.saturating_mul(60_000),
        b'S' => count.saturating_mul(1_000),
        b'm' => count,
        b'u' => count / 1_000,
        b'n' => count / 1_000_000,
        _ => return None,
    })
}

fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<'a>(name: &'a [u8], value: &'a [u8]) -> Fields<'a> {
        Fields::from(vec![(name, value)])
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (value, wanted) in [
            (&b"application/grpc"[..], true),
            (b"application/grpc+proto", true),
            (b"application/grpc; charset=utf-8", true),
            (b"application/grpc-web", false),
            (b"application/grpc-web+proto", false),
            (b"application/json", false),
        ] {
            assert_eq!(is_grpc(&fields(b"content-type", value)), wanted, "{value:?}");
        }
        assert!(!is_grpc(&Fields::default()));
    }

    #[test]
    fn statuses_stand_for_those_of_http() {
        let all: Vec<u16> = (0..=17).map(http_status).collect();
        let wanted = [
            200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401, 500,
        ];
        assert_eq!(all, wanted);
        for (value, wanted) in [
            (&b"14"[..], Some(14)),
            (b"0", Some(0)),
            (b"", None),
            (b"-1", None),
            (b"999", None),
        ] {
            assert_eq!(status(&fields(b"grpc-status", value)), wanted, "{value:?}");
        }
    }

    #[test]
    fn deadlines_have_a_unit() {
        for (value, wanted) in [
            (&b"1H"[..], Some(3_600_000)),
            (b"2M", Some(120_000)),
            (b"5S", Some(5_000)),
            (b"250m", Some(250)),
            (b"999999u", Some(999)),
            (b"99999999n", Some(99)),
            (b"99999999H", Some(359_999_996_400_000)),
            (b"100000000m", None),
            (b"5", None),
            (b"S", None),
            (b"", None),
            (b"-5S", None),
            (b"5s", None),
        ] {
            assert_eq!(deadline_ms(&fields(b"grpc-timeout", value)), wanted, "{value:?}");
        }
    }
}
