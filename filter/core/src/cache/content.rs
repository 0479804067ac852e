//! Requests whose content belongs to the cache key: QUERY (RFC 10008, section on caching), and POST where the operator says that it reads.

use super::key_secret::KeySecret;
use crate::graphql::{Allowed, Unread};
use crate::http::fields::Fields;
use crate::reason::Reason;

/// Which requests with content of a route are reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContentPolicy {
    /// QUERY is answered from the store.
    pub query: bool,
    /// POST is answered from the store.
    pub post: bool,
    /// Largest content, bytes.
    pub max_size: usize,
    /// Only these GraphQL operations are; `None`: every content.
    pub graphql: Option<Allowed>,
}

/// The part of a cache key that a request's content makes. No request without content has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentKey {
    /// The method and a digest, in letters and digits.
    text: Vec<u8>,
    posted: bool,
}

/// Fields by which a POST asks for another method.
const OTHER_METHOD: [&[u8]; 3] = [b"x-http-method-override", b"x-http-method", b"x-method-override"];
/// Fields that mean something else, or nothing, beside a method other than GET (RFC 9110 sections 13.1 and 14.2).
const CONDITIONS: [&[u8]; 6] = [
    b"range",
    b"if-range",
    b"if-match",
    b"if-none-match",
    b"if-modified-since",
    b"if-unmodified-since",
];

impl ContentPolicy {
    /// Whether requests of this method may be reads.
    #[must_use]
    pub fn covers(&self, method: &[u8]) -> bool {
        match method {
            b"QUERY" => self.query,
            b"POST" => self.post,
            _ => false,
        }
    }

    /// Whether the operator has said that every content is a read.
    #[must_use]
    pub fn reads_all(&self) -> bool {
        self.graphql.is_none()
    }

    /// Whether a request is a read for all that its head says. One that is not is forwarded at once.
    ///
    /// # Errors
    /// Why not.
    pub fn admits_head(&self, request: &Fields<'_>) -> Result<(), Reason> {
        let posted = request.get(b":method") == Some(b"POST");
        let conditions = if posted {
            &CONDITIONS[..]
        } else {
            CONDITIONS.get(..3).unwrap_or_default()
        };
        // Under any spelling: a CGI application takes `content_type` for `Content-Type`.
        let types = request
            .iter()
            .filter(|(name, _)| is_named(name, b"content-type"))
            .count();
        let kind = request.get(b"content-type").unwrap_or_default();
        let length = request.get(b"content-length");
        let length = length.map(|text| std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()));
        if types != 1 || kind.is_empty() || is_grpc(kind) {
            Err(Reason::ContentType)
        } else if request.has(b"expect") {
            Err(Reason::ContentExpected)
        } else if conditions.iter().any(|name| request.has(name)) {
            Err(Reason::ContentConditions)
        } else if request
            .iter()
            .any(|(name, _)| OTHER_METHOD.iter().any(|other| is_named(name, other)))
        {
            Err(Reason::ContentMethod)
        } else if length.is_some_and(|length: Option<usize>| length.is_none_or(|length| length > self.max_size)) {
            Err(Reason::ContentTooLarge)
        } else if self.graphql.is_some() && !is_plain_json(request, kind) {
            Err(Reason::GraphqlUnclear)
        } else {
            Ok(())
        }
    }

    /// The content's part in the key, where a request that its head admits is a read.
    ///
    /// # Errors
    /// Why it is not.
    pub fn key(&self, request: &Fields<'_>, content: &[u8], secret: &KeySecret) -> Result<ContentKey, Reason> {
        if content.len() > self.max_size {
            return Err(Reason::ContentTooLarge);
        }
        if let Some(allowed) = &self.graphql {
            allowed.admits(content)?;
        }
        let method = request.get(b":method").unwrap_or_default();
        // All that says how the content is to be read. More may be told apart than is different, never less.
        let lines = request.iter().filter(|(name, _)| is_named_after(name, b"content-"));
        let lines = lines.filter(|(name, _)| *name != b"content-length");
        let values = lines.flat_map(|(name, value)| [name, value]).chain([content]);
        let digest = secret
            .digest(b"content", std::iter::once(method).chain(values))
            .unwrap_or_default();
        let mut text = Vec::with_capacity(method.len() + 1 + 2 * digest.len());
        text.extend_from_slice(method);
        // As for every digest in a key: what has one is not shown to everybody.
        text.push(2);
        let digit = |number: u8| if number < 10 { b'0' + number } else { b'a' + number - 10 };
        text.extend(digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
        Ok(ContentKey {
            text,
            posted: method == b"POST",
        })
    }
}

impl ContentKey {
    /// As it stands in a key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Of a POST. Its response is not fresh unless the origin or the operator says so (RFC 9110 section 9.3.3), and is not validated: a
    /// condition of a POST is one for acting.
    #[must_use]
    pub fn is_posted(&self) -> bool {
        self.posted
    }
}

impl From<Unread> for Reason {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Unclear => Self::GraphqlUnclear,
            Unread::Batch => Self::GraphqlBatch,
            Unread::NoQuery => Self::GraphqlNoQuery,
            Unread::NotAllowed => Self::GraphqlNotAllowed,
        }
    }
}

/// A message stream: its client waits for answers before it has sent all.
fn is_grpc(kind: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    kind.get(..GRPC.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(GRPC))
}

/// JSON as it is, and no parameters in the URL, which some servers prefer to the content's.
fn is_plain_json(request: &Fields<'_>, kind: &[u8]) -> bool {
    let mut parts = kind.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let is = |part: Option<&[u8]>, text: &[u8]| part.is_some_and(|part| part.eq_ignore_ascii_case(text));
    let json = is(parts.next(), b"application/json");
    let utf8 = parts
        .all(|part| part.eq_ignore_ascii_case(b"charset=utf-8") || part.eq_ignore_ascii_case(b"charset=\"utf-8\""));
    let coded = request.iter().any(|(name, _)| is_named(name, b"content-encoding"));
    json && utf8 && !coded && !request.get(b":path").unwrap_or_default().contains(&b'?')
}

/// Whether a field has this name, or is taken for it by a CGI application.
fn is_named(line: &[u8], name: &[u8]) -> bool {
    line.len() == name.len() && is_named_after(line, name)
}

fn is_named_after(line: &[u8], beginning: &[u8]) -> bool {
    let same = |(of_line, of_name): (&u8, &u8)| *of_line == *of_name || *of_line == b'_' && *of_name == b'-';
    line.len() >= beginning.len() && line.iter().zip(beginning).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> ContentPolicy {
        ContentPolicy {
            query: true,
            post: true,
            max_size: 8,
            graphql: None,
        }
    }

    fn lines(method: &'static str, more: &[(&'static str, &'static str)]) -> Fields<'static> {
        let head = [(":method", method), (":path", "/p"), ("content-type", "text/plain")];
        let lines = head.iter().chain(more);
        lines.map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
    }

    fn key(method: &'static str, more: &[(&'static str, &'static str)], content: &[u8]) -> ContentKey {
        let secret = KeySecret::derived(&[7; 16]).unwrap();
        policy().key(&lines(method, more), content, &secret).unwrap()
    }

    #[test]
    fn content_method_and_what_describes_the_content_are_told_apart() {
        let base = key("QUERY", &[], b"abc");
        assert_eq!(base, key("QUERY", &[("content-length", "3"), ("accept", "a")], b"abc"));
        for other in [
            key("POST", &[], b"abc"),
            key("QUERY", &[], b"abd"),
            key("QUERY", &[], b""),
            key("QUERY", &[("content-encoding", "gzip")], b"abc"),
            key("QUERY", &[("content_language", "de")], b"abc"),
            key("QUERY", &[("content-digest", "x")], b"abc"),
        ] {
            assert_ne!(base, other);
        }
        let another = KeySecret::derived(&[8; 16]).unwrap();
        assert_ne!(Ok(&base), policy().key(&lines("QUERY", &[]), b"abc", &another).as_ref());
        assert!(base.as_bytes().starts_with(b"QUERY\x02") && base.as_bytes().len() == 6 + 32);
        assert!(key("POST", &[], b"").is_posted() && !base.is_posted());
    }

    #[test]
    fn a_head_that_leaves_a_doubt_is_not_waited_for() {
        let judged = |method, more: &[_]| policy().admits_head(&lines(method, more));
        assert_eq!(judged("POST", &[("content-length", "8")]), Ok(()));
        assert_eq!(judged("QUERY", &[("if-none-match", "\"a\"")]), Ok(()));
        for (method, more, reason) in [
            ("POST", ("content-length", "9"), Reason::ContentTooLarge),
            ("POST", ("content-length", "8, 8"), Reason::ContentTooLarge),
            ("POST", ("if-none-match", "\"a\""), Reason::ContentConditions),
            ("QUERY", ("range", "bytes=0-"), Reason::ContentConditions),
            ("POST", ("expect", "100-continue"), Reason::ContentExpected),
            ("POST", ("x_http-method-override", "DELETE"), Reason::ContentMethod),
            ("POST", ("content_type", "application/json"), Reason::ContentType),
            ("POST", ("content-type", "text/plain"), Reason::ContentType),
        ] {
            assert_eq!(judged(method, &[more]), Err(reason), "{more:?}");
        }
        let bare: Fields<'_> = [(&b":method"[..], &b"QUERY"[..])].into_iter().collect();
        assert_eq!(policy().admits_head(&bare), Err(Reason::ContentType));
        assert!(policy().covers(b"QUERY") && policy().covers(b"POST") && !policy().covers(b"PUT"));
        assert!(!ContentPolicy::default().covers(b"QUERY"));
    }

    #[test]
    fn graphql_is_read_from_plain_json_alone() {
        let policy = ContentPolicy {
            max_size: 1 << 16,
            graphql: Some(Allowed {
                operations: vec!["A".to_owned()],
                persisted: Vec::new(),
            }),
            ..policy()
        };
        let judged = |kind: &'static str, path: &'static str, more: (&'static str, &'static str)| {
            let lines = [(":method", "POST"), (":path", path), ("content-type", kind), more];
            policy.admits_head(
                &lines
                    .iter()
                    .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
                    .collect(),
            )
        };
        let none = ("accept", "*/*");
        assert_eq!(judged("application/json", "/g", none), Ok(()));
        assert_eq!(judged("Application/JSON; charset=UTF-8", "/g", none), Ok(()));
        for (kind, path, more) in [
            ("application/json", "/g?query=mutation", none),
            ("application/json; charset=utf-16", "/g", none),
            ("application/graphql", "/g", none),
            ("application/json", "/g", ("content-encoding", "gzip")),
        ] {
            assert_eq!(judged(kind, path, more), Err(Reason::GraphqlUnclear), "{kind} {path}");
        }
        assert_eq!(judged("application/grpc+proto", "/g", none), Err(Reason::ContentType));
        let secret = KeySecret::unset();
        let key = |content: &str| policy.key(&lines("POST", &[]), content.as_bytes(), &secret);
        assert!(key(r#"{"query":"query A { a }"}"#).is_ok());
        assert_eq!(key(r#"{"query":"query B { a }"}"#), Err(Reason::GraphqlNotAllowed));
        assert_eq!(key(r#"{"query":"mutation A { a }"}"#), Err(Reason::GraphqlNoQuery));
        assert_eq!(key("[]"), Err(Reason::GraphqlBatch));
        assert_eq!(key("{"), Err(Reason::GraphqlUnclear));
    }
}
