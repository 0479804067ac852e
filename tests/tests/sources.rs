//! Arrows between the modules of a whole crate, read from the paths in their text and from the methods that they call.
//!
//! A crate is a tree of folders. At each level an arrow leads from one module to its sibling where any file in the one names anything
//! of the other: by `crate::…`, by `super::…`, or by the name under which the folder's own file shows what one has. That own file
//! (`mod.rs`) is the folder itself, and no sibling of what is in it.

use crate::modules::{Arrows, Spread};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The way from the root of a crate to a module.
type Way = Vec<String>;

/// A module: where it is, and its text without comments and tests.
struct Module {
    file: String,
    text: String,
    lines: usize,
    /// What the module shows of others: the name, and where it is from.
    shows: BTreeMap<String, Way>,
}

/// The modules of a crate that are compiled for more than tests.
pub(crate) struct Crate(BTreeMap<Way, Module>);

impl Crate {
    /// Reads the sources of a crate.
    pub(crate) fn read(source: &Path) -> Self {
        let mut modules = BTreeMap::new();
        visit(source, &mut Vec::new(), &mut modules);
        for way in modules.keys().cloned().collect::<Vec<_>>() {
            let shows = modules.get(&way).map(|module| shown(&module.text, &way, &modules));
            if let Some((module, shows)) = modules.get_mut(&way).zip(shows) {
                module.shows = shows;
            }
        }
        Self(modules)
    }

    /// Every file, with its text and the number of its lines, tests included.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str, usize)> {
        let files = self.0.values();
        files.map(|module| (module.file.as_str(), module.text.as_str(), module.lines))
    }

    /// The arrows between the modules at the top.
    pub(crate) fn top_modules(&self) -> Arrows {
        self.levels().remove(&Way::new()).unwrap_or_default()
    }

    /// The arrows between siblings, folder by folder.
    pub(crate) fn levels(&self) -> BTreeMap<Way, Arrows> {
        let mut levels: BTreeMap<Way, Arrows> = BTreeMap::new();
        for way in self.0.keys().filter(|way| !way.is_empty()) {
            let (folder, name) = (way[..way.len() - 1].to_vec(), way[way.len() - 1].clone());
            levels.entry(folder).or_default().entry(name).or_default();
        }
        let texts: Vec<(&Way, &str)> = self.0.iter().map(|(way, module)| (way, module.text.as_str())).collect();
        let spread = Spread::read(&texts);
        for (from, module) in &self.0 {
            let named = named(&module.text, from).into_iter().map(|named| self.home(named));
            let called = spread.called(&module.text).map(|(home, _)| home.clone());
            for to in named.chain(called) {
                let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
                if let (Some(one), Some(other)) = (from.get(common), to.get(common)) {
                    let level = levels.entry(from[..common].to_vec()).or_default();
                    let arrows = level.entry(one.clone()).or_default();
                    arrows.insert(other.clone(), module.file.clone());
                }
            }
        }
        levels
    }

    /// The module that has what a path names.
    fn home(&self, mut path: Way) -> Way {
        // What is shown may be shown by others in turn; a circle of shows is none that compiles.
        for _ in 0..8 {
            let depth = (0..=path.len())
                .rev()
                .find(|depth| self.0.contains_key(&path[..*depth]));
            let depth = depth.unwrap_or(0);
            let shown = self.0.get(&path[..depth]).zip(path.get(depth));
            match shown.and_then(|(module, name)| module.shows.get(name)) {
                Some(from) => path = [from, &path[depth + 1..]].concat(),
                None => return path[..depth].to_vec(),
            }
        }
        path
    }
}

fn visit(folder: &Path, way: &mut Way, modules: &mut BTreeMap<Way, Module>) {
    let own = ["mod.rs", "main.rs", "lib.rs"]
        .into_iter()
        .map(|name| folder.join(name));
    let beside = folder.with_extension("rs");
    let own = own.chain([beside]).find(|file| file.is_file());
    let text = own
        .map(|file| std::fs::read_to_string(file).unwrap())
        .unwrap_or_default();
    let for_tests = only_for_tests(&text);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if for_tests.contains(&name) {
            continue;
        }
        if path.is_dir() {
            way.push(name);
            visit(&path, way, modules);
            way.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let is_own = ["mod", "main", "lib"].contains(&name.as_str());
            let at = if is_own {
                way.clone()
            } else {
                [way.as_slice(), &[name]].concat()
            };
            let text = std::fs::read_to_string(&path).unwrap();
            let module = Module {
                file: path.display().to_string(),
                lines: text.lines().count(),
                text: production(&text),
                shows: BTreeMap::new(),
            };
            modules.insert(at, module);
        }
    }
}

/// Files of modules that are compiled for tests alone: by their name, or by `#[path = …]`.
fn only_for_tests(text: &str) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for rest in text.split("#[cfg(test)]").skip(1) {
        let (mut rest, mut file) = (rest.trim_start(), None);
        while let Some((attribute, after)) = rest.strip_prefix("#[").and_then(|rest| rest.split_once(']')) {
            let path = attribute
                .strip_prefix("path = \"")
                .and_then(|path| path.split('.').next());
            file = path.map(str::to_owned).or(file);
            rest = after.trim_start();
        }
        let module = rest.strip_prefix("mod ").and_then(|rest| rest.split_once(';'));
        files.extend(module.map(|(name, _)| file.unwrap_or_else(|| name.to_owned())));
    }
    files
}

/// A text without comments, and without what is compiled for tests alone.
fn production(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut parts = text.split("#[cfg(test)]");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| kept.push_str(&part[end_of_item(part)..]));
    kept
}

/// Where the item ends that a text begins with: at its semicolon, or at the brace that closes it.
fn end_of_item(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// What a module shows of others, by name: `pub use a::{B, c::D as E}`.
fn shown(text: &str, way: &Way, modules: &BTreeMap<Way, Module>) -> BTreeMap<String, Way> {
    let mut shows = BTreeMap::new();
    for statement in text.split(';') {
        let statement = statement.trim_start();
        let rest = statement.strip_prefix("pub").and_then(|rest| {
            let rest = rest.split_once("use ")?;
            let visibility = rest.0.trim();
            (visibility.is_empty() || visibility.starts_with('(')).then_some(rest.1)
        });
        for path in rest.map(paths).unwrap_or_default() {
            let (name, path) = match path.iter().position(|part| part == "as") {
                Some(at) => (path.get(at + 1).cloned(), path[..at].to_vec()),
                None => (path.last().cloned(), path),
            };
            let child = path
                .first()
                .is_some_and(|first| modules.contains_key(&[way.as_slice(), std::slice::from_ref(first)].concat()));
            let from = if child {
                [way.as_slice(), &path].concat()
            } else {
                absolute(&path, way).unwrap_or_default()
            };
            // What a module shows of another one is its own.
            let is_own = way.first().is_none_or(|module| from.first() == Some(module));
            if let Some(name) = name.filter(|_| is_own && !from.is_empty() && path.len() > 1) {
                shows.insert(name, from);
            }
        }
    }
    shows
}

/// Every path in a text that leads to modules of the same crate, from the root.
fn named(text: &str, way: &Way) -> Vec<Way> {
    let begins = |at: usize| !text[..at].ends_with(|last: char| last.is_alphanumeric() || last == '_' || last == ':');
    let found = ["crate::", "super::", "self::"]
        .into_iter()
        .flat_map(|root| text.match_indices(root));
    let found = found
        .filter(|(at, _)| begins(*at))
        .flat_map(|(at, _)| paths(&text[at..]));
    found.filter_map(|path| absolute(&path, way)).collect()
}

/// A path from the root; `None` where it leads out of the crate.
fn absolute(path: &[String], way: &Way) -> Option<Way> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([way.as_slice(), rest].concat()),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let base = way.len().checked_sub(ups)?;
            Some([&way[..base], &path[ups..]].concat())
        }
        _ => None,
    }
}

/// The paths that a text begins with: one, or those of a list in braces, each in its parts. `as` and the name after it are parts too.
fn paths(text: &str) -> Vec<Way> {
    let word: String = text
        .chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect();
    let rest = &text[word.len()..];
    if let Some(list) = rest.strip_prefix('{').filter(|_| word.is_empty()) {
        return items(list).iter().flat_map(|item| paths(item.trim())).collect();
    }
    if word.is_empty() {
        return Vec::new();
    }
    match rest.strip_prefix("::") {
        Some(more) => {
            let more = paths(more);
            let more = if more.is_empty() { vec![Way::new()] } else { more };
            more.into_iter()
                .map(|rest| [vec![word.clone()], rest].concat())
                .collect()
        }
        None => match rest.strip_prefix(" as ") {
            Some(name) => {
                let name = paths(name).into_iter().next().unwrap_or_default();
                vec![[vec![word, "as".to_owned()], name].concat()]
            }
            None => vec![vec![word]],
        },
    }
}

/// The items of a list, up to the brace that ends it.
fn items(list: &str) -> Vec<String> {
    let (mut depth, mut item, mut found) = (0, String::new(), Vec::new());
    for letter in list.chars() {
        match letter {
            '}' if depth == 0 => break,
            ',' if depth == 0 => {
                found.push(std::mem::take(&mut item));
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        item.push(letter);
    }
    found.push(item);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::circle;

    fn made(files: &[(&str, &str)]) -> Crate {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Crate::read(folder.path())
    }

    fn circles(files: &[(&str, &str)]) -> usize {
        let levels = made(files).levels();
        levels.values().filter(|arrows| circle(arrows).is_some()).count()
    }

    #[test]
    fn paths_of_every_kind_lead_to_where_things_are() {
        let modules = made(&[
            ("main.rs", "mod a;\nmod b;\nmod c;\nmod d;\n"),
            ("a/mod.rs", "mod deep;\n"),
            (
                "a/deep.rs",
                "use crate::{b::B, c::{self, C}};\nfn x() { super::super::d::y() }\n",
            ),
            ("b.rs", ""),
            ("c.rs", ""),
            (
                "d.rs",
                "// crate::a\nuse std::c;\n\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n",
            ),
        ])
        .top_modules();
        assert_eq!(modules["a"].keys().collect::<Vec<_>>(), ["b", "c", "d"]);
        assert!(modules["d"].is_empty(), "{modules:?}");
    }

    #[test]
    fn what_a_folder_shows_is_at_home_in_its_file() {
        let folder = |back: &str| {
            let shows = "mod one;\nmod two;\npub(crate) use one::{One, Uno as Un};\n#[cfg(test)]\npub(crate) use two::OnlyInTests;\n";
            let two = format!("use super::{{Un}};\n{back}");
            circles(&[
                ("main.rs", "mod a;"),
                ("a/mod.rs", shows),
                ("a/one.rs", "use super::two::Two;"),
                ("a/two.rs", &two),
            ])
        };
        assert_eq!(folder(""), 1, "by another name");
        assert_eq!(
            circles(&[
                ("main.rs", "mod a;\nmod b;"),
                ("a/mod.rs", "pub(crate) use inner::A;\nmod inner;"),
                ("a/inner.rs", "use crate::b::B;"),
                ("b.rs", "struct B;"),
            ]),
            0
        );
        assert_eq!(
            circles(&[
                ("main.rs", "mod a;\nmod b;"),
                ("a/mod.rs", "pub(crate) use inner::A;\nmod inner;"),
                ("a/inner.rs", "use crate::b::B;"),
                ("b.rs", "use crate::a::A;"),
            ]),
            1
        );
    }

    #[test]
    fn modules_for_tests_draw_no_arrows() {
        let files = [
            ("main.rs", "mod a;\n#[cfg(test)]\n#[path = \"b.rs\"]\nmod tests;\n"),
            ("a.rs", "#[cfg(test)]\nuse crate::b::B;\nfn x() {}\n"),
            ("b.rs", "use crate::a;"),
        ];
        assert_eq!(circles(&files), 0);
        assert!(!made(&files).top_modules().contains_key("b"));
    }
}
