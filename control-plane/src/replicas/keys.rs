//! Names in Redis. The braces keep all of them on one node of a cluster, so that one step can touch several.

/// The keys below one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: format!("{prefix}:{{replicas}}"),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    pub(crate) fn settings(&self) -> String {
        self.key("settings")
    }

    pub(crate) fn revisions(&self) -> String {
        self.key("revisions")
    }

    /// Stream that says what has changed.
    pub(crate) fn changes(&self) -> String {
        self.key("changes")
    }
}
