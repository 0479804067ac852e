//! Why nothing is written.

use crate::place::Place;
use thiserror::Error;

/// Why a configuration cannot be migrated at all. A directive that is not known, or has no counterpart, is no error: the report says so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The text is no nginx configuration, or no YAML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// A file that an `include` names cannot be read.
    #[error("{place}: {message}")]
    Include {
        /// Of the directive.
        place: Place,
        /// Why not.
        message: String,
    },
    /// More than is read: bytes, files, levels, directives.
    #[error("{place}: {message}")]
    TooLarge {
        /// Where the limit was passed.
        place: Place,
        /// Which limit.
        message: String,
    },
    /// The settings have no room for what was read, as more than 256 routes.
    #[error("the settings have no room for this configuration: {0}")]
    Settings(String),
}

impl Error {
    /// The exit code of the command: 2 for what cannot be read, 3 for settings without room. 1 is left for files and arguments.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Syntax { .. } | Self::Include { .. } | Self::TooLarge { .. } => 2,
            Self::Settings(_) => 3,
        }
    }
}
