//! Included files.

use crate::Files;
use std::path::{Path, PathBuf};

/// No files: every include is an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn matching(&self, pattern: &str) -> Result<Vec<(String, String)>, String> {
        Err(format!(
            "\"{pattern}\" cannot be read: there are no files beside the text"
        ))
    }
}

/// Files of this machine. Names that are not absolute are below a folder, as nginx takes those in its configuration to be below the folder
/// of `nginx.conf`.
#[derive(Clone, Debug)]
pub struct Disk {
    folder: PathBuf,
}

/// Longest file that is read, bytes.
const MAX_FILE: u64 = 8 << 20;
/// Most entries of a folder that are looked at for one pattern.
const MAX_ENTRIES: usize = 10_000;

impl Disk {
    /// Files below a folder.
    #[must_use]
    pub fn below(folder: &Path) -> Self {
        let here = folder.as_os_str().is_empty();
        Self {
            folder: if here { PathBuf::from(".") } else { folder.to_owned() },
        }
    }

    fn paths(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let whole = self.folder.join(pattern);
        if !pattern.contains(['*', '?', '[']) {
            return Ok(vec![whole]);
        }
        let (Some(folder), Some(name)) = (whole.parent(), whole.file_name().and_then(|name| name.to_str())) else {
            return Err(format!("\"{pattern}\" is no pattern of files"));
        };
        if folder.to_string_lossy().contains(['*', '?', '[']) || name.contains('[') {
            let message = "only * and ? in the last part of a pattern are understood; name the files";
            return Err(format!("\"{pattern}\": {message}"));
        }
        let Ok(entries) = std::fs::read_dir(folder) else {
            // As for nginx: a pattern may mean nothing.
            return Ok(Vec::new());
        };
        let entries = entries.take(MAX_ENTRIES).filter_map(Result::ok);
        let fits = |path: &PathBuf| {
            let own = path.file_name().and_then(|own| own.to_str()).unwrap_or_default();
            // As in glob(3), a wildcard does not stand for a dot at the beginning.
            fits(name.as_bytes(), own.as_bytes()) && (name.starts_with('.') || !own.starts_with('.'))
        };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(fits).collect();
        paths.sort();
        Ok(paths)
    }
}

impl Files for Disk {
    fn matching(&self, pattern: &str) -> Result<Vec<(String, String)>, String> {
        let read = |path: PathBuf| {
            let shown = path.strip_prefix(".").unwrap_or(&path);
            let name = shown.display().to_string();
            let cannot = |why: String| format!("\"{name}\" cannot be read: {why}");
            let about = std::fs::metadata(&path).map_err(|error| cannot(error.to_string()))?;
            if !about.is_file() || about.len() > MAX_FILE {
                return Err(cannot(format!("no file, or more than {MAX_FILE} bytes")));
            }
            let bytes = std::fs::read(&path).map_err(|error| cannot(error.to_string()))?;
            Ok((name, String::from_utf8_lossy(&bytes).into_owned()))
        };
        self.paths(pattern)?.into_iter().map(read).collect()
    }
}

/// Whether a name fits a pattern of `*` and `?`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on when a `*` has to stand for one more byte.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || name.get(n) == Some(byte) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("?.conf", "a.conf", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("*", "", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
