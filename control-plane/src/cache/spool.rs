//! Files without a name for bodies that are too large for memory.

use std::fs::File;
use std::io;
use std::path::PathBuf;

/// Where they are made, and how large a body may be.
#[derive(Debug)]
pub(crate) struct Spool {
    /// The first one that takes a file is used.
    folders: Vec<PathBuf>,
    pub(crate) limit: u64,
}

impl Spool {
    /// In `chosen`, or the machine's folder for temporary files, or, where that cannot be written, beside the settings.
    pub(crate) fn new(chosen: Option<PathBuf>, state_dir: Option<PathBuf>, limit: u64) -> Self {
        let first = chosen.unwrap_or_else(std::env::temp_dir);
        let folders = [Some(first), state_dir].into_iter().flatten().collect();
        Self { folders, limit }
    }

    /// A file that is gone when it is closed.
    pub(crate) fn file(&self) -> io::Result<File> {
        let mut refused = io::Error::from(io::ErrorKind::NotFound);
        for folder in &self.folders {
            match tempfile::tempfile_in(folder) {
                Ok(file) => return Ok(file),
                Err(error) => refused = io::Error::new(error.kind(), format!("{}: {error}", folder.display())),
            }
        }
        Err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_written_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let spool = |chosen: &PathBuf, state: Option<PathBuf>| Spool::new(Some(chosen.clone()), state, 1);
        assert!(spool(&missing, Some(folder.path().to_owned())).file().is_ok());
        let refused = spool(&missing, None).file().unwrap_err();
        assert!(refused.to_string().contains("missing"), "{refused}");
        spool(&folder.path().to_owned(), None).file().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has no name");
    }
}
