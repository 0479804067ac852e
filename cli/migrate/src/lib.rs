//! The way over from nginx and ingress-nginx: reads their configuration, and writes a settings document for the control plane and a
//! report of what became of each directive.
//!
//! Nothing that it writes shares a response with more clients than nginx did. Where the settings cannot say what nginx did, the route
//! does not cache, and the report says so.
//!
//! [`migrate`] is pure: text and options in, result out. [`Disk`] reads included files, and [`command`] is what is typed; nothing else
//! here touches a file.

pub mod command;
mod disk;
mod error;
mod ingress;
mod look;
mod migration;
mod nginx;
mod place;
mod policy;
mod report;
mod routes;
mod scope;
mod shared;
mod site;
mod spots;
mod upstreams;
mod values;
mod variables;
mod words;

pub use disk::{Disk, NoFiles};
pub use error::Error;
pub use place::Place;
pub use report::{Entry, Report, Verdict};

use nginx::tree::Reader;
use report::{Note, Notes};
use serde_json::Value;

/// Where included files come from.
pub trait Files {
    /// The names and contents of the files that the argument of an `include` means, in the order in which nginx reads them. A pattern
    /// (`*.conf`) may mean none; a name without a wildcard means one.
    ///
    /// # Errors
    /// Why a file cannot be read, in a sentence.
    fn matching(&self, pattern: &str) -> Result<Vec<(String, String)>, String>;
}

/// What is known of the origin, and cannot be read in a configuration. Nothing is taken for granted by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The origin minds the case of names of cookies and query parameters. Then a key has single ones of them, where nginx's had.
    pub exact_names: bool,
    /// The lifetime of status 200 is right for every status that is cacheable by default, 404 and 410 too.
    pub one_ttl: bool,
    /// The origin names no freshness of its own. Then a request that counts as one with credentials never meets the cache, which stands for
    /// `proxy_cache_bypass` and `proxy_no_cache` by cookies and fields.
    pub silent_origin: bool,
    /// A file that an include names may be missing; the report says which.
    pub missing_includes: bool,
}

impl Options {
    /// What is taken for granted, as the report says it.
    fn assumptions(&self) -> Vec<&'static str> {
        let all = [
            (self.exact_names, "exact-names"),
            (self.one_ttl, "one-ttl"),
            (self.silent_origin, "silent-origin"),
            (self.missing_includes, "missing-includes"),
        ];
        all.iter().filter(|(given, _)| *given).map(|(_, name)| *name).collect()
    }
}

/// What a configuration became.
#[derive(Clone, Debug, PartialEq)]
pub struct Migration {
    /// A settings document, as `PUT /settings` takes it. What it leaves out has its default.
    pub settings: Value,
    /// What became of each directive.
    pub report: Report,
}

/// Reads an nginx configuration. `name` is what its places are called by.
///
/// # Errors
/// It is none, a file that it includes cannot be read, or it is too large.
pub fn migrate(name: &str, text: &str, files: &dyn Files, options: &Options) -> Result<Migration, Error> {
    let start = Place {
        file: name.into(),
        line: 1,
        column: 1,
    };
    let mut reader = Reader::new(files, options.missing_includes);
    let items = reader.read(text, &start)?;
    let mut notes = Notes::default();
    note_missing(&items, reader.missing(), &mut notes);
    migration::run(&items, notes, options)
}

/// Reads Ingress documents of ingress-nginx (YAML or JSON), with the controller's ConfigMap if it is among them.
///
/// # Errors
/// It is no YAML, a snippet in it is no nginx configuration, or it is too large.
pub fn migrate_ingress(name: &str, text: &str, options: &Options) -> Result<Migration, Error> {
    let (items, notes) = ingress::directives(name, text, options)?;
    migration::run(&items, notes, options)
}

fn note_missing(items: &[nginx::tree::Directive], missing: &[Place], notes: &mut Notes) {
    for item in items {
        if missing.contains(&item.place) {
            let says = "The file is missing: nothing that it says is in the settings, neither caches nor what keeps from caching.";
            notes.add(item, None, Note::impossible("missing_include", says));
        }
        note_missing(item.children(), missing, notes);
    }
}
