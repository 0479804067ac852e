//! The filter's modules: kept by their checksum, and which Envoy is to run which.

use crate::kernel::sync::lock;
use crate::storage::document;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;
use utoipa::ToSchema;

/// Largest module.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// Modules kept at most.
pub(crate) const MAX_MODULES: usize = 8;
/// How every module begins: `\0asm` and version 1 of the core format.
const MAGIC: &[u8] = b"\0asm\x01\0\0\0";

/// Which module runs where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rollout {
    /// Of every Envoy that is no canary; `None` = the file on its machine.
    stable: Option<String>,
    /// Of the canaries.
    canary: Option<Canary>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Canary {
    sha256: String,
    percent: u8,
}

impl Rollout {
    /// The module of an Envoy: of the canaries' share by its name, so that it stays the same while the share grows.
    fn of(&self, node_id: &str) -> Option<&str> {
        let canary = self.canary.as_ref().filter(|canary| bucket(node_id) < canary.percent);
        canary.map(|canary| canary.sha256.as_str()).or(self.stable.as_deref())
    }

    fn uses(&self, sha256: &str) -> bool {
        let canary = self.canary.as_ref().map(|canary| canary.sha256.as_str());
        [canary, self.stable.as_deref()].contains(&Some(sha256))
    }
}

/// 0 to 99, evenly spread over names.
fn bucket(node_id: &str) -> u8 {
    let digest = ring::digest::digest(&ring::digest::SHA256, node_id.as_bytes());
    let number = digest
        .as_ref()
        .iter()
        .take(4)
        .fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    u8::try_from(number % 100).unwrap_or(0)
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("not a WebAssembly module: it does not begin with \\0asm and version 1")]
    NoModule,
    #[error("there is no module {0}: upload it first")]
    Unknown(String),
    #[error("no canary runs")]
    NoCanary,
    #[error("{MAX_MODULES} modules are kept, and all of them are in use")]
    Full,
    #[error("it cannot be kept: {0}")]
    Storage(#[from] io::Error),
}

#[derive(Debug, Clone)]
struct Module {
    bytes: Arc<[u8]>,
    /// Grows with every upload.
    order: u64,
}

#[derive(Debug, Default)]
struct State {
    modules: BTreeMap<String, Module>,
    rollout: Rollout,
    uploads: u64,
}

/// All modules, and their rollout. With a directory both survive a restart.
#[derive(Debug)]
pub(crate) struct Modules {
    directory: Option<PathBuf>,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

impl Modules {
    /// What is kept in `directory`. A rollout whose modules are gone is none.
    pub(crate) fn open(directory: Option<PathBuf>) -> Self {
        let mut state = State::default();
        if let Some(directory) = &directory {
            if let Err(error) = load(directory, &mut state) {
                tracing::warn!(%error, directory = %directory.display(), "filter modules cannot be read");
            }
            let known = |sha256: &str| state.modules.contains_key(sha256);
            state.rollout = document::load(&directory.join("rollout.json"), Ok::<Rollout, _>).unwrap_or_default();
            let stable = state.rollout.stable.take().filter(|sha256| known(sha256));
            let canary = state.rollout.canary.take().filter(|canary| known(&canary.sha256));
            state.rollout = Rollout { stable, canary };
        }
        Self {
            directory,
            state: Mutex::new(state),
            changed: watch::channel(0).0,
        }
    }

    /// Keeps a module; answers its checksum.
    pub(crate) fn add(&self, bytes: &[u8]) -> Result<String, Refused> {
        if !bytes.starts_with(MAGIC) {
            return Err(Refused::NoModule);
        }
        let sha256 = checksum(bytes);
        let mut state = self.lock();
        if state.modules.contains_key(&sha256) {
            return Ok(sha256);
        }
        self.make_space(&mut state)?;
        if let Some(directory) = &self.directory {
            std::fs::create_dir_all(directory)?;
            // A torn file has another checksum, and is passed over at the next start.
            std::fs::write(directory.join(format!("{sha256}.wasm")), bytes)?;
        }
        state.uploads += 1;
        let module = Module {
            bytes: bytes.into(),
            order: state.uploads,
        };
        state.modules.insert(sha256.clone(), module);
        Ok(sha256)
    }

    fn make_space(&self, state: &mut State) -> Result<(), Refused> {
        if state.modules.len() < MAX_MODULES {
            return Ok(());
        }
        let unused = state.modules.iter().filter(|(sha256, _)| !state.rollout.uses(sha256));
        let oldest = unused
            .min_by_key(|(_, module)| module.order)
            .map(|(sha256, _)| sha256.clone());
        let oldest = oldest.ok_or(Refused::Full)?;
        state.modules.remove(&oldest);
        if let Some(directory) = &self.directory {
            // Left over it is read again at the next start, no worse.
            let _ = std::fs::remove_file(directory.join(format!("{oldest}.wasm")));
        }
        Ok(())
    }

    /// The bytes of a module.
    pub(crate) fn bytes(&self, sha256: &str) -> Option<Arc<[u8]>> {
        self.lock().modules.get(sha256).map(|module| Arc::clone(&module.bytes))
    }

    /// Gives a module to a share of the Envoys.
    pub(crate) fn canary(&self, sha256: &str, percent: u8) -> Result<(), Refused> {
        self.roll(|state| {
            if !state.modules.contains_key(sha256) {
                return Err(Refused::Unknown(sha256.to_owned()));
            }
            state.rollout.canary = Some(Canary {
                sha256: sha256.to_owned(),
                percent,
            });
            Ok(())
        })
    }

    /// Gives the canaries' module to all.
    pub(crate) fn promote(&self) -> Result<(), Refused> {
        self.roll(|state| {
            let canary = state.rollout.canary.take().ok_or(Refused::NoCanary)?;
            state.rollout.stable = Some(canary.sha256);
            Ok(())
        })
    }

    /// Gives the canaries back what all others run.
    pub(crate) fn abort(&self) -> Result<(), Refused> {
        self.roll(|state| {
            state.rollout.canary.take().ok_or(Refused::NoCanary)?;
            Ok(())
        })
    }

    /// In force only once it is kept: a restart must not bring another module back.
    fn roll(&self, change: impl FnOnce(&mut State) -> Result<(), Refused>) -> Result<(), Refused> {
        let mut state = self.lock();
        let before = state.rollout.clone();
        change(&mut state)?;
        if let Some(directory) = &self.directory
            && let Err(error) = document::save(&directory.join("rollout.json"), &state.rollout)
        {
            state.rollout = before;
            return Err(error.into());
        }
        tracing::info!(rollout = ?state.rollout, "filter rollout");
        drop(state);
        self.changed.send_modify(|number| *number += 1);
        Ok(())
    }

    /// The module an Envoy is to run; `None` = the file on its machine.
    pub(crate) fn of(&self, node_id: &str) -> Option<String> {
        self.lock().rollout.of(node_id).map(str::to_owned)
    }

    /// Tells of every change of the rollout.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Modules and rollout.
    pub(crate) fn view(&self) -> ModuleRollout {
        let state = self.lock();
        let modules = state.modules.iter().map(|(sha256, module)| KeptModule {
            sha256: sha256.clone(),
            bytes: module.bytes.len(),
        });
        let canary = state.rollout.canary.as_ref();
        ModuleRollout {
            modules: modules.collect(),
            stable: state.rollout.stable.clone(),
            canary: canary.map(|canary| ModuleCanary {
                sha256: canary.sha256.clone(),
                percent: canary.percent,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Which modules there are, and which is given to whom.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ModuleRollout {
    /// All that are kept.
    modules: Vec<KeptModule>,
    /// The checksum of everybody's; null = the file on each machine.
    #[schema(required = true)]
    stable: Option<String>,
    /// The one that is tried; null when none is.
    #[schema(required = true)]
    canary: Option<ModuleCanary>,
}

/// A module.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct KeptModule {
    /// Its checksum, by which it is named.
    sha256: String,
    /// Size of the module, bytes.
    bytes: usize,
}

/// A module that is tried.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ModuleCanary {
    /// Its checksum.
    sha256: String,
    /// Percent of the Envoys that get it.
    percent: u8,
}

fn load(directory: &Path, state: &mut State) -> io::Result<()> {
    let mut files: Vec<PathBuf> = match std::fs::read_dir(directory) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    files.sort_by_key(|path| path.metadata().and_then(|data| data.modified()).ok());
    for path in files {
        let bytes = std::fs::read(&path)?;
        let sha256 = checksum(&bytes);
        if path.file_stem().is_some_and(|stem| stem == sha256.as_str()) {
            state.uploads += 1;
            let module = Module {
                bytes: bytes.into(),
                order: state.uploads,
            };
            state.modules.insert(sha256, module);
        } else {
            tracing::warn!(path = %path.display(), "a filter module is damaged and passed over");
        }
    }
    Ok(())
}

fn checksum(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        // A string takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(content: u8) -> Vec<u8> {
        [MAGIC, &[content]].concat()
    }

    #[test]
    fn a_canary_is_promoted_or_aborted_and_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Modules::open(Some(folder.path().join("modules")));
        let modules = open();
        let (old, new) = (modules.add(&module(1)).unwrap(), modules.add(&module(2)).unwrap());
        assert_eq!(modules.of("a"), None);
        modules.canary(&old, 100).unwrap();
        modules.promote().unwrap();
        modules.canary(&new, 0).unwrap();
        assert_eq!(modules.of("a").as_ref(), Some(&old));
        modules.canary(&new, 100).unwrap();
        let restarted = open();
        assert_eq!(restarted.of("a").as_ref(), Some(&new));
        assert_eq!(restarted.view(), modules.view());
        restarted.abort().unwrap();
        assert_eq!(restarted.of("a").as_ref(), Some(&old));
        assert!(matches!(restarted.abort(), Err(Refused::NoCanary)));
        assert!(matches!(restarted.promote(), Err(Refused::NoCanary)));
    }

    #[test]
    fn only_whole_modules_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let modules = Modules::open(Some(folder.path().to_owned()));
        for bytes in [&b""[..], b"\0asm", b"\0asm\x02\0\0\0", b"#!/bin/sh"] {
            assert!(matches!(modules.add(bytes), Err(Refused::NoModule)));
        }
        assert!(matches!(modules.canary("no such", 1), Err(Refused::Unknown(_))));
        let sha256 = modules.add(&module(1)).unwrap();
        modules.canary(&sha256, 100).unwrap();
        std::fs::write(folder.path().join(format!("{sha256}.wasm")), b"torn").unwrap();
        assert_eq!(Modules::open(Some(folder.path().to_owned())).of("a"), None);
    }

    #[test]
    fn the_oldest_that_nobody_runs_makes_room() {
        let modules = Modules::open(None);
        let added: Vec<String> = (0..8).map(|number| modules.add(&module(number)).unwrap()).collect();
        modules.canary(&added[0], 50).unwrap();
        modules.add(&module(8)).unwrap();
        assert!(modules.bytes(&added[0]).is_some() && modules.bytes(&added[1]).is_none());
    }

    #[test]
    fn a_share_is_a_share() {
        let names = (0..1_000).map(|number| format!("envoy-{number}"));
        let below = names.filter(|name| bucket(name) < 30).count();
        assert!((250..350).contains(&below), "{below}");
    }
}
