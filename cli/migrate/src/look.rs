//! A location that is looked at, and what all locations have in common.

use crate::Options;
use crate::nginx::tree::Directive;
use crate::report::{LocationId, Note, Notes};
use crate::scope::Scope;
use crate::variables::Variables;
use std::collections::BTreeMap;

/// A zone of `proxy_cache_path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    /// How long what nobody asks for is kept, milliseconds.
    pub inactive: u64,
    /// Memory for keys, bytes.
    pub keys: u64,
    /// Most bytes on disk.
    pub max_size: Option<u64>,
}

/// What all locations have in common.
pub(crate) struct Context<'a> {
    pub options: &'a Options,
    pub variables: &'a Variables,
    pub zones: &'a BTreeMap<String, Zone>,
}

/// A location that is looked at, and where to say what is found.
pub(crate) struct Look<'a, 'n> {
    pub context: &'a Context<'a>,
    pub scope: &'a Scope<'a>,
    /// What the location is for: a prefix, a path, an expression.
    pub pattern: &'a str,
    pub id: LocationId,
    pub notes: &'n mut Notes,
}

impl Look<'_, '_> {
    /// Says something about a directive for this location.
    pub(crate) fn note(&mut self, directive: &Directive, note: Note) {
        self.notes.add(directive, Some(self.id), note);
    }

    /// The same, if the location caches in the end.
    pub(crate) fn note_of_cache(&mut self, directive: &Directive, note: Note) {
        self.notes.add_of_cache(directive, self.id, note);
    }
}

/// A duration in words.
pub(crate) fn duration(ms: u64) -> String {
    optimizer_proto::settings::format_duration(ms)
}
