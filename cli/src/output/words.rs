//! Values in words: times, sizes, figures; and what may reach a terminal.

use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest text that one line shows, characters.
const LONGEST: usize = 2_000;

/// Without control characters: names and URLs come from strangers, and a terminal acts on some of them. At most 2,000 characters.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut clean: String = text
        .chars()
        .take(LONGEST)
        .map(|character| if character.is_control() { '\u{fffd}' } else { character })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        clean.push('…');
    }
    clean
}

/// Several lines as one.
#[must_use]
pub fn one_line(text: &str) -> String {
    clean(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A string as it is, anything else as JSON; null as a dash.
#[must_use]
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What people call an Envoy: its node id, else its instance.
#[must_use]
pub fn name_of(envoy: &Value) -> String {
    let node = envoy["node_id"].as_str().filter(|node| !node.is_empty());
    node.or_else(|| envoy["envoy"].as_str())
        .or_else(|| envoy.as_str())
        .unwrap_or("(no name)")
        .to_owned()
}

/// A number with as many decimals as are of use.
#[must_use]
pub fn figure(value: &Value) -> String {
    let Some(number) = value.as_f64() else {
        return "-".to_owned();
    };
    if number == number.trunc() || number.abs() >= 1000.0 {
        format!("{number:.0}")
    } else if number.abs() >= 10.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.2}")
    }
}

/// Bytes in the unit that fits: powers of a thousand.
#[must_use]
pub fn size(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

/// So many Envoys, in words.
#[must_use]
pub fn envoys(count: u64) -> String {
    if count == 1 {
        "1 Envoy".to_owned()
    } else {
        format!("{count} Envoys")
    }
}

/// How long ago that was: milliseconds since 1970.
#[must_use]
pub fn since(value: &Value) -> String {
    let Some(at) = value.as_u64().filter(|at| *at > 0) else {
        return "-".to_owned();
    };
    let then = UNIX_EPOCH + Duration::from_millis(at);
    match SystemTime::now().duration_since(then) {
        Ok(ago) => format!("{} ago", short(ago)),
        Err(ahead) => format!("in {}", short(ahead.duration())),
    }
}

/// That time in UTC: milliseconds since 1970.
#[must_use]
pub fn time(value: &Value) -> String {
    match value.as_u64() {
        Some(at) if at > 0 => {
            humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at.min(u64::from(u32::MAX) * 1000)))
                .to_string()
        }
        _ => "-".to_owned(),
    }
}

fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stranger_s_name_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\r\n"), "a\u{fffd}[31mb\u{fffd}\u{fffd}");
        assert_eq!(clean(&"x".repeat(3_000)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn figures_are_short() {
        let cases = [
            (json!(0), "0"),
            (json!(0.137), "0.14"),
            (json!(53.546), "53.5"),
            (json!(1234.5), "1234"),
        ];
        for (value, text) in cases {
            assert_eq!(figure(&value), text);
        }
        assert_eq!(figure(&Value::Null), "-");
    }

    #[test]
    fn times_are_utc_and_bounded() {
        assert_eq!(time(&json!(1_796_063_197_595_u64)), "2026-11-30T18:26:37Z");
        assert_eq!(time(&json!(0)), "-");
        assert!(!time(&json!(u64::MAX)).is_empty());
    }
}
