//! Directives with their blocks, included files in their places. How much is read is bounded.

use super::token::{End, Tokens};
use crate::Files;
use crate::error::Error;
use crate::place::Place;
use std::rc::Rc;

/// Most bytes of all files together.
pub(crate) const MAX_BYTES: usize = 8 << 20;
/// Most files.
const MAX_FILES: usize = 1_000;
/// Most levels of blocks, and of files that include each other.
const MAX_DEPTH: usize = 32;
/// Most directives of all files together.
const MAX_DIRECTIVES: usize = 50_000;

/// A directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directive {
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What is in its block.
    pub block: Option<Vec<Directive>>,
    /// Where it stands.
    pub place: Place,
    /// As the report names it, where that is not what nginx calls it: an annotation.
    pub shown: Option<String>,
}

impl Directive {
    /// The first argument, or nothing.
    pub(crate) fn first(&self) -> &str {
        self.args.first().map_or("", String::as_str)
    }

    /// The directives of its block.
    pub(crate) fn children(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }

    /// As it is shown in the report: in one line, cut at a length.
    pub(crate) fn text(&self) -> String {
        const LONGEST: usize = 100;
        let text = self.shown.clone().unwrap_or_else(|| {
            let mut words = vec![self.name.as_str()];
            words.extend(self.args.iter().map(String::as_str));
            words.join(" ")
        });
        let one_line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        match one_line.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", one_line.get(..end).unwrap_or_default()),
            None => one_line,
        }
    }
}

/// Reads files, and counts what it has read.
pub(crate) struct Reader<'f> {
    files: &'f dyn Files,
    missing_allowed: bool,
    missing: Vec<Place>,
    bytes: usize,
    files_read: usize,
    directives: usize,
}

impl<'f> Reader<'f> {
    /// With nothing read. `missing_allowed`: a file that an include names may be missing.
    pub(crate) fn new(files: &'f dyn Files, missing_allowed: bool) -> Self {
        Self {
            files,
            missing_allowed,
            missing: Vec::new(),
            bytes: 0,
            files_read: 0,
            directives: 0,
        }
    }

    /// The includes whose files were missing.
    pub(crate) fn missing(&self) -> &[Place] {
        &self.missing
    }

    /// All directives of a text that begins at a place.
    ///
    /// # Errors
    /// Its grammar, an include that cannot be read, or too much.
    pub(crate) fn read(&mut self, text: &str, start: &Place) -> Result<Vec<Directive>, Error> {
        self.file(text, start, 0)
    }

    fn file(&mut self, text: &str, start: &Place, depth: usize) -> Result<Vec<Directive>, Error> {
        self.bytes = self.bytes.saturating_add(text.len());
        self.files_read += 1;
        if self.bytes > MAX_BYTES || self.files_read > MAX_FILES {
            return too_large(start, format!("more than {MAX_BYTES} bytes or {MAX_FILES} files"));
        }
        let mut tokens = Tokens::new(text, start);
        self.items(&mut tokens, depth, false)
    }

    fn items(&mut self, tokens: &mut Tokens<'_>, depth: usize, in_block: bool) -> Result<Vec<Directive>, Error> {
        let mut items = Vec::new();
        loop {
            let words = tokens.directive()?;
            let wrong = |message: &str| Error::Syntax {
                place: words.place.clone(),
                message: message.to_owned(),
            };
            match words.end {
                End::File if in_block => return Err(wrong("the file ends within a block; expected \"}\"")),
                End::Close if !in_block => return Err(wrong("unexpected \"}\"")),
                End::File | End::Close => return Ok(items),
                End::Statement | End::Open => {}
            }
            self.directives += 1;
            if self.directives > MAX_DIRECTIVES || depth > MAX_DEPTH {
                let message = format!("more than {MAX_DIRECTIVES} directives or {MAX_DEPTH} levels");
                return too_large(&words.place, message);
            }
            let mut parts = words.words.into_iter();
            let mut directive = Directive {
                name: parts.next().unwrap_or_default(),
                args: parts.collect(),
                block: None,
                place: words.place,
                shown: None,
            };
            if words.end == End::Open {
                directive.block = Some(if directive.name.ends_with("_by_lua_block") {
                    tokens.skip_foreign_block()?;
                    Vec::new()
                } else {
                    self.items(tokens, depth + 1, true)?
                });
            }
            let is_include = directive.name == "include" && directive.block.is_none() && directive.args.len() == 1;
            if is_include {
                let included = self.include(&directive, depth)?;
                items.push(directive);
                items.extend(included);
            } else {
                items.push(directive);
            }
        }
    }

    fn include(&mut self, directive: &Directive, depth: usize) -> Result<Vec<Directive>, Error> {
        if is_list_of_types(directive.first()) {
            return Ok(Vec::new());
        }
        let found = match self.files.matching(directive.first()) {
            Ok(found) => found,
            Err(_) if self.missing_allowed => {
                self.missing.push(directive.place.clone());
                return Ok(Vec::new());
            }
            Err(message) => {
                let place = directive.place.clone();
                return Err(Error::Include { place, message });
            }
        };
        let mut items = Vec::new();
        for (name, text) in found {
            let start = Place {
                file: Rc::from(name),
                line: 1,
                column: 1,
            };
            items.extend(self.file(&text, &start, depth + 1)?);
        }
        Ok(items)
    }
}

/// The list of content types that comes with nginx: it says nothing about caching.
fn is_list_of_types(path: &str) -> bool {
    path.rsplit('/').next() == Some("mime.types")
}

fn too_large<T>(place: &Place, message: String) -> Result<T, Error> {
    let place = place.clone();
    Err(Error::TooLarge { place, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Itself;

    impl Files for Itself {
        fn matching(&self, pattern: &str) -> Result<Vec<(String, String)>, String> {
            match pattern {
                "self" => Ok(vec![("self".to_owned(), "include self; include self;".to_owned())]),
                "two" => Ok(vec![("two".to_owned(), "b c;\n d { e; }".to_owned())]),
                other => Err(format!("{other} is not there")),
            }
        }
    }

    fn read(text: &str) -> Result<Vec<Directive>, Error> {
        let start = Place {
            file: "t".into(),
            line: 1,
            column: 1,
        };
        Reader::new(&Itself, false).read(text, &start)
    }

    #[test]
    fn included_directives_stand_in_their_place_with_their_own_lines() {
        let items = read("a {\n include two;\n}").unwrap();
        let children = items[0].children();
        let names: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
        assert_eq!(names, ["include", "b", "d"]);
        assert_eq!(children[2].place.to_string(), "two:2:2");
    }

    #[test]
    fn what_includes_itself_ends() {
        assert!(matches!(read("include self;"), Err(Error::TooLarge { .. })));
        assert!(matches!(read("include nowhere;"), Err(Error::Include { .. })));
    }

    #[test]
    fn levels_are_bounded() {
        let nested = |levels: usize| format!("{}a;{}", "a {".repeat(levels), "}".repeat(levels));
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        assert!(matches!(read(&nested(MAX_DEPTH + 1)), Err(Error::TooLarge { .. })));
        assert!(matches!(read(&"a {".repeat(100_000)), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn foreign_blocks_are_passed_over() {
        let items = read("x_by_lua_block { local a = \"}\" -- }\n if b then { } end }\n c;").unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!(items[1].place.line, 3);
    }

    proptest::proptest! {
        /// Whatever the text, reading ends without a panic.
        #[test]
        fn any_text_is_read_or_refused(text in "[a-c{};\"'\\\\$# \n]{0,300}") {
            let _ = read(&text);
        }

        /// A refusal names a line of the text.
        #[test]
        fn a_fault_is_within_the_text(text in "[a{};\" \n]{0,80}") {
            if let Err(Error::Syntax { place, .. }) = read(&text) {
                let lines = u32::try_from(text.split('\n').count()).unwrap();
                proptest::prop_assert!(place.line >= 1 && place.line <= lines);
            }
        }
    }
}
