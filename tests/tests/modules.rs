//! Arrows between the modules of a folder, read from their text: by paths, and by calls of a type's methods.
//!
//! A type whose `impl` blocks lie in many files (`Vm` of the filter's driver) lets every file call every other one without any `use`.
//! So each of its methods has a home, the file that defines it, and a call from another file is an arrow to that home.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What leads from one module to others: their names, each with a method or path that does.
pub(crate) type Arrows = BTreeMap<String, BTreeMap<String, String>>;

/// Modules of one folder: name and production text, without comments.
pub(crate) struct Modules(BTreeMap<String, String>);

impl Modules {
    /// Reads a folder of Rust sources. What is compiled for tests only is left out.
    pub(crate) fn read(folder: &Path) -> Self {
        let root = std::fs::read_to_string(folder.join("mod.rs")).unwrap();
        let only_tests: Vec<&str> = root
            .split("#[cfg(test)]\nmod ")
            .skip(1)
            .filter_map(|rest| rest.split(';').next())
            .collect();
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let modules = files.filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(".rs")?.to_owned();
            let left_out = name == "mod" || only_tests.contains(&name.as_str());
            (!left_out).then(|| (name, production(&std::fs::read_to_string(&path).unwrap())))
        });
        Self(modules.collect())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// All arrows, by paths and by calls of the methods of `spread`, of which a binding is called `binding` outside its `impl` blocks.
    pub(crate) fn arrows(&self, spread: &str, binding: &str) -> Arrows {
        let mut homes: BTreeMap<String, &String> = BTreeMap::new();
        for (name, text) in &self.0 {
            for method in methods(&blocks(text, spread)) {
                homes.insert(method, name);
            }
        }
        let of = |name: &String, text: &String| {
            let mut arrows = BTreeMap::new();
            for used in paths(text) {
                if self.0.contains_key(&used) {
                    arrows.insert(used, "use".to_owned());
                }
            }
            let own = blocks(text, spread);
            let called = calls(&own, "self", ".")
                .chain(calls(&own, "Self", "::"))
                .chain(calls(text, binding, "."))
                .chain(calls(text, spread, "::"));
            for method in called {
                if let Some(home) = homes.get(&method) {
                    arrows.insert((*home).clone(), format!("{method}()"));
                }
            }
            arrows.remove(name);
            arrows
        };
        self.0
            .iter()
            .map(|(name, text)| (name.clone(), of(name, text)))
            .collect()
    }
}

/// A way of arrows that comes back to where it began, as a sentence; `None` where there is none.
pub(crate) fn circle(arrows: &Arrows) -> Option<String> {
    let mut done = BTreeSet::new();
    arrows
        .keys()
        .find_map(|start| walk(arrows, start, &mut Vec::new(), &mut done))
}

fn walk<'a>(
    arrows: &'a Arrows,
    at: &'a str,
    way: &mut Vec<(&'a str, &'a str)>,
    done: &mut BTreeSet<&'a str>,
) -> Option<String> {
    if let Some(start) = way.iter().position(|(name, _)| *name == at) {
        let steps = way[start..].iter().map(|(name, how)| format!("{name} -[{how}]-> "));
        return Some(steps.collect::<String>() + at);
    }
    if !done.contains(at) {
        for (to, how) in arrows.get(at).into_iter().flatten() {
            way.push((at, how));
            if let Some(found) = walk(arrows, to, way, done) {
                return Some(found);
            }
            way.pop();
        }
        done.insert(at);
    }
    None
}

/// A file's text without comments and without its tests.
fn production(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

/// The `impl` blocks of a type, together.
fn blocks(text: &str, of: &str) -> String {
    let opening = format!("\nimpl {of} {{\n");
    let begun = text.split(&opening).skip(1);
    begun
        .filter_map(|rest| rest.split("\n}").next())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Names of the functions that a block defines, each at the block's own depth.
fn methods(block: &str) -> Vec<String> {
    let heads = block
        .lines()
        .filter(|line| line.starts_with("    ") && !line.starts_with("     "));
    heads
        .filter_map(|line| line.split_once("fn ").map(|(_, rest)| word(rest)))
        .collect()
}

/// What is called on a name: `self.land(`, also where the call goes on in the next line.
fn calls<'t>(text: &'t str, on: &'t str, by: &'t str) -> impl Iterator<Item = String> + 't {
    let begins = |before: &str| !before.ends_with(|last: char| last.is_alphanumeric() || last == '_' || last == '.');
    text.match_indices(on).filter_map(move |(at, _)| {
        let rest = text[at + on.len()..].trim_start().strip_prefix(by)?;
        let method = word(rest);
        let is_call = rest[method.len()..].starts_with(['(', ':']);
        (begins(&text[..at]) && is_call && !method.is_empty()).then_some(method)
    })
}

/// Modules of the same folder that a text names: `super::a`, `super::{a, b::c}`, and the same by the folder's whole path.
fn paths(text: &str) -> Vec<String> {
    let named = |root: &'static str| text.match_indices(root).map(move |(at, _)| &text[at + root.len()..]);
    let mut found = Vec::new();
    for rest in named("super::").chain(named("crate::driver::")) {
        match rest.strip_prefix('{') {
            None => found.push(word(rest)),
            Some(list) => found.extend(items(list)),
        }
    }
    found
}

/// First identifiers of a list's items, up to the brace that ends it.
fn items(list: &str) -> Vec<String> {
    let (mut depth, mut item, mut found) = (0, String::new(), Vec::new());
    for letter in list.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(std::mem::take(&mut item)),
            _ => item.push(letter),
        }
    }
    found.push(item);
    found.iter().map(|item| word(item.trim_start())).collect()
}

/// The identifier that a text begins with.
fn word(text: &str) -> String {
    text.chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(texts: &[(&str, &str)]) -> Modules {
        let read = |(name, text): &(&str, &str)| ((*name).to_owned(), production(text));
        Modules(texts.iter().map(read).collect())
    }

    fn found(texts: &[(&str, &str)]) -> Option<String> {
        circle(&modules(texts).arrows("Vm", "vm"))
    }

    #[test]
    fn paths_are_arrows() {
        let arrows = modules(&[
            ("a", "use super::b::B;\nuse super::{c, d::{D, E}, e};\nuse crate::{f};"),
            ("b", ""),
            ("c", ""),
            ("d", ""),
            ("e", "fn x() { super::b::y() }"),
            ("f", ""),
        ])
        .arrows("Vm", "vm");
        let to: Vec<&str> = arrows["a"].keys().map(String::as_str).collect();
        assert_eq!(to, ["b", "c", "d", "e"]);
        assert_eq!(arrows["e"].keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_circle_by_paths_is_found_and_a_diamond_is_none() {
        assert_eq!(
            found(&[("a", "use super::b;"), ("b", "use super::c;"), ("c", "use super::a;")]),
            Some("a -[use]-> b -[use]-> c -[use]-> a".to_owned())
        );
        assert_eq!(
            found(&[
                ("a", "use super::{b, c};"),
                ("b", "use super::d;"),
                ("c", "use super::d;"),
                ("d", "")
            ]),
            None
        );
    }

    #[test]
    fn a_call_of_a_method_that_lives_elsewhere_is_an_arrow() {
        let there = "\nimpl Vm {\n    pub(super) fn land(&mut self) {\n        self.go();\n    }\n}\n";
        let back = "\nimpl Vm {\n    fn go(&mut self) {\n        self\n            .land();\n    }\n}\n";
        let sentence = found(&[("landing", there), ("going", back)]).unwrap();
        assert_eq!(sentence, "going -[land()]-> landing -[go()]-> going");
        let by_binding = "fn x() { with(|vm| vm.land()) }\nimpl Vm {\n    fn go(&mut self) {}\n}\n";
        assert!(found(&[("landing", there), ("going", by_binding)]).is_some());
        let by_path = "fn x() { Vm::land() }\n\nimpl Vm {\n    fn go(&mut self) {}\n}\n";
        assert!(found(&[("landing", there), ("going", by_path)]).is_some());
    }

    #[test]
    fn other_types_comments_and_tests_draw_no_arrows() {
        let there = "\nimpl Vm {\n    fn land(&mut self) {\n        self.go();\n    }\n}\n";
        for harmless in [
            "\nimpl Other {\n    fn x(&self) {\n        self.land();\n    }\n}\n\nimpl Vm {\n    fn go(&self) {}\n}\n",
            "\nimpl Vm {\n    fn go(&self) {\n        self.parked.land(); // self.land()\n    }\n}\n",
            "\nimpl Vm {\n    fn go(&self) {}\n}\n\n#[cfg(test)]\nmod tests {\n    use super::landing;\n}\n",
        ] {
            assert_eq!(found(&[("landing", there), ("going", harmless)]), None, "{harmless}");
        }
    }
}
