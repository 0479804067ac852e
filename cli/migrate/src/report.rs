//! The report: what became of each directive.

use crate::nginx::tree::Directive;
use crate::place::Place;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What became of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The settings say the same.
    TakenOver,
    /// The settings say something near, and the sentence what differs.
    Changed,
    /// No setting says it.
    Impossible,
    /// It has nothing to do with what the settings are about.
    NotRelevant,
}

impl Verdict {
    /// As the text report says it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::TakenOver => "taken over",
            Self::Changed => "changed",
            Self::Impossible => "impossible",
            Self::NotRelevant => "not relevant",
        }
    }
}

/// One thing to know about a directive. A directive may have several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Where the directive stands.
    #[serde(flatten)]
    pub place: Place,
    /// The directive, in one line.
    pub directive: String,
    /// What became of it.
    pub verdict: Verdict,
    /// A stable word for the reason.
    pub code: &'static str,
    /// The reason, and what differs, in a sentence.
    pub says: String,
    /// Names of the routes of the settings that it is about; none: all, or none of them.
    pub routes: BTreeSet<String>,
}

/// What became of each directive, in the order of files and lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was taken for granted about the origin, as the options say.
    pub assumed: Vec<&'static str>,
    /// The entries.
    pub entries: Vec<Entry>,
}

impl Report {
    /// How many entries have a verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.entries.iter().filter(|entry| entry.verdict == verdict).count()
    }

    /// Whether some entry has a code, for a route or for all.
    #[must_use]
    pub fn says(&self, code: &str, route: &str) -> bool {
        let about = |entry: &Entry| entry.routes.is_empty() || entry.routes.contains(route);
        self.entries.iter().any(|entry| entry.code == code && about(entry))
    }

    /// The report for people: what needs a look first.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (verdict, heading) in [
            (
                Verdict::Impossible,
                "No setting says these; Envoy, or the origin, has to do what they did",
            ),
            (Verdict::Changed, "Taken over, and something differs"),
            (Verdict::TakenOver, "Taken over"),
            (Verdict::NotRelevant, "Not relevant"),
        ] {
            let of_it = || self.entries.iter().filter(move |entry| entry.verdict == verdict);
            if of_it().next().is_none() {
                continue;
            }
            let _ = writeln!(text, "{heading} ({}):", of_it().count());
            for entry in of_it() {
                let _ = writeln!(text, "  {}: {}", entry.place, entry.directive);
                let _ = write!(text, "      {} [{}]", entry.says, entry.code);
                if !entry.routes.is_empty() {
                    let routes: Vec<&str> = entry.routes.iter().map(String::as_str).collect();
                    let _ = write!(text, " Routes: {}.", routes.join(", "));
                }
                text.push('\n');
            }
            text.push('\n');
        }
        for assumption in &self.assumed {
            let _ = writeln!(text, "Assumed: {assumption}.");
        }
        let count = |verdict| self.count(verdict);
        let _ = writeln!(
            text,
            "{} taken over, {} changed, {} impossible, {} not relevant.",
            count(Verdict::TakenOver),
            count(Verdict::Changed),
            count(Verdict::Impossible),
            count(Verdict::NotRelevant)
        );
        text
    }
}

/// Tells a location from all others while routes have no names yet: (server, location).
pub(crate) type LocationId = (usize, usize);

/// A verdict with its reason.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    /// What became of it.
    pub verdict: Verdict,
    /// Stable word for the reason.
    pub code: &'static str,
    /// The reason.
    pub says: String,
}

impl Note {
    pub(crate) fn taken(code: &'static str, says: impl Into<String>) -> Self {
        Self::new(Verdict::TakenOver, code, says)
    }

    pub(crate) fn changed(code: &'static str, says: impl Into<String>) -> Self {
        Self::new(Verdict::Changed, code, says)
    }

    pub(crate) fn impossible(code: &'static str, says: impl Into<String>) -> Self {
        Self::new(Verdict::Impossible, code, says)
    }

    pub(crate) fn irrelevant(code: &'static str, says: impl Into<String>) -> Self {
        Self::new(Verdict::NotRelevant, code, says)
    }

    fn new(verdict: Verdict, code: &'static str, says: impl Into<String>) -> Self {
        let says = says.into();
        Self { verdict, code, says }
    }
}

/// Collects what is to be said while the configuration is worked through.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    entries: BTreeMap<Key, Finding>,
}

/// The place, the code and the sentence.
type Key = (Place, &'static str, String);

/// What is reported of one entry.
#[derive(Debug)]
struct Finding {
    directive: String,
    verdict: Verdict,
    /// It is true only of locations that cache in the end.
    of_cache: bool,
    locations: BTreeSet<LocationId>,
}

impl Notes {
    /// Says something about a directive, for one location or for all.
    pub(crate) fn add(&mut self, directive: &Directive, location: Option<LocationId>, note: Note) {
        self.put(directive, location, note, false);
    }

    /// Says something that is true only if the location caches in the end.
    pub(crate) fn add_of_cache(&mut self, directive: &Directive, location: LocationId, note: Note) {
        let of_cache = matches!(note.verdict, Verdict::TakenOver | Verdict::Changed);
        self.put(directive, Some(location), note, of_cache);
    }

    fn put(&mut self, directive: &Directive, location: Option<LocationId>, note: Note, of_cache: bool) {
        let key = (directive.place.clone(), note.code, note.says);
        let finding = self.entries.entry(key).or_insert_with(|| Finding {
            directive: directive.text(),
            verdict: note.verdict,
            of_cache,
            locations: BTreeSet::new(),
        });
        finding.locations.extend(location);
    }

    /// Takes back what is not true, now that it is known which locations cache.
    pub(crate) fn settle(&mut self, caching: &BTreeSet<LocationId>) {
        self.entries.retain(|_, finding| {
            if finding.of_cache {
                finding.locations.retain(|location| caching.contains(location));
            }
            !(finding.of_cache && finding.locations.is_empty())
        });
    }

    /// The places of which something was said.
    pub(crate) fn places(&self) -> BTreeSet<Place> {
        self.entries.keys().map(|(place, ..)| place.clone()).collect()
    }

    /// The report, with routes' names in place of locations.
    pub(crate) fn report(self, routes: &BTreeMap<LocationId, BTreeSet<String>>, assumed: Vec<&'static str>) -> Report {
        let named = |locations: &BTreeSet<LocationId>| {
            let names = locations.iter().filter_map(|location| routes.get(location));
            names.flatten().cloned().collect()
        };
        let entries = self.entries.into_iter();
        let entries = entries.map(|((place, code, says), finding)| Entry {
            place,
            directive: finding.directive,
            verdict: finding.verdict,
            code,
            says,
            routes: named(&finding.locations),
        });
        Report {
            assumed,
            entries: entries.collect(),
        }
    }
}
