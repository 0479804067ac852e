//! Reads the commands of a document's `console` blocks, and what it says that they print.

/// One command, and its output as the document has it.
#[derive(Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) prints: String,
}

/// The ports of a running demo, in place of those that the document names.
pub(crate) struct Ports {
    pub(crate) listen: u16,
    pub(crate) rest: u16,
}

impl Ports {
    fn pairs(&self) -> [(String, String); 2] {
        let pair = |named: u16, own: u16| (format!("localhost:{named}"), format!("localhost:{own}"));
        [pair(10_000, self.listen), pair(8_080, self.rest)]
    }

    /// The command for this demo.
    pub(crate) fn put(&self, command: &str) -> String {
        let pairs = self.pairs();
        pairs
            .iter()
            .fold(command.to_owned(), |text, (named, own)| text.replace(named, own))
    }

    /// What it printed, with the document's ports.
    pub(crate) fn back(&self, printed: &str) -> String {
        let pairs = self.pairs();
        pairs
            .iter()
            .fold(printed.to_owned(), |text, (named, own)| text.replace(own, named))
    }
}

/// The commands of the section under `heading`, in order.
pub(crate) fn steps(document: &str, heading: &str) -> Vec<Step> {
    let section = document
        .split_once(&format!("\n{heading}\n"))
        .map_or("", |(_, rest)| rest);
    let section = section.split("\n## ").next().unwrap_or_default();
    let blocks = section.split("```console\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split_once("```").map(|(block, _)| block));
    blocks.flat_map(commands).collect()
}

fn commands(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut open = false;
    for line in block.lines() {
        match (open, line.strip_prefix("$ "), steps.last_mut()) {
            (false, Some(command), _) => steps.push(Step {
                command: command.to_owned(),
                prints: String::new(),
            }),
            (true, _, Some(step)) => step.command += &format!("\n{line}"),
            (false, None, Some(step)) => step.prints += &format!("{line}\n"),
            (_, None, None) | (true, Some(_), None) => continue,
        }
        open = steps
            .last()
            .is_some_and(|step| step.prints.is_empty() && goes_on(&step.command));
    }
    steps
}

/// Whether a command has not ended: a backslash, or a quotation that is open.
fn goes_on(command: &str) -> bool {
    command.ends_with('\\') || command.matches('\'').count() % 2 == 1
}

/// What precedes a number that another run has otherwise.
const VARIES: [&str; 13] = [
    "age: ",
    "ttl=",
    "retry-after: ",
    "\"age_s\":",
    "\"age_ms\":",
    "\"usable_until_ms\":",
    "\"ttl_s\":",
    "\"failure_count\":",
    "\"p95_latency\":",
    "\"error_rate\":",
    "\"cache_hit_ratio\":",
    "\"requests_per_second\":",
    "\"sample_count\":",
];

/// Whether the output is that of the document: `...` stands for any further lines, what varies is a number in both, and the members of
/// JSON have no order.
pub(crate) fn fits(document: &str, printed: &str) -> bool {
    let (document, printed) = (steady(document.trim_end()), steady(printed.trim_end()));
    let (document, further) = match document.strip_suffix("\n...") {
        Some(beginning) => (beginning, true),
        None => (document.as_str(), false),
    };
    let (mut wanted, mut lines) = (document.lines(), printed.lines());
    wanted.all(|wanted| lines.next().is_some_and(|line| same(wanted, line))) && (further || lines.next().is_none())
}

fn same(wanted: &str, line: &str) -> bool {
    let json = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    wanted == line || json(wanted).is_some_and(|wanted| json(line) == Some(wanted))
}

/// A text with 0 in place of every number that varies.
fn steady(text: &str) -> String {
    VARIES.iter().fold(text.to_owned(), |text, before| {
        let mut parts = text.split(before);
        let mut steady = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
            let number = if rest.len() < part.len() { "0" } else { "" };
            steady += &format!("{before}{number}{rest}");
        }
        steady
    })
}

#[test]
fn commands_with_their_output() {
    let document = "# A\n\n## Tour\n\n```console\n$ one \\\n    more | x\nout 1\nout 2\n$ two -d '{\n  }'\n```\ntext\n```sh\nno\n```\n```console\n$ three\n$ four\nfour's\n```\n\n## Next\n```console\n$ five\n```\n";
    let step = |command: &str, prints: &str| Step {
        command: command.to_owned(),
        prints: prints.to_owned(),
    };
    let expected = [
        step("one \\\n    more | x", "out 1\nout 2\n"),
        step("two -d '{\n  }'", ""),
        step("three", ""),
        step("four", "four's\n"),
    ];
    assert_eq!(steps(document, "## Tour"), expected);
}

#[test]
fn only_what_varies_may_differ() {
    assert!(fits(
        "HTTP/1.1 200 OK\nage: 0\nx: hit; ttl=60\n",
        "HTTP/1.1 200 OK\nage: 12\nx: hit; ttl=48\n"
    ));
    assert!(!fits("HTTP/1.1 200 OK\nage: 0\n", "HTTP/1.1 503 OK\nage: 0\n"));
    assert!(!fits("{\"age_s\":7}", "{\"age_s\":null}"));
    assert!(fits("a\n...\n", "a\nb\nc\n") && !fits("a\n...\n", "b\na\n"));
    assert!(!fits("", "what nobody told of") && !fits("a\nb", "a"));
    assert!(fits("{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}") && !fits("{\"a\":1}", "{\"a\":2}"));
}
