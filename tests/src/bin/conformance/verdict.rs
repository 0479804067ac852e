//! From findings to verdicts: a test counts only when all that it depends on pass too.

use crate::suite::{Findings, Test};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The verdict on one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It passes, and so does what it depends on.
    Pass,
    /// It does not pass.
    Fail,
    /// What it depends on does not pass.
    Dependency,
}

/// Verdicts by test.
pub(crate) type Verdicts = BTreeMap<String, Verdict>;

/// Judges all tests.
pub(crate) fn judge(tests: &[Test], findings: &Findings) -> Verdicts {
    let by_id: BTreeMap<&str, &Test> = tests.iter().map(|test| (test.id.as_str(), test)).collect();
    tests
        .iter()
        .map(|test| (test.id.clone(), one(test, &by_id, findings)))
        .collect()
}

fn one(test: &Test, by_id: &BTreeMap<&str, &Test>, findings: &Findings) -> Verdict {
    let missing = |id: &String| {
        by_id
            .get(id.as_str())
            .is_none_or(|test| one(test, by_id, findings) != Verdict::Pass)
    };
    if test.depends_on.iter().any(missing) {
        return Verdict::Dependency;
    }
    if findings.get(&test.id) == Some(&Value::Bool(true)) {
        Verdict::Pass
    } else {
        Verdict::Fail
    }
}

/// What stays of two runs: a test passes only if it passed in both.
pub(crate) fn in_both(one: &Verdicts, other: &Verdicts) -> Verdicts {
    let worse = |id: &String, verdict: &Verdict| match other.get(id) {
        Some(Verdict::Pass) | None => *verdict,
        Some(worse) => *worse,
    };
    one.iter()
        .map(|(id, verdict)| (id.clone(), worse(id, verdict)))
        .collect()
}

/// Passes by kind, as (passes, tests).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Score {
    pub(crate) required: (usize, usize),
    pub(crate) optimal: (usize, usize),
    pub(crate) checks: (usize, usize),
}

/// Counts. Void tests, which contradict the RFCs, do not count as required.
pub(crate) fn score(tests: &[Test], verdicts: &Verdicts, void: &BTreeSet<String>) -> Score {
    let count = |kind: &str| {
        let of_kind = tests
            .iter()
            .filter(|test| test.kind == kind && !void.contains(&test.id));
        let passed = of_kind
            .clone()
            .filter(|test| verdicts.get(&test.id) == Some(&Verdict::Pass))
            .count();
        (passed, of_kind.count())
    };
    Score {
        required: count("required"),
        optimal: count("optimal"),
        checks: count("check"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn test(id: &str, kind: &str, depends_on: &[&str]) -> Test {
        let depends_on = depends_on.iter().map(|id| (*id).to_owned()).collect();
        Test {
            id: id.to_owned(),
            kind: kind.to_owned(),
            depends_on,
        }
    }

    #[test]
    fn a_test_counts_only_with_what_it_depends_on() {
        let tests = [
            test("a", "required", &[]),
            test("b", "required", &["a"]),
            test("c", "optimal", &["b"]),
            test("d", "check", &["gone"]),
            test("e", "required", &[]),
        ];
        let findings: Findings = [
            ("a", json!(["Setup", "no"])),
            ("b", json!(true)),
            ("c", json!(true)),
            ("e", json!(true)),
        ]
        .into_iter()
        .map(|(id, value)| (id.to_owned(), value))
        .collect();
        let verdicts = judge(&tests, &findings);
        let of = |id: &str| verdicts[id];
        assert_eq!(
            (of("a"), of("b"), of("c")),
            (Verdict::Fail, Verdict::Dependency, Verdict::Dependency)
        );
        assert_eq!((of("d"), of("e")), (Verdict::Dependency, Verdict::Pass));
        let void = BTreeSet::from(["a".to_owned()]);
        assert_eq!(score(&tests, &verdicts, &void).required, (1, 2));
    }

    #[test]
    fn only_what_passes_twice_passes() {
        let of = |verdict| Verdicts::from([("a".to_owned(), verdict)]);
        assert_eq!(in_both(&of(Verdict::Pass), &of(Verdict::Fail)), of(Verdict::Fail));
        assert_eq!(
            in_both(&of(Verdict::Dependency), &of(Verdict::Pass)),
            of(Verdict::Dependency)
        );
    }
}
