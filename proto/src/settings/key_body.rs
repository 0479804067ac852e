//! Reads that bring content: QUERY (RFC 10008), and POST where a route says so.

use serde_json::Value;

use super::ViolationCode;
use super::kinds::Set;
use super::names;
use super::reader::{Findings, ObjectReader, Outcome, Problem, Reading};
use super::rows::{Rows, Topic, settings};
use super::scalars::{Text, Words, size};

/// Most names of operations, and most hashes.
const MAX_OPERATIONS: usize = 256;

/// What `max_size` can be, bytes. Above it what is kept of waiting requests would weigh on a worker.
const SIZES: std::ops::RangeInclusive<u64> = 1 << 10..=256 << 10;

/// A method whose requests bring content and may be reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BodyMethod {
    /// QUERY, safe by its definition (RFC 10008).
    Query,
    /// POST, which the operator says to be a read.
    Post,
}

impl BodyMethod {
    /// Every method with its word in the document.
    pub const WORDS: [(&'static str, Self); 2] = [("QUERY", Self::Query), ("POST", Self::Post)];

    /// The word in the document, which is the method's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        super::reader::word_of(&Self::WORDS, self)
    }
}

/// Which contents are reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BodyReads {
    /// Whatever is asked with one of the methods.
    #[default]
    All,
    /// GraphQL queries that the route names.
    Graphql,
}

impl BodyReads {
    /// Every value with its word in the document.
    pub const WORDS: [(&'static str, Self); 2] = [("all", Self::All), ("graphql", Self::Graphql)];

    /// The word in the document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        super::reader::word_of(&Self::WORDS, self)
    }
}

settings! {
    /// Requests with content whose responses are stored, by their content: it belongs to the key with all content-\* fields of the request.
    KeyBody {
        /// Methods of such requests. POST only where every POST of the route that reads allows is a read: one that is answered from the
        /// store does not reach the origin. None: requests with content are forwarded.
        "methods" => methods: Vec<BodyMethod> = Vec::new(),
            Set { item: Words(&BodyMethod::WORDS), max: BodyMethod::WORDS.len(), sorted: true }, example ["QUERY"];
        /// Largest content of such a request. It waits in Envoy until it is whole, so this is to be within the listener's
        /// per_connection_buffer_limit_bytes. A request with more content is forwarded.
        "max_size" => max_size: u64 = 64 << 10, size(SIZES), example "16KiB";
        /// Which contents are reads: all, or only the GraphQL queries (graphql) that operations and persisted name. A mutation or a
        /// subscription never is.
        "reads" => reads: BodyReads = BodyReads::default(), Words(&BodyReads::WORDS), example "graphql";
        /// Names of GraphQL operations that may be stored, case-sensitive; \*: every query.
        "operations" => operations: Vec<String> = Vec::new(), Set { item: OPERATION, max: MAX_OPERATIONS, sorted: true },
            example ["Product"];
        /// SHA-256 hashes of persisted GraphQL queries that may be stored: of requests that bring the hash and no text.
        "persisted" => persisted: Vec<String> = Vec::new(), Set { item: SHA256, max: MAX_OPERATIONS, sorted: true },
            example ["ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38"];
    }
}

impl Topic for KeyBody {
    fn read(path: String, value: &Value, base: Self, findings: &mut Findings) -> Self {
        let Some(mut object) = ObjectReader::open(path.clone(), value, findings) else {
            return base;
        };
        let body = Self::read_rows(&mut object, base);
        object.finish();
        if findings.sound(&path) {
            body.check(&path, findings);
        }
        body
    }
}

impl KeyBody {
    fn check(&self, path: &str, findings: &mut Findings) {
        let named = !self.operations.is_empty() || !self.persisted.is_empty();
        let message = match (self.reads, named) {
            (BodyReads::Graphql, false) => {
                "given neither operations nor persisted, allowed with reads graphql is one of them"
            }
            (BodyReads::All, true) => "given operations or persisted, allowed with reads all are none",
            _ => return,
        };
        findings.refuse(format!("{path}/reads"), Problem::new(ViolationCode::Conflict, message));
    }
}

/// The name of a GraphQL operation, or `*`.
const OPERATION: Text = Text {
    read: operation,
    spell: String::clone,
    pattern: r"^(?:\*|[A-Z_a-z][0-9A-Z_a-z]*)$",
    max: 128,
    allowed: "the name of a GraphQL operation, or *",
};

fn operation(value: &Value) -> Outcome<String> {
    let sound = |name: &str| {
        let plain = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
        name == "*" || name.bytes().all(plain) && !name.starts_with(|first: char| first.is_ascii_digit())
    };
    let name = names::text(value, &OPERATION, sound)?;
    Ok(Reading::exact(name.to_owned()))
}

/// A SHA-256 hash as 64 hexadecimal digits.
const SHA256: Text = Text {
    read: sha256,
    spell: String::clone,
    pattern: "^[0-9A-Fa-f]{64}$",
    max: 64,
    allowed: "a SHA-256 hash, 64 hexadecimal digits",
};

fn sha256(value: &Value) -> Outcome<String> {
    let sound = |hash: &str| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hash = names::text(value, &SHA256, sound)?;
    Ok(Reading::exact(hash.to_ascii_lowercase()))
}
