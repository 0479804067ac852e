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

    /// Stream of what must not be forgotten.
    pub(crate) fn journal(&self) -> String {
        self.key("journal")
    }

    /// Stream of what Envoys tell.
    pub(crate) fn news(&self) -> String {
        self.key("news")
    }

    /// When each replica was last there.
    pub(crate) fn alive(&self) -> String {
        self.key("alive")
    }

    /// Who notifies.
    pub(crate) fn lease(&self) -> String {
        self.key("lease")
    }

    /// By which replicas know each other.
    pub(crate) fn secret(&self) -> String {
        self.key("secret")
    }

    /// Under which Envoys put credentials into cache keys.
    pub(crate) fn key_secret(&self) -> String {
        self.key("key-secret")
    }

    /// What receivers of alerts have been told.
    pub(crate) fn outbox(&self) -> String {
        self.key("outbox")
    }

    /// The purge that an Idempotency-Key was used for.
    pub(crate) fn idempotency(&self, key: &str) -> String {
        self.key(&format!(
            "purge-key:{:032x}",
            xxhash_rust::xxh3::xxh3_128(key.as_bytes())
        ))
    }
}
