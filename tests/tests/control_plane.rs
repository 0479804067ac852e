//! Which top-level module of the control plane may use which: the layers of ARCHITECTURE.md.

use crate::sources::Crate;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every top-level module and its layer. A module may use only those in lower layers.
const LAYERS: [(&str, u32); 21] = [
    ("app", 9),
    ("transport", 8),
    ("replication", 8),
    ("health", 7),
    ("xds", 6),
    ("cache", 6),
    ("experiments", 6),
    ("settings", 5),
    ("purges", 5),
    ("breakers", 5),
    ("alerts", 4),
    ("fleet", 4),
    ("operations", 4),
    ("tier", 4),
    ("credentials", 3),
    ("redis", 2),
    ("net", 2),
    ("otlp", 2),
    ("storage", 2),
    ("host", 2),
    ("kernel", 1),
];

/// Modules that must not use each other although their layers would allow it.
const APART: [(&str, &[&str]); 3] = [
    // Handlers translate; what is kept, and where, is known to who owns it.
    ("transport", &["redis", "storage", "host"]),
    // Who hears of other replicas does not know how operators and Envoys ask.
    (
        "replication",
        &["transport", "storage", "host", "xds", "health", "tier"],
    ),
    ("health", &["redis", "storage", "net", "credentials"]),
];

/// What may be written in one file alone.
const ONE_PLACE: [(&str, &str); 4] = [
    ("SystemTime::now", "kernel/clock.rs"),
    ("SystemRandom", "kernel/chance.rs"),
    // The one place that knows all owners of what is shared.
    ("Fact::PurgeReopened { id, round } =>", "replication/apply.rs"),
    ("impl FromRef<ApiState>", "transport/rest/state.rs"),
];

/// A type that is named in more files than this is known to everybody.
const FILES_OF_A_TYPE: usize = 40;

fn source(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(of)
}

fn control_plane() -> Crate {
    Crate::read(&source("control-plane/src"))
}

#[test]
fn every_module_uses_only_lower_layers() {
    let layers = BTreeMap::from(LAYERS);
    let modules = control_plane().top_modules();
    assert_eq!(modules.keys().collect::<Vec<_>>(), layers.keys().collect::<Vec<_>>());
    for (module, arrows) in &modules {
        for (other, file) in arrows {
            assert!(
                layers[module.as_str()] > layers[other.as_str()],
                "{module} -> {other} in {file}"
            );
        }
    }
    for (module, strangers) in APART {
        for stranger in strangers {
            let arrow = modules[module].get(*stranger);
            assert_eq!(arrow, None, "{module} -> {stranger}");
        }
    }
}

#[test]
fn what_has_one_place_is_nowhere_else() {
    let modules = control_plane();
    for (text, place) in ONE_PLACE {
        let found: Vec<&str> = modules
            .files()
            .filter(|(_, content, _)| content.contains(text))
            .map(|(file, ..)| file)
            .collect();
        assert!(found.len() == 1 && found[0].ends_with(place), "{text}: {found:?}");
    }
}

#[test]
fn locks_are_private_to_their_module() {
    for (file, text, _) in control_plane().files() {
        for line in text.lines().filter(|line| line.contains("pub(crate)")) {
            let shows = ["Mutex<", "RwLock<", "MutexGuard<"]
                .iter()
                .any(|lock| line.contains(lock));
            // What comes in as an argument is somebody's own.
            assert!(!shows || line.contains("(mutex: &Mutex<T>)"), "{file}: {line}");
        }
    }
}

#[test]
fn handlers_name_the_parts_that_they_use() {
    for (file, text, _) in control_plane().files() {
        assert!(!text.contains("State<ApiState>"), "{file}");
    }
}

#[test]
fn no_type_is_known_to_everybody() {
    let modules = control_plane();
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, text, _) in modules.files() {
        let words = text.split(|letter: char| !letter.is_alphanumeric());
        let types: std::collections::BTreeSet<&str> = words.filter(|word| word.ends_with("Service")).collect();
        types.into_iter().for_each(|name| *named.entry(name).or_default() += 1);
    }
    assert!(named.contains_key("SettingsService"), "{named:?}");
    for (name, files) in named {
        assert!(files <= FILES_OF_A_TYPE, "{name} is named in {files} files");
    }
}
