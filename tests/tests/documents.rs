//! What the documents say exists: files that they link or name, and tests that they promise.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Files of the repository whose names end so.
fn tracked(end: &str) -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .unwrap();
    let files = String::from_utf8(output.stdout).unwrap();
    let files = files.lines().filter(|file| file.ends_with(end));
    files.map(str::to_owned).collect()
}

/// Files and folders of the repository, each also by every end of its path.
struct Tree {
    whole: BTreeSet<String>,
    ends: Vec<String>,
}

impl Tree {
    fn read() -> Self {
        let mut whole = BTreeSet::new();
        for file in tracked("") {
            let folders = file.match_indices('/').map(|(at, _)| file[..at].to_owned());
            whole.extend(folders);
            whole.insert(file);
        }
        let ends = |path: &String| {
            let ends = path.match_indices('/').map(|(at, _)| path[at + 1..].to_owned());
            ends.collect::<Vec<_>>()
        };
        let ends = whole.iter().flat_map(ends).collect();
        Self { whole, ends }
    }

    /// How many files or folders a path means: a whole one means itself.
    fn meant(&self, path: &str) -> usize {
        match self.whole.contains(path) {
            true => 1,
            false => self.ends.iter().filter(|end| *end == path).count(),
        }
    }
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn spelled_out(text: &str) -> Vec<String> {
    let Some((before, rest)) = text.split_once('{') else {
        return vec![text.to_owned()];
    };
    let Some((list, after)) = rest.split_once('}') else {
        return vec![text.to_owned()];
    };
    let items = list.split(',').map(|item| format!("{before}{}{after}", item.trim()));
    items.flat_map(|path| spelled_out(&path)).collect()
}

/// Whether a text in backticks is a path in the repository, rather than a name, a pattern, or a path where the product runs.
fn is_path(text: &str, tree: &Tree) -> bool {
    const SOURCES: [&str; 8] = [".rs", ".py", ".sh", ".md", ".toml", ".proto", ".js", ".yml"];
    let is_plain = text
        .chars()
        .all(|letter| letter.is_alphanumeric() || "_./{},-".contains(letter));
    let first = text.split('/').next().unwrap_or_default();
    let is_source = SOURCES.iter().any(|end| text.ends_with(end));
    let is_below = text.contains('/') && (is_source || tree.whole.contains(first) || first.contains('{'));
    is_plain && !text.starts_with(['/', '.', '-']) && first != "target" && (is_below || is_source && text.len() > 4)
}

/// Texts in backticks, outside of blocks of code.
fn quoted(document: &str) -> Vec<&str> {
    let prose = document.split("```").step_by(2);
    let lines = prose.flat_map(str::lines);
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_path_that_a_document_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (tree, mut seen, mut faults) = (Tree::read(), 0, Vec::new());
    for document in tracked(".md") {
        let text = std::fs::read_to_string(root.join(&document)).unwrap();
        for named in quoted(&text).into_iter().filter(|named| is_path(named, &tree)) {
            for path in spelled_out(named) {
                let path = path.trim_end_matches('/');
                let meant = tree.meant(path);
                // A shortened path with a folder in it means one file.
                let is_clear = document != "ARCHITECTURE.md" || !path.contains('/') || meant == 1;
                if meant == 0 || !is_clear {
                    faults.push(format!("{document}: {named} ({path}) is {meant} files"));
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 500, "the paths are not read any more: {seen}");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn paths_are_told_from_other_texts() {
    let tree = Tree::read();
    for path in [
        "proto/src/codes.rs",
        "driver/exchange/sent.rs",
        "filter/core/src/{http,cache}/",
        "vm.rs",
        "tests/simulation/",
    ] {
        assert!(is_path(path, &tree), "{path}");
        for path in spelled_out(path) {
            assert_eq!(tree.meant(path.trim_end_matches('/')), 1, "{path}");
        }
    }
    for other in [
        "/etc/optimizer",
        "application/json",
        "ao1/settings",
        "GET /settings",
        "*.rs",
        "target/debug/x.rs",
        "breaker.open_wait",
    ] {
        assert!(!is_path(other, &tree), "{other}");
    }
    assert_eq!(tree.meant("filter/core/src/driver/nothing.rs"), 0);
    assert_eq!(spelled_out("a/{b,c}/{d,e}.rs").len(), 4);
    assert_eq!(quoted("a `b` c\n```\n`d`\n```\n`e`"), ["b", "e"]);
}

/// What every program on the machine knows.
const GENERAL: [&str; 2] = ["HOME", "TERM"];

/// Sources of a program, and the files with the text of its `--help`. What Envoy gives to the filter has no help.
const PROGRAMS: [(&str, &[&str]); 4] = [
    ("control-plane/src/", &["control-plane/src/app/config.rs"]),
    ("cli/src/", &["cli/src/args.rs", "cli/src/options.rs"]),
    ("filter/src/", &[]),
    ("filter/native/src/", &[]),
];

/// Environment variables that a line of a program reads. The command line's own are known by their beginning, wherever they stand.
fn read_variables(line: &str, is_command_line: bool) -> Vec<String> {
    const READERS: [&str; 6] = ["env = \"", "var(\"", "var_os(\"", "variable(\"", "text(\"", "set(\""];
    let after = |reader: &'static str| line.split(reader).skip(1).map(|rest| rest.to_owned());
    let own = line.split("\"API_OPTIMIZER_").skip(1).filter(|_| is_command_line);
    let own = own.map(|rest| format!("API_OPTIMIZER_{rest}"));
    let found = READERS.into_iter().flat_map(after).chain(own);
    let names = found.filter_map(|rest| rest.split_once('"').map(|(name, _)| name.to_owned()));
    let is_name = |name: &String| {
        let letters = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
        !name.is_empty() && name.chars().all(letters)
    };
    names.filter(is_name).collect()
}

#[test]
fn every_variable_is_in_the_help_and_in_a_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let documents = tracked(".md").into_iter().filter(|file| file != "CHANGELOG.md");
    let documents: String = documents.map(|file| text(&file)).collect();
    let names = |text: &str, name: &str| {
        let ends = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
        text.match_indices(name).any(|(at, _)| ends(&text[at + name.len()..]))
    };
    let (mut seen, mut faults) = (BTreeSet::new(), BTreeSet::new());
    for (sources, help) in PROGRAMS {
        let helped: String = help.iter().map(|file| text(file)).collect();
        for file in tracked(".rs").into_iter().filter(|file| file.starts_with(sources)) {
            let source = text(&file);
            let product = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            for name in product
                .lines()
                .flat_map(|line| read_variables(line, sources == "cli/src/"))
            {
                if GENERAL.contains(&name.as_str()) {
                    continue;
                }
                if !names(&documents, &name) {
                    faults.insert(format!("no document names {name}, which {file} reads"));
                }
                if !help.is_empty() && !names(&helped, &name) {
                    faults.insert(format!("--help does not name {name}, which {file} reads"));
                }
                seen.insert(name);
            }
        }
    }
    assert!(seen.len() > 55 && seen.contains("NO_COLOR"), "{seen:?}");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn what_the_documents_link_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for document in tracked(".md") {
        let text = std::fs::read_to_string(root.join(&document)).unwrap();
        let folder = root.join(&document).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap();
            assert!(
                path.is_empty() || path.contains("://") || folder.join(path).exists(),
                "{document} links {target}"
            );
        }
    }
}

/// `[file](path) `test``: every bound of SECURITY.md, and every promise, names a test that is there.
#[test]
fn what_the_security_document_names_as_tests_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let document = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let (mut named, mut is_of_tests) = (0, false);
    for row in document.lines() {
        let is_head = row.contains("guarded by |") || row.contains("held by |");
        is_of_tests = is_head || is_of_tests && row.starts_with('|');
        if is_head || !is_of_tests || !row.starts_with("| ") {
            continue;
        }
        let tests: Vec<&str> = row.split("](").skip(1).collect();
        assert!(!tests.is_empty(), "{row}: names no test");
        for rest in tests {
            let (path, rest) = rest.split_once(')').unwrap();
            let test = rest.strip_prefix(" `").and_then(|rest| rest.split('`').next());
            let test = test.unwrap_or_else(|| panic!("{row}: no test of {path} is named"));
            let text = std::fs::read_to_string(root.join(path)).unwrap();
            assert!(text.contains(&format!("fn {test}(")), "{path} has no test {test}");
            named += 1;
        }
    }
    assert!(named > 40, "{named}");
}
