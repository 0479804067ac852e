//! Lines appended to a file, each with its checksum and synced: what is read back is what was written, up to a torn end.

use super::document::checksum;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

/// A journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
}

impl Journal {
    /// The journal in a file, which is created by the first line.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Writes lines down. When this fails part of them may be there: nothing must be appended before [`Journal::clear`].
    pub(crate) fn append(&self, lines: &[String]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let new = !self.path.exists();
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        let text: String = lines
            .iter()
            .map(|line| format!("{} {line}\n", checksum(line)))
            .collect();
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        if let Some(directory) = self.path.parent().filter(|_| new) {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    /// The lines that are whole, up to the first that is not.
    pub(crate) fn read(&self) -> Vec<String> {
        // A device in its place need not end.
        let file = fs::metadata(&self.path).is_ok_and(|found| found.is_file());
        let bytes = file.then(|| fs::read(&self.path).ok()).flatten().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.split_inclusive('\n')
            .map_while(|line| {
                let (sum, line) = line.strip_suffix('\n')?.split_once(' ')?;
                (sum == checksum(line)).then(|| line.to_owned())
            })
            .collect()
    }

    /// Begins anew.
    pub(crate) fn clear(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
