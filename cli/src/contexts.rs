//! The configuration file: control planes under names of their own.
//!
//! It holds no secret, only the names of files that do. All the same it is for its owner alone: it says where control planes are.

use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Largest configuration file that is read, bytes.
const LARGEST: u64 = 1 << 20;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// Which one is meant where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// All of them by name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

/// One control plane and how to reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// URL of its REST API.
    pub server: String,
    /// File with the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Authorities to trust besides those of the machine (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Client certificate (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_file: Option<PathBuf>,
    /// Its private key (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key_file: Option<PathBuf>,
    /// How long one request may take, for example `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<String>,
}

/// Where the file is by the XDG rules: `$XDG_CONFIG_HOME`, else `~/.config`.
///
/// # Errors
/// Neither variable is set.
pub fn default_path() -> Result<PathBuf, Failure> {
    let set = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    set("XDG_CONFIG_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .map(|folder| folder.join("api-optimizer").join("config.yaml"))
        .ok_or_else(|| Failure::usage("Neither HOME nor XDG_CONFIG_HOME is set: name a file with --config"))
}

impl Contexts {
    /// Reads the file; one that is not there has no contexts.
    ///
    /// # Errors
    /// It cannot be read, or is no configuration.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let mut text = String::new();
        match std::fs::File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::file(path, &error)),
            Ok(file) => file
                .take(LARGEST)
                .read_to_string(&mut text)
                .map_err(|error| Failure::file(path, &error))?,
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
    }

    /// Writes the file, for its owner alone; a reader sees the old one or the new one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let failed = |error: &std::io::Error| Failure::file(path, error);
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
        let text = serde_saphyr::to_string(self).map_err(|error| Failure::usage(error.to_string()))?;
        // Such files are made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
        file.write_all(text.as_bytes()).map_err(|error| failed(&error))?;
        file.persist(path).map_err(|error| failed(&error.error))?;
        Ok(())
    }

    /// The context of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<_> = self.contexts.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "there are none yet; add one with optimizer context add".to_owned()
            } else {
                format!("known are {}", known.join(", "))
            };
            Failure::usage(format!("There is no context {name}: {known}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_written_is_read_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/config.yaml");
        let context = Context {
            server: "https://there:8080".to_owned(),
            token_file: Some("/run/token".into()),
            ..Context::default()
        };
        let contexts = Contexts {
            current: Some("there".to_owned()),
            contexts: BTreeMap::from([("there".to_owned(), context)]),
        };
        contexts.write(&path).unwrap();
        assert_eq!(Contexts::read(&path).unwrap(), contexts);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn no_file_is_no_contexts_and_a_wrong_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        assert_eq!(Contexts::read(&path).unwrap(), Contexts::default());
        std::fs::write(&path, "contexts: {a: {server: x, tokn_file: y}}").unwrap();
        let message = Contexts::read(&path).unwrap_err().to_string();
        assert!(
            message.contains("config.yaml") && message.contains("tokn_file"),
            "{message}"
        );
    }

    #[test]
    fn an_unknown_name_tells_the_known_ones() {
        let contexts = Contexts {
            current: None,
            contexts: BTreeMap::from([("staging".to_owned(), Context::default())]),
        };
        let message = contexts.named("production").unwrap_err().to_string();
        assert!(message.contains("known are staging"), "{message}");
    }
}
