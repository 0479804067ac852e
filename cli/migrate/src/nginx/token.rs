//! nginx's words, by the rules of `ngx_conf_read_token`.
//!
//! Crates that parse nginx configurations were looked at: one has not been maintained since 2022 and refuses directives that it does not
//! know, one is for linting and splits `$scheme$host$uri` into three arguments. The grammar is small.

use crate::error::Error;
use crate::place::Place;
use std::rc::Rc;

/// Longest word, bytes: nginx has the same limit.
const MAX_WORD: usize = 4_096;

/// What ends a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// `;`
    Statement,
    /// `{`
    Open,
    /// `}`, without a directive before it.
    Close,
    /// The end of the file, without a directive before it.
    File,
}

/// A directive's name and arguments, and what ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    /// The words, quotes taken away and escapes resolved.
    pub words: Vec<String>,
    /// Where the first one begins, or what ends the directive where there is none.
    pub place: Place,
    /// What follows them.
    pub end: End,
}

/// Reads words one directive at a time.
pub(crate) struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    line: u32,
    column: u32,
    /// Where each line begins: the text may be a part of another, set in.
    margin: u32,
    file: Rc<str>,
}

impl<'a> Tokens<'a> {
    /// Of a text that begins at a place.
    pub(crate) fn new(text: &'a str, start: &Place) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
            line: start.line,
            column: start.column,
            margin: start.column,
            file: Rc::clone(&start.file),
        }
    }

    /// Where the next byte stands.
    pub(crate) fn place(&self) -> Place {
        Place {
            file: Rc::clone(&self.file),
            line: self.line,
            column: self.column,
        }
    }

    fn error<T>(&self, place: Place, message: &str) -> Result<T, Error> {
        let message = message.to_owned();
        Err(Error::Syntax { place, message })
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        if byte == b'\n' {
            self.line = self.line.saturating_add(1);
            self.column = self.margin;
        } else {
            self.column = self.column.saturating_add(1);
        }
        Some(byte)
    }

    /// The next directive.
    ///
    /// # Errors
    /// The text breaks nginx's grammar here.
    pub(crate) fn directive(&mut self) -> Result<Words, Error> {
        let mut words = Vec::new();
        let mut start = None;
        loop {
            let place = self.place();
            let Some(byte) = self.peek() else {
                if !words.is_empty() {
                    return self.error(place, "the file ends within a directive; expected \";\" or \"{\"");
                }
                return Ok(self.ended(words, start.unwrap_or(place), End::File));
            };
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => drop(self.next()),
                b'#' => self.skip_comment(),
                b';' | b'{' => {
                    if words.is_empty() {
                        return self.error(place, &format!("unexpected \"{}\"", char::from(byte)));
                    }
                    self.next();
                    let end = if byte == b';' { End::Statement } else { End::Open };
                    return Ok(self.ended(words, start.unwrap_or(place), end));
                }
                b'}' => {
                    if !words.is_empty() {
                        return self.error(place, "unexpected \"}\"; expected \";\" or \"{\"");
                    }
                    self.next();
                    return Ok(self.ended(words, place, End::Close));
                }
                b'"' | b'\'' => {
                    start.get_or_insert(place);
                    words.push(self.quoted(byte)?);
                }
                _ => {
                    start.get_or_insert(place);
                    words.push(self.bare()?);
                }
            }
        }
    }

    fn ended(&self, words: Vec<String>, place: Place, end: End) -> Words {
        Words { words, place, end }
    }

    fn skip_comment(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.next();
        }
    }

    /// A word in quotes. A blank, `;`, `{` or `)` has to follow.
    fn quoted(&mut self, quote: u8) -> Result<String, Error> {
        let start = self.place();
        self.next();
        let from = self.at;
        loop {
            match self.next() {
                None => return self.error(start, "a quoted word has no end"),
                Some(b'\\') => drop(self.next()),
                Some(byte) if byte == quote => break,
                Some(_) => {}
            }
        }
        let word = self.word(from, self.at.saturating_sub(1), &start)?;
        match self.peek() {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' | b')') => Ok(word),
            Some(byte) => {
                let message = format!(
                    "unexpected \"{}\" behind a quoted word",
                    char::from(byte).escape_default()
                );
                self.error(self.place(), &message)
            }
        }
    }

    /// A word without quotes. `${` does not end it.
    fn bare(&mut self) -> Result<String, Error> {
        let start = self.place();
        let from = self.at;
        let mut variable = false;
        while let Some(byte) = self.peek() {
            match byte {
                b'{' if variable => {}
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' => break,
                b'\\' => drop(self.next()),
                _ => {}
            }
            variable = byte == b'$';
            self.next();
        }
        self.word(from, self.at, &start)
    }

    fn word(&self, from: usize, to: usize, start: &Place) -> Result<String, Error> {
        let raw = self.text.get(from..to).unwrap_or_default();
        if raw.len() > MAX_WORD {
            return self.error(start.clone(), &format!("a word of more than {MAX_WORD} bytes"));
        }
        Ok(String::from_utf8_lossy(&unescaped(raw)).into_owned())
    }

    /// Passes over the content of a block in another language (`content_by_lua_block`), to the brace that ends it.
    ///
    /// # Errors
    /// It has no end.
    pub(crate) fn skip_foreign_block(&mut self) -> Result<(), Error> {
        let start = self.place();
        let mut depth = 1_u32;
        while let Some(byte) = self.next() {
            match byte {
                b'{' => depth = depth.saturating_add(1),
                b'}' => depth -= 1,
                b'"' | b'\'' => self.skip_foreign_text(byte),
                b'-' if self.peek() == Some(b'-') => self.skip_comment(),
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        self.error(start, "the block has no end; expected \"}\"")
    }

    fn skip_foreign_text(&mut self, quote: u8) {
        while let Some(byte) = self.next() {
            match byte {
                b'\\' => drop(self.next()),
                _ if byte == quote || byte == b'\n' => return,
                _ => {}
            }
        }
    }
}

/// `\"`, `\'`, `\\` are the second character, `\t`, `\r`, `\n` control characters; another backslash stays.
fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'n') => out.push(b'\n'),
            Some(quoted @ (b'"' | b'\'' | b'\\')) => out.push(quoted),
            Some(other) => out.extend_from_slice(&[b'\\', other]),
            None => out.push(b'\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Place {
        Place {
            file: "t".into(),
            line: 1,
            column: 1,
        }
    }

    fn read(text: &str) -> Result<Vec<(Vec<String>, End)>, Error> {
        let mut tokens = Tokens::new(text, &start());
        let mut all = Vec::new();
        loop {
            let words = tokens.directive()?;
            if words.end == End::File {
                return Ok(all);
            }
            all.push((words.words, words.end));
        }
    }

    #[test]
    fn words_are_those_of_nginx() {
        for (text, words) in [
            ("a b;", vec!["a", "b"]),
            ("a\tb\r\n c;", vec!["a", "b", "c"]),
            ("a $x$y/z;", vec!["a", "$x$y/z"]),
            ("a ${x}y;", vec!["a", "${x}y"]),
            ("a \"b ; c\" 'd { e';", vec!["a", "b ; c", "d { e"]),
            (r#"a "q\"q" b\;c \d;"#, vec!["a", "q\"q", "b\\;c", "\\d"]),
            ("a#b;", vec!["a#b"]),
            ("a # c ;\n b;", vec!["a", "b"]),
            ("~^/x/(\\d+)$ y;", vec!["~^/x/(\\d+)$", "y"]),
            ("a b}c;", vec!["a", "b}c"]),
        ] {
            let read = read(text).unwrap();
            assert_eq!(
                read,
                vec![(words.iter().map(|w| (*w).to_owned()).collect(), End::Statement)],
                "{text}"
            );
        }
    }

    #[test]
    fn faults_have_their_place() {
        for (text, line, column) in [
            (";", 1, 1),
            ("a\n b }", 2, 4),
            ("a b", 1, 4),
            ("\n a \"b", 2, 4),
            ("a \"b\"c;", 1, 6),
            (" {", 1, 2),
        ] {
            let Err(Error::Syntax { place, .. }) = read(text) else {
                panic!("{text} was read");
            };
            assert_eq!((place.line, place.column), (line, column), "{text}");
        }
    }

    #[test]
    fn a_word_is_bounded() {
        assert!(read(&format!("{};", "a".repeat(MAX_WORD))).is_ok());
        assert!(read(&format!("{};", "a".repeat(MAX_WORD + 1))).is_err());
    }
}
