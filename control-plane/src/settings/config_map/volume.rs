//! A ConfigMap volume: one file per key, replaced as a whole by swapping the `..data` link.
//!
//! It is read every quarter of a second rather than watched: inotify on a link that is swapped needs care for every edge, and reading a
//! handful of small files costs nothing.

use super::super::service::SettingsService;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const PERIOD: Duration = Duration::from_millis(250);
/// A value longer than this is no setting.
const MAX_VALUE: u64 = 1 << 20;

/// Reads the directory until told to stop.
pub(crate) async fn watch(settings: Arc<SettingsService>, directory: PathBuf, mut stopped: watch::Receiver<bool>) {
    loop {
        let read = {
            let directory = directory.clone();
            tokio::task::spawn_blocking(move || read(&directory)).await
        };
        match read {
            Ok(Ok(keys)) => settings.look_at_config_map(&keys).await,
            Ok(Err(error)) => settings.config_map_fails(format!("{}: {error}", directory.display())),
            Err(error) => settings.config_map_fails(error.to_string()),
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            _ = stopped.changed() => return,
        }
    }
}

fn read(directory: &Path) -> std::io::Result<BTreeMap<String, String>> {
    // Through the link, so that all keys come from one state of the volume.
    let data = directory.join("..data");
    let directory = if data.exists() {
        std::fs::canonicalize(data)?
    } else {
        directory.to_owned()
    };
    let mut keys = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let Some(name) = entry
            .file_name()
            .to_str()
            .map(str::to_owned)
            .filter(|name| !name.starts_with('.'))
        else {
            continue;
        };
        let metadata = std::fs::metadata(entry.path())?;
        if !metadata.is_file() || metadata.len() > MAX_VALUE {
            continue;
        }
        let value = String::from_utf8_lossy(&std::fs::read(entry.path())?)
            .trim_end_matches(['\n', '\r'])
            .to_owned();
        keys.insert(name, value);
    }
    Ok(keys)
}
