//! What is read from files, and read again when they change. They are looked at, rather than watched: a mounted secret is changed by moving a
//! link, of which a watch of the file hears nothing.

use crate::kernel::sync::lock;
use std::fmt::{self, Debug, Formatter};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

/// How often the files are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads the files.
type Read<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// Files, and what was last read from them.
pub(crate) struct WatchedFile<T> {
    /// What is in them, for the log.
    what: &'static str,
    files: Vec<PathBuf>,
    read: Read<T>,
    state: Mutex<State<T>>,
    changes: watch::Sender<()>,
}

struct State<T> {
    last_good: Arc<T>,
    modified: Vec<Option<SystemTime>>,
    looked: Instant,
}

impl<T> WatchedFile<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn open(
        what: &'static str,
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        // Before they are read: what changes in between is read again.
        let modified = modified(&files);
        let state = State {
            last_good: Arc::new(read()?),
            modified,
            looked: Instant::now(),
        };
        Ok(Self {
            what,
            files,
            read: Box::new(read),
            state: Mutex::new(state),
            changes: watch::channel(()).0,
        })
    }

    /// What they say now. Files that cannot be read any more leave what was last good.
    pub(crate) fn present(&self) -> Arc<T> {
        let mut state = lock(&self.state);
        if state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            self.look(&mut state);
        }
        Arc::clone(&state.last_good)
    }

    /// Told whenever something else was read.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn look(&self, state: &mut State<T>) {
        let present = modified(&self.files);
        if present == state.modified {
            return;
        }
        state.modified = present;
        match (self.read)() {
            Ok(read) => {
                tracing::info!(files = ?self.files, "{} read again", self.what);
                state.last_good = Arc::new(read);
                self.changes.send_replace(());
            }
            Err(error) => {
                tracing::error!(error, files = ?self.files, "{} cannot be read, the last good ones stay", self.what);
            }
        }
    }
}

impl<T> Debug for WatchedFile<T> {
    /// Without what is in them: it may be secret.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchedFile").field(&self.files).finish()
    }
}

fn modified(files: &[PathBuf]) -> Vec<Option<SystemTime>> {
    let of = |path: &PathBuf| std::fs::metadata(path).and_then(|found| found.modified()).ok();
    files.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_and_a_bad_one_leaves_the_last_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let write = |text: &str, at_s: u64| {
            std::fs::write(&path, text).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(at_s))
                .unwrap();
        };
        let from = path.clone();
        let read = move || {
            let text = std::fs::read_to_string(&from).map_err(|error| error.to_string())?;
            text.parse::<u32>().map_err(|error| error.to_string())
        };
        assert!(WatchedFile::open("numbers", vec![path.clone()], read.clone()).is_err());
        write("1", 1);
        let watched = WatchedFile::open("numbers", vec![path.clone()], read).unwrap();
        let changes = watched.changes();
        let look = || {
            let mut state = lock(&watched.state);
            watched.look(&mut state);
            *state.last_good
        };
        write("2", 1);
        assert_eq!(
            (look(), changes.has_changed().unwrap()),
            (1, false),
            "nothing was changed"
        );
        write("2", 2);
        assert_eq!((look(), changes.has_changed().unwrap()), (2, true));
        write("none", 3);
        assert_eq!(look(), 2);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(look(), 2);
        write("4", 4);
        assert_eq!(look(), 4);
        assert_eq!(*watched.present(), 4);
    }
}
