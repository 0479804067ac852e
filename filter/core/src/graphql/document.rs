//! The operations of a GraphQL document (October 2021, sections 2.1 to 2.4). What stands in brackets is only matched, not understood.

/// Operations of one document at most.
const MAX_OPERATIONS: usize = 64;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Query,
    Mutation,
    Subscription,
}

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operation<'d> {
    pub(super) kind: Kind,
    pub(super) name: Option<&'d str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'d> {
    Name(&'d str),
    /// A bracket that opens: the one that closes it.
    Open(u8),
    Close(u8),
    /// A string, a number or another sign.
    Other,
}

/// The operations of an executable document, in their order; `None` where it is none, or servers might disagree about it.
pub(super) fn operations(document: &str) -> Option<Vec<Operation<'_>>> {
    let mut tokens = Tokens::of(document)?;
    let mut operations: Vec<Operation<'_>> = Vec::new();
    while let Some(token) = tokens.next()? {
        let kind = match token {
            Token::Open(b'}') => {
                operations.push(Operation {
                    kind: Kind::Query,
                    name: None,
                });
                tokens.close(b'}')?;
                None
            }
            Token::Name("query") => Some(Kind::Query),
            Token::Name("mutation") => Some(Kind::Mutation),
            Token::Name("subscription") => Some(Kind::Subscription),
            Token::Name("fragment") => {
                match tokens.next()? {
                    Some(Token::Name(name)) if name != "on" => {}
                    _ => return None,
                }
                if tokens.next()? != Some(Token::Name("on")) {
                    return None;
                }
                tokens.selection_set()?;
                None
            }
            _ => return None,
        };
        if let Some(kind) = kind {
            let name = tokens.selection_set()?;
            operations.push(Operation { kind, name });
        }
        if operations.len() > MAX_OPERATIONS {
            return None;
        }
    }
    Some(operations)
}

/// The operation that a request asks for (section 6.1, `GetOperation`); `None` where there is none, or which one it is depends on the
/// server.
pub(super) fn selected<'d>(operations: &[Operation<'d>], wanted: Option<&str>) -> Option<Operation<'d>> {
    let alone = operations.len() == 1;
    let mut named: Vec<&str> = operations.iter().filter_map(|operation| operation.name).collect();
    let count = named.len();
    named.sort_unstable();
    named.dedup();
    // Two of one name, or one without a name beside others: a validating server refuses it, another one may not.
    if named.len() < count || !alone && count < operations.len() {
        return None;
    }
    match wanted {
        None => operations.first().copied().filter(|_| alone),
        Some(wanted) => operations
            .iter()
            .find(|operation| operation.name == Some(wanted))
            .copied(),
    }
}

/// The tokens of a document.
struct Tokens<'d> {
    text: &'d str,
    at: usize,
}

impl<'d> Tokens<'d> {
    /// `None` where a character is in it by which servers may see other lines or other ends.
    fn of(text: &'d str) -> Option<Self> {
        let lone_return = || {
            let mut bytes = text.bytes().peekable();
            std::iter::from_fn(move || bytes.next().map(|byte| byte == b'\r' && bytes.peek() != Some(&b'\n')))
                .any(|lone| lone)
        };
        let odd = |letter: char| {
            matches!(letter, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{7f}')
                || letter < ' ' && !matches!(letter, '\t' | '\n' | '\r')
        };
        (!text.chars().any(odd) && !lone_return()).then_some(Self { text, at: 0 })
    }

    fn rest(&self) -> &'d [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The next token: `Some(None)` at the end, `None` where there is none.
    fn next(&mut self) -> Option<Option<Token<'d>>> {
        loop {
            let rest = self.rest();
            let Some(first) = rest.first() else { return Some(None) };
            match first {
                b' ' | b'\t' | b'\n' | b'\r' | b',' => self.at += 1,
                b'#' => self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
                _ => return self.token(*first).map(Some),
            }
        }
    }

    fn token(&mut self, first: u8) -> Option<Token<'d>> {
        let rest = self.rest();
        let begin = self.at;
        let (length, token) = match first {
            b'(' => (1, Token::Open(b')')),
            b'[' => (1, Token::Open(b']')),
            b'{' => (1, Token::Open(b'}')),
            b')' | b']' | b'}' => (1, Token::Close(first)),
            b'!' | b'$' | b'&' | b':' | b'=' | b'@' | b'|' => (1, Token::Other),
            b'.' if rest.starts_with(b"...") => (3, Token::Other),
            b'"' => (string(rest)?, Token::Other),
            b'-' | b'0'..=b'9' => {
                let of_number = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
                (
                    rest.iter().position(|byte| !of_number(byte)).unwrap_or(rest.len()),
                    Token::Other,
                )
            }
            b'_' | b'A'..=b'Z' | b'a'..=b'z' => {
                let of_name = |byte: &u8| *byte == b'_' || byte.is_ascii_alphanumeric();
                let length = rest.iter().position(|byte| !of_name(byte)).unwrap_or(rest.len());
                (length, Token::Name(self.text.get(begin..begin + length)?))
            }
            _ => return None,
        };
        self.at += length;
        Some(token)
    }

    /// Passes what follows up to a selection set and that itself, which are the rest of a definition: a name (the first answer), variables
    /// and directives in between.
    fn selection_set(&mut self) -> Option<Option<&'d str>> {
        let mut name = None;
        let mut first = true;
        loop {
            match self.next()?? {
                Token::Open(b'}') => {
                    self.close(b'}')?;
                    return Some(name);
                }
                Token::Open(closing) => self.close(closing)?,
                Token::Close(_) => return None,
                Token::Name(found) if first => name = Some(found),
                Token::Name(_) | Token::Other => {}
            }
            first = false;
        }
    }

    /// Passes all up to the bracket that closes the one that was just read.
    fn close(&mut self, closing: u8) -> Option<()> {
        let mut open = vec![closing];
        while let Some(wanted) = open.last().copied() {
            match self.next()?? {
                Token::Open(closing) => open.push(closing),
                Token::Close(found) if found == wanted => {
                    open.pop();
                }
                Token::Close(_) => return None,
                Token::Name(_) | Token::Other => {}
            }
        }
        Some(())
    }
}

/// Length of the string at the beginning, with its quotes; `None` where it does not end.
fn string(text: &[u8]) -> Option<usize> {
    let mut at;
    if text.starts_with(b"\"\"\"") {
        at = 3;
        loop {
            let rest = text.get(at..)?;
            if rest.starts_with(b"\"\"\"") {
                return Some(at + 3);
            }
            if rest.is_empty() {
                return None;
            }
            at += if rest.starts_with(b"\\\"\"\"") { 4 } else { 1 };
        }
    }
    at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\n' | b'\r' => return None,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(document: &str) -> Option<Vec<(Kind, Option<&str>)>> {
        let found = operations(document)?;
        Some(
            found
                .into_iter()
                .map(|operation| (operation.kind, operation.name))
                .collect(),
        )
    }

    #[test]
    fn operations_are_found_whatever_stands_between_them() {
        let document = r#"
            # mutation Comment { no }
            query A($in: In = {a: ["}", """ } mutation B { \""" } """], b: -1.5e+3}, $l: [Int!]!) @d(if: true) @e {
                a(x: "}{\"") { ...F ... on T @skip(if: $in) { b } } # }
            }
            fragment F on T @d { f }
            subscription, S { s }
            mutation M { m }"#;
        let expected = vec![
            (Kind::Query, Some("A")),
            (Kind::Subscription, Some("S")),
            (Kind::Mutation, Some("M")),
        ];
        assert_eq!(kinds(document), Some(expected));
        assert_eq!(kinds("{ a }"), Some(vec![(Kind::Query, None)]));
        assert_eq!(kinds("query ($a: Int) { a }"), Some(vec![(Kind::Query, None)]));
        assert_eq!(kinds("query query { a }"), Some(vec![(Kind::Query, Some("query"))]));
        assert_eq!(kinds("fragment query on T { a } # only"), Some(vec![]));
    }

    #[test]
    fn what_is_no_executable_document_is_not_read() {
        for document in [
            "query A",
            "query A {",
            "query A { a }}",
            "query A { a ) }",
            "query A (a { a }",
            "query A } { a }",
            "query A { \"open }",
            "query A { \"a\nb\" }",
            "query A { \"\"\" }",
            "query A { a } ; mutation M { m }",
            "query A { a } é",
            "# a\rquery A { a }",
            "# a\u{2028}query A { a }",
            "query A { a } \u{0}",
            "type T { a: Int }",
            "extend type T { a: Int }",
            "\"described\" query A { a }",
            "fragment on on T { a }",
            "fragment F T { a }",
            "schema { query: Q }",
            ".. { a }",
        ] {
            assert_eq!(kinds(document), None, "{document:?}");
        }
        assert!(operations(&"{ a }".repeat(65)).is_none());
        assert!(operations(&"{".repeat(200_000)).is_none());
    }
}
