//! Times, sizes, flags and addresses as nginx writes them.

/// A time such as `10m`, `1h30m`, `5s`, `500ms`, or seconds without a unit; milliseconds. `None`: no time.
pub(crate) fn milliseconds(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let letters = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, behind) = behind.split_at_checked(letters)?;
        let factor = match unit {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "M" => 30 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(factor)?)?;
        rest = behind.trim_start();
    }
    Some(total)
}

/// A size such as `10m`, `512k`, `1g`, or bytes without a unit; bytes. `None`: no size.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let (number, shift) = match text.bytes().last()? {
        b'k' | b'K' => (text.get(..text.len() - 1)?, 10),
        b'm' | b'M' => (text.get(..text.len() - 1)?, 20),
        b'g' | b'G' => (text.get(..text.len() - 1)?, 30),
        _ => (text, 0),
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `host:port` of a server, with a port where none is written. `None`: a socket file, a range, or no host.
pub(crate) fn address(text: &str, port: u16) -> Option<String> {
    if text.is_empty() || text.contains(['/', '$', '*', ' ']) || text.starts_with("unix:") {
        return None;
    }
    let has_port = match text.rsplit_once(':') {
        Some((host, digits)) if !text.ends_with(']') => {
            let bare_v6 = host.contains(':') && !host.ends_with(']');
            if bare_v6 || !digits.parse::<u16>().is_ok_and(|port| port > 0) {
                return None;
            }
            true
        }
        _ => false,
    };
    let whole = if has_port {
        text.to_owned()
    } else {
        format!("{text}:{port}")
    };
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    whole.bytes().all(sound).then_some(whole)
}

/// A name of 1 to `most` of a-z, 0-9 and -: what else there is becomes a dash.
pub(crate) fn slug(text: &str, most: usize) -> String {
    let mut name = String::new();
    for character in text.chars() {
        if name.len() >= most {
            break;
        }
        let character = character.to_ascii_lowercase();
        if character.is_ascii_alphanumeric() || character == '_' {
            name.push(character);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() {
        "all".to_owned()
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, ms) in [
            ("10m", Some(600_000)),
            ("1h30m", Some(5_400_000)),
            ("1h 30m", Some(5_400_000)),
            ("90", Some(90_000)),
            ("500ms", Some(500)),
            ("1M", Some(30 * 86_400_000)),
            ("0", Some(0)),
            ("", None),
            ("m", None),
            ("10x", None),
            ("99999999999999999999", None),
            ("9999999999999999d", None),
        ] {
            assert_eq!(milliseconds(text), ms, "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(bytes("10m"), Some(10 << 20));
        assert_eq!(bytes("512"), Some(512));
        assert_eq!(bytes("1t"), None);
        assert_eq!(bytes(""), None);
    }

    #[test]
    fn addresses_get_their_port() {
        for (text, address_is) in [
            ("a.example", Some("a.example:80")),
            ("a.example:8080", Some("a.example:8080")),
            ("[::1]", Some("[::1]:80")),
            ("::1", None),
            ("[::1]:81", Some("[::1]:81")),
            ("unix:/tmp/x", None),
            ("a:b", None),
            ("$x", None),
        ] {
            assert_eq!(address(text, 80).as_deref(), address_is, "{text}");
        }
    }

    #[test]
    fn names_are_sound() {
        assert_eq!(slug("Shop.Example /API/v1/", 64), "shop-example-api-v1");
        assert_eq!(slug("/", 64), "all");
        assert_eq!(slug(&"a".repeat(99), 48).len(), 48);
    }
}
