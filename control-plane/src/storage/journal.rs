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

    /// The lines that are whole, up to the first that is not; and how many bytes of others there are, but for a torn last line, which a
    /// crash leaves.
    pub(crate) fn read(&self) -> (Vec<String>, usize) {
        // A device in its place need not end. What cannot be read cannot be written either, which is told.
        let file = fs::metadata(&self.path).is_ok_and(|found| found.is_file());
        let bytes = file.then(|| fs::read(&self.path).ok()).flatten().unwrap_or_default();
        let mut lines = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            let Some(line) = whole(line) else { break };
            lines.push(line);
            rest = after.get(1..).unwrap_or_default();
        }
        // A line that is torn was being written: it begins as one, and nothing stands behind it.
        let torn = !rest.contains(&b'\n') && begins_as_line(rest);
        (lines, if torn { 0 } else { rest.len() })
    }

    /// Begins anew.
    pub(crate) fn clear(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn whole(line: &[u8]) -> Option<String> {
    let (sum, line) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    (sum == checksum(line)).then(|| line.to_owned())
}

/// A checksum in digits, a blank and the beginning of an object, as far as it goes.
fn begins_as_line(rest: &[u8]) -> bool {
    let digits = checksum("").len();
    let sum = rest.get(..digits).unwrap_or(rest);
    let behind = rest.get(digits..).unwrap_or_default();
    sum.iter().all(u8::is_ascii_hexdigit) && (behind.is_empty() || behind == b" " || behind.starts_with(b" {"))
}
