//! Circles of arrows between modules, and the arrows that no path shows: calls of a type's methods.
//!
//! A type whose `impl` blocks lie in many files (`Vm` of the filter's driver) lets every file call every other one without any `use`.
//! So each of its methods has a home, the file that defines it, and a call from another file is an arrow to that home.

use std::collections::{BTreeMap, BTreeSet};

/// What leads from one module to others: their names, each with a method or path that does.
pub(crate) type Arrows = BTreeMap<String, BTreeMap<String, String>>;

/// Types with `impl` blocks in several modules: where each method is at home.
pub(crate) struct Spread<'m, W>(BTreeMap<String, BTreeMap<String, &'m W>>);

impl<'m, W: PartialEq> Spread<'m, W> {
    /// Reads the modules of one crate: where each is, and its text. A name that several types have is left out.
    pub(crate) fn read(modules: &[(&'m W, &str)]) -> Self {
        let mut defined: BTreeMap<String, usize> = BTreeMap::new();
        let mut blocks_of: BTreeMap<String, Vec<(&'m W, String)>> = BTreeMap::new();
        for (way, text) in modules {
            for keyword in ["struct ", "enum "] {
                for (at, _) in text.match_indices(keyword) {
                    *defined.entry(word(&text[at + keyword.len()..])).or_default() += 1;
                }
            }
            let types: BTreeSet<String> = text.split("\nimpl ").skip(1).map(word).collect();
            for of in types {
                let own = blocks(text, &of);
                blocks_of.entry(of).or_default().push((*way, own));
            }
        }
        blocks_of.retain(|of, blocks| defined.get(of) == Some(&1) && blocks.len() > 1);
        let homes = blocks_of.into_iter().map(|(of, blocks)| {
            let methods = blocks
                .iter()
                .flat_map(|(way, block)| methods(block).into_iter().map(|method| (method, *way)));
            (of, methods.collect())
        });
        Self(homes.collect())
    }

    /// Where the methods are at home that a text calls, each with its name: on `self`, by the type's name, and on a variable that
    /// is called as the type is.
    pub(crate) fn called<'t>(&'t self, text: &'t str) -> impl Iterator<Item = (&'m W, String)> + 't {
        self.0.iter().flat_map(move |(of, homes)| {
            let own = blocks(text, of);
            let variable = of.to_lowercase();
            let called = calls(&own, "self", ".")
                .chain(calls(&own, "Self", "::"))
                .chain(calls(text, &variable, "."))
                .chain(calls(text, of, "::"));
            let found = called.filter_map(|method| homes.get(&method).map(|home| (*home, method)));
            found.collect::<Vec<_>>()
        })
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

/// The identifier that a text begins with.
fn word(text: &str) -> String {
    text.chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first circle of modules that call each other's methods.
    fn found(texts: &[(&str, &str)]) -> Option<String> {
        let names: Vec<String> = texts.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut read: Vec<(&String, &str)> = names.iter().zip(texts).map(|(name, text)| (name, text.1)).collect();
        let root = "root".to_owned();
        read.push((&root, "pub struct Vm {}\n"));
        let spread = Spread::read(&read);
        let arrows = |(name, text): &(&String, &str)| {
            let mut to: BTreeMap<String, String> = spread
                .called(text)
                .map(|(home, how)| (home.clone(), format!("{how}()")))
                .collect();
            to.remove(*name);
            ((*name).clone(), to)
        };
        circle(&read.iter().map(arrows).collect())
    }

    #[test]
    fn a_diamond_is_no_circle() {
        let arrows = |list: &[(&str, &[&str])]| {
            let to = |names: &[&str]| {
                names
                    .iter()
                    .map(|name| ((*name).to_owned(), "use".to_owned()))
                    .collect()
            };
            list.iter()
                .map(|(name, names)| ((*name).to_owned(), to(names)))
                .collect()
        };
        let diamond: Arrows = arrows(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])]);
        assert_eq!(circle(&diamond), None);
        let round: Arrows = arrows(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])]);
        assert_eq!(circle(&round), Some("a -[use]-> b -[use]-> c -[use]-> a".to_owned()));
    }

    #[test]
    fn a_call_of_a_method_that_lives_elsewhere_is_an_arrow() {
        let there = "\nimpl Vm {\n    pub(super) fn land(&mut self) {\n        self.go();\n    }\n}\n";
        let back = "\nimpl Vm {\n    fn go(&mut self) {\n        self\n            .land();\n    }\n}\n";
        let sentence = found(&[("landing", there), ("going", back)]).unwrap();
        assert_eq!(sentence, "going -[land()]-> landing -[go()]-> going");
        let by_variable = "fn x() { with(|vm| vm.land()) }\nimpl Vm {\n    fn go(&mut self) {}\n}\n";
        assert!(found(&[("landing", there), ("going", by_variable)]).is_some());
        let by_path = "fn x() { Vm::land() }\n\nimpl Vm {\n    fn go(&mut self) {}\n}\n";
        assert!(found(&[("landing", there), ("going", by_path)]).is_some());
    }

    #[test]
    fn what_other_types_have_is_no_arrow() {
        let there = "\nimpl Vm {\n    fn land(&mut self) {\n        self.go();\n    }\n}\n";
        for harmless in [
            "\nimpl Other {\n    fn x(&self) {\n        self.land();\n    }\n}\n\nimpl Vm {\n    fn go(&self) {}\n}\n",
            "\nimpl Vm {\n    fn go(&self) {\n        self.parked.land();\n    }\n}\n",
            "struct Vm {}\n\nimpl Vm {\n    fn go(&self) {\n        self.land();\n    }\n}\n",
        ] {
            assert_eq!(found(&[("landing", there), ("going", harmless)]), None, "{harmless}");
        }
    }
}
