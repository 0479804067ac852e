//! Credentials for the REST API: a file of bearer tokens, read again whenever it changes.

use crate::kernel::watched_file::{LOOK_EVERY, WatchedFile};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subtle::{Choice, ConstantTimeEq};

/// Shorter ones can be guessed.
const SHORTEST: usize = 16;

/// What a token allows. A greater role includes the lesser ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Read.
    Viewer,
    /// Change settings, purge, override breakers, take snapshots.
    Operator,
    /// Restore snapshots.
    Admin,
}

impl Role {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: Role,
    token: String,
}

/// The tokens in force.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    entries: Vec<Entry>,
}

impl Tokens {
    fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let entries: Vec<Entry> = serde_json::from_str(&text)
            // Without serde's excerpt: it could show a token.
            .map_err(|error| format!("line {} is not a list of {{name, role, token}}", error.line()))?;
        match entries.iter().find(|entry| entry.token.len() < SHORTEST) {
            Some(short) => Err(format!(
                "the token of {} has fewer than {SHORTEST} characters",
                short.name
            )),
            None => Ok(Self { entries }),
        }
    }

    /// Whose token it is. Takes as long for a wrong one as for a right one.
    pub(crate) fn who(&self, token: &str) -> Option<(&str, Role)> {
        let mut found = None;
        for entry in &self.entries {
            let equal: Choice = entry.token.as_bytes().ct_eq(token.as_bytes());
            if equal.into() {
                found = Some((entry.name.as_str(), entry.role));
            }
        }
        found
    }
}

/// The file and what was last read from it.
#[derive(Debug)]
pub(crate) struct TokenFile<T = Tokens>(WatchedFile<T>);

impl TokenFile {
    /// Reads the file of operators' tokens.
    ///
    /// # Errors
    /// When it cannot be read: starting without the credentials that were asked for would open what is to be guarded.
    pub(crate) fn open(path: PathBuf) -> Result<Self, String> {
        Self::open_with("AUTH_TOKENS_FILE", path, Tokens::read)
    }
}

impl TokenFile<EnvoyTokens> {
    /// Reads the file of Envoys' tokens.
    ///
    /// # Errors
    /// As with operators' tokens.
    pub(crate) fn open_for_envoys(path: PathBuf) -> Result<Self, String> {
        Self::open_with("GRPC_TOKENS_FILE", path, EnvoyTokens::read)
    }
}

impl<T: 'static> TokenFile<T> {
    fn open_with(name: &str, path: PathBuf, read: fn(&Path) -> Result<T, String>) -> Result<Self, String> {
        let file = path.clone();
        let watched = WatchedFile::open("credentials", vec![path.clone()], move || read(&file));
        watched
            .map(Self)
            .map_err(|error| format!("{name} {}: {error}", path.display()))
    }

    /// Looks at the file again and again, also while nobody asks for it.
    pub(crate) async fn watch(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.tokens();
        }
    }

    /// Returns once `holds` is no longer true of the tokens in force.
    pub(crate) async fn until_not(&self, holds: impl Fn(&T) -> bool) {
        let mut changes = self.0.changes();
        while holds(&self.tokens()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// The tokens in force; a file that cannot be read any more leaves the last good ones.
    pub(crate) fn tokens(&self) -> Arc<T> {
        self.0.present()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvoyEntry {
    /// Absent: any Envoy.
    node: Option<String>,
    token: String,
}

/// The tokens of Envoys in force.
#[derive(Debug, Default)]
pub(crate) struct EnvoyTokens {
    entries: Vec<EnvoyEntry>,
}

impl EnvoyTokens {
    fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let entries: Vec<EnvoyEntry> = if text.trim_start().starts_with('[') {
            serde_json::from_str(&text)
                .map_err(|error| format!("line {} is not a list of {{node, token}}", error.line()))?
        } else {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            lines
                .map(|line| EnvoyEntry {
                    node: None,
                    token: line.to_owned(),
                })
                .collect()
        };
        if entries.is_empty() {
            return Err("there is no token in it".to_owned());
        }
        match entries.iter().any(|entry| entry.token.len() < SHORTEST) {
            true => Err(format!("a token has fewer than {SHORTEST} characters")),
            false => Ok(Self { entries }),
        }
    }

    /// Whose token it is: the node, or `Some(None)` for any; `None` when it is not known.
    pub(crate) fn whose(&self, token: &str) -> Option<Option<&str>> {
        let mut found = None;
        for entry in &self.entries {
            let equal: Choice = entry.token.as_bytes().ct_eq(token.as_bytes());
            if equal.into() {
                found = Some(entry.node.as_deref());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, Result<TokenFile, String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.json");
        std::fs::write(&path, text).unwrap();
        (directory, TokenFile::open(path))
    }

    #[test]
    fn tokens_are_known_by_their_whole_text() {
        let (_directory, file) = written(r#"[{"name": "ops", "role": "operator", "token": "0123456789abcdef"}]"#);
        let tokens = file.unwrap().tokens();
        assert_eq!(tokens.who("0123456789abcdef"), Some(("ops", Role::Operator)));
        for wrong in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef0"] {
            assert_eq!(tokens.who(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn envoys_have_tokens_of_their_own_or_one_together() {
        let read = |text: &str| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("tokens");
            std::fs::write(&path, text).unwrap();
            TokenFile::open_for_envoys(path).map(|file| file.tokens())
        };
        let fleet = read("0123456789abcdef\n\nfedcba9876543210\n").unwrap();
        for token in ["0123456789abcdef", "fedcba9876543210"] {
            assert_eq!(fleet.whose(token), Some(None));
        }
        let own = read(r#"[{"node": "a", "token": "0123456789abcdef"}, {"token": "fedcba9876543210"}]"#).unwrap();
        assert_eq!(own.whose("0123456789abcdef"), Some(Some("a")));
        assert_eq!((own.whose("fedcba9876543210"), own.whose("")), (Some(None), None));
        for bad in ["", "\n", "short", "[]", r#"[{"node": "a"}]"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_that_is_none_is_refused_without_showing_a_token() {
        for text in [
            r#"[{"name": "a", "role": "operator", "token": "short-secret"}]"#,
            "token=very-secret-token-1",
        ] {
            let (_directory, file) = written(text);
            let error = file.unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
