//! Certificates given as text.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::ViolationCode;
use super::reader::{Outcome, Problem, Reading};
use super::scalars::Text;

/// Room for a dozen authorities; the document goes to every Envoy.
const MAX_BYTES: usize = 32 << 10;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// One or more certificates in PEM (RFC 7468). Only their outer form is judged: whether they are good for anything, Envoy says.
pub(super) const CERTIFICATES: Text = Text {
    read: certificates,
    spell: String::clone,
    pattern: r"^[\s\u0085]*-----BEGIN CERTIFICATE-----[\s\S]*-----END CERTIFICATE-----[\s\u0085]*$",
    max: MAX_BYTES,
    allowed: "certificates in PEM, from -----BEGIN CERTIFICATE----- on",
};

fn certificates(value: &Value) -> Outcome<String> {
    let allowed = CERTIFICATES.allowed;
    let Some(text) = value.as_str() else {
        return Err(Problem::of(ViolationCode::WrongType, value, allowed));
    };
    if text.len() > MAX_BYTES {
        let message = format!("given {} bytes, allowed are at most {MAX_BYTES}", text.len());
        return Err(Problem::new(ViolationCode::TooLong, message));
    }
    let text = text.trim();
    if text.starts_with(BEGIN) && text.split_inclusive(END).all(is_certificate) {
        return Ok(Reading::exact(format!("{text}\n")));
    }
    // A key, or whatever else it may be, is not repeated.
    let message = format!("given something else, allowed are {allowed}");
    Err(Problem::new(ViolationCode::Malformed, message))
}

fn is_certificate(block: &str) -> bool {
    let content = block.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let Some(content) = content else { return false };
    let packed: String = content.split_ascii_whitespace().collect();
    BASE64_STANDARD.decode(packed).is_ok_and(|bytes| is_sequence(&bytes))
}

/// Whether the bytes are one DER SEQUENCE and nothing more (X.690 sections 8.1.3 and 8.9).
fn is_sequence(bytes: &[u8]) -> bool {
    let (Some((0x30, rest)), length_at) = (bytes.split_first(), 1_usize) else {
        return false;
    };
    let Some(first) = rest.first() else { return false };
    let (size, header) = match first {
        short @ 0..0x80 => (usize::from(*short), length_at + 1),
        long => {
            let count = usize::from(long & 0x7f);
            let Some(octets) = rest.get(1..=count).filter(|_| (1..=3).contains(&count)) else {
                return false;
            };
            let size = octets.iter().fold(0, |size, octet| size << 8 | usize::from(*octet));
            (size, length_at + 1 + count)
        }
    };
    bytes.len() == header + size
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(bytes: &[u8]) -> String {
        format!("{BEGIN}\n{}\n{END}", BASE64_STANDARD.encode(bytes))
    }

    #[test]
    fn what_looks_like_certificates_is_taken() {
        let long: Vec<u8> = [0x30, 0x82, 0x01, 0x00].into_iter().chain([0; 256]).collect();
        for text in [
            pem(&[0x30, 1, 0]),
            pem(&long),
            format!("{}\n{}\n", pem(&[0x30, 0]), pem(&long)),
        ] {
            let read = certificates(&Value::from(text.as_str())).map(|reading| reading.value);
            assert_eq!(read, Ok(format!("{}\n", text.trim())));
        }
    }

    #[test]
    fn what_does_not_is_refused_and_not_repeated() {
        let key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----";
        for text in [
            "",
            "/etc/ssl/ca.crt",
            key,
            BEGIN,
            &pem(b""),
            &pem(&[0x30]),
            &pem(&[0x30, 2, 0]),
            &pem(&[0x30, 1, 0, 0]),
            &pem(&[0x31, 1, 0]),
            &pem(&[0x30, 0x80]),
            &pem(&[0x30, 0x84, 0, 0, 0, 0]),
            &pem(&[0x30, 0]).replace('M', "*"),
            &format!("{}{key}", pem(&[0x30, 0])),
        ] {
            let problem = certificates(&Value::from(text))
                .map(|reading| reading.value)
                .unwrap_err();
            assert!(!problem.message.contains("MAA"), "{}", problem.message);
        }
        assert!(certificates(&Value::from(1)).is_err());
    }
}
