//! What holds for the modules of every crate: no circle among them, and no long file.

use crate::modules::circle;
use crate::sources::Crate;
use std::collections::BTreeMap;
use std::path::Path;

/// The sources of every crate that is shipped.
const CRATES: [&str; 10] = [
    "cli/src",
    "cli/migrate/src",
    "control-plane/src",
    "control-plane/domain/src",
    "filter/src",
    "filter/core/src",
    "filter/eviction/src",
    "filter/native/src",
    "filter/trim/src",
    "proto/src",
];

const LINES: usize = 400;

fn read(of: &str) -> Crate {
    Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(of))
}

#[test]
fn modules_form_no_circle_at_any_level() {
    let (mut arrows, mut circles) = (0, Vec::new());
    for of in CRATES {
        for (folder, level) in read(of).levels() {
            arrows += level.values().map(BTreeMap::len).sum::<usize>();
            if let Some(found) = circle(&level) {
                circles.push((of, folder.join("/"), found));
            }
        }
    }
    assert!(arrows > 400, "the arrows are not read any more: {arrows}");
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn no_file_is_long() {
    for of in CRATES {
        for (file, _, lines) in read(of).files() {
            assert!(
                lines <= LINES || file.contains("/generated/"),
                "{file} has {lines} lines"
            );
        }
    }
}
