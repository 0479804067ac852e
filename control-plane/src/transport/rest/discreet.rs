//! Users' values in answers: what a request was told apart by is shown as a keyed digest, unless everybody has the same few values.

use ring::hmac::{HMAC_SHA256, Key, sign};
use serde_json::Value;
use tokio::sync::watch;

/// Fields whose values say nothing about who asks.
const HARMLESS: [&str; 9] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "save-data",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "upgrade-insecure-requests",
    "x-forwarded-proto",
];

/// The secret of the digests: the fleet's, of which they say nothing. Equal values have equal digests, by any replica; nobody can try
/// values out.
pub(crate) struct Discretion {
    /// Empty where there is none: then nothing is told apart.
    secret: watch::Receiver<Vec<u8>>,
}

impl std::fmt::Debug for Discretion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Discretion(..)")
    }
}

/// What the digests are for; cache keys have others.
const PURPOSE: &[u8] = b"values shown to operators";

impl Discretion {
    pub(crate) fn new(secret: watch::Receiver<Vec<u8>>) -> Self {
        Self { secret }
    }

    /// Replaces the values in what a filter explains, wherever in it they stand.
    pub(crate) fn veil(&self, value: &mut Value) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(|one| self.veil(one)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), value) {
                        ("selecting", Value::Array(selecting)) => {
                            selecting.iter_mut().for_each(|one| self.veil_field(one))
                        }
                        ("key", Value::String(key)) => *key = self.veiled_key(key),
                        ("same_url", Value::Array(keys)) => {
                            for key in keys {
                                if let Value::String(key) = key {
                                    *key = self.veiled_key(key);
                                }
                            }
                        }
                        (_, value) => self.veil(value),
                    }
                }
            }
            _ => {}
        }
    }

    fn veil_field(&self, field: &mut Value) {
        let harmless = field["name"].as_str().is_some_and(|name| HARMLESS.contains(&name));
        if let Some(Value::String(value)) = field.get_mut("value").filter(|_| !harmless) {
            *value = self.digest(value);
        }
    }

    /// The URL of a key as it is. What the route adds to it, from header fields and cookies, begins with a control byte.
    fn veiled_key(&self, key: &str) -> String {
        match key.find(|letter: char| letter.is_control()) {
            Some(at) => {
                let (url, more) = key.split_at(at);
                format!("{url} {}", self.digest(more))
            }
            None => key.to_owned(),
        }
    }

    fn digest(&self, value: &str) -> String {
        let secret = self.secret.borrow();
        if secret.is_empty() {
            return "digest:".to_owned();
        }
        let own = sign(&Key::new(HMAC_SHA256, &secret), PURPOSE);
        let tag = sign(&Key::new(HMAC_SHA256, own.as_ref()), value.as_bytes());
        let shown = tag.as_ref().iter().take(8).map(|byte| format!("{byte:02x}"));
        format!("digest:{}", shown.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn field(name: &str, value: &str) -> Value {
        json!({"name": name, "value": value})
    }

    #[test]
    fn only_values_that_tell_nothing_of_a_user_are_shown() {
        let discretion = Discretion::new(watch::channel(vec![7; 32]).1);
        let selecting = [
            field("cookie", "session=secret"),
            field("cookie", "session=secret"),
            field("cookie", "session=other"),
            field("x-user", "secret"),
            field("accept-encoding", "gzip"),
            json!({"name": "cookie", "value": null}),
        ];
        let mut told = json!({
            "key": "http://a/b?c\u{0}x-user\u{1}secret",
            "variants": [{"selecting": selecting}],
            "same_url": ["http://a/b?c\u{0}x-user\u{1}secret"],
            "stored": {"selecting": [field("authorization", "Bearer secret")]},
        });
        discretion.veil(&mut told);
        let text = told.to_string();
        assert!(
            !text.contains("secret") && text.contains("http://a/b?c digest:"),
            "{text}"
        );
        let shown = &told["variants"][0]["selecting"];
        assert_eq!(shown[0], shown[1]);
        assert_ne!(shown[0], shown[2]);
        assert_eq!((&shown[4]["value"], &shown[5]["value"]), (&json!("gzip"), &Value::Null));
    }
}
