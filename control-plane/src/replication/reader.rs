//! The connection on which a replica hears: one command that waits for whatever comes in the streams.

use super::wire::{Fields, JOURNAL_ENTRIES, read_fact, read_update};
use crate::redis::keys::Keys;
use crate::redis::{Connection, Endpoint};
use control_domain::Millis;
use control_domain::fleet::EnvoyUpdate;
use control_domain::replication::Fact;
use redis::RedisError;
use std::time::Duration;

/// The command returns after this when nothing comes.
const BLOCK_MS: u64 = 1_000;
/// A server that says nothing for so long is gone.
const ANSWER: Duration = Duration::from_millis(2_000);
/// Entries of a stream at once.
const PAGE: usize = 500;
const BEGINNING: &str = "0-0";

/// Entries of a stream: id, and fields with their values.
type Entries = Vec<(String, Fields)>;

/// What has come.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The settings changed.
    pub(super) settings: bool,
    pub(super) facts: Vec<Fact>,
    pub(super) updates: Vec<EnvoyUpdate>,
}

/// How far a replica has read, also over a lost connection.
#[derive(Debug, Clone)]
pub(super) struct Places {
    changes: String,
    journal: String,
    news: String,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            changes: BEGINNING.to_owned(),
            journal: BEGINNING.to_owned(),
            news: BEGINNING.to_owned(),
        }
    }
}

impl Places {
    /// These, with a journal that is to be read from its beginning, as a new one.
    pub(super) fn without_journal(self) -> Self {
        let journal = BEGINNING.to_owned();
        Self { journal, ..self }
    }
}

/// Reads the streams.
pub(super) struct Reader {
    connection: Connection,
    keys: Keys,
    from: String,
    pub(super) places: Places,
    /// The journal is not the one that was read before: it has lost entries.
    pub(super) journal_is_new: bool,
    /// Everything in the journal up to then is forgotten.
    pub(super) forgotten_ms: Option<Millis>,
}

impl Reader {
    /// Goes on where reading ended; where the journal has lost what was read last, from its beginning.
    pub(super) async fn open(
        redis: &Endpoint,
        keys: &Keys,
        from: &str,
        mut places: Places,
    ) -> Result<Self, RedisError> {
        let mut connection = redis.connect_for(ANSWER).await?;
        let journal_is_new = !has(&mut connection, keys, &places.journal).await?;
        let mut forgotten_ms = None;
        if journal_is_new {
            BEGINNING.clone_into(&mut places.journal);
            let length: usize = connection
                .ask_for(redis::cmd("XLEN").arg(keys.journal()), ANSWER)
                .await?;
            if length >= JOURNAL_ENTRIES {
                let mut first = redis::cmd("XRANGE");
                first.arg(keys.journal()).arg("-").arg("+").arg("COUNT").arg(1);
                let first: Entries = connection.ask_for(&first, ANSWER).await?;
                let ms = first.first().and_then(|(id, _)| id.split('-').next()?.parse().ok());
                forgotten_ms = ms;
            }
        }
        Ok(Self {
            connection,
            keys: keys.clone(),
            from: from.to_owned(),
            places,
            journal_is_new,
            forgotten_ms,
        })
    }

    /// Waits for what comes, but not for long. What this replica said itself is left out.
    pub(super) async fn next(&mut self) -> Result<Batch, RedisError> {
        let mut command = redis::cmd("XREAD");
        command
            .arg("COUNT")
            .arg(PAGE)
            .arg("BLOCK")
            .arg(BLOCK_MS)
            .arg("STREAMS")
            .arg(self.keys.changes())
            .arg(self.keys.journal())
            .arg(self.keys.news())
            .arg(&self.places.changes)
            .arg(&self.places.journal)
            .arg(&self.places.news);
        let streams: Option<Vec<(String, Entries)>> = self.connection.ask_for(&command, ANSWER).await?;
        let mut batch = Batch::default();
        for (stream, entries) in streams.into_iter().flatten() {
            let Some(last) = entries.last().map(|(id, _)| id.clone()) else {
                continue;
            };
            let others = entries
                .iter()
                .map(|(_, fields)| fields)
                .filter(|fields| !self.is_own(fields));
            if stream == self.keys.changes() {
                batch.settings = true;
                self.places.changes = last;
            } else if stream == self.keys.journal() {
                batch.facts = others.filter_map(read_fact).collect();
                self.places.journal = last;
            } else {
                batch.updates = others.filter_map(read_update).collect();
                self.places.news = last;
            }
        }
        Ok(batch)
    }

    /// Whether the journal still has what was read last. Behind a cluster, or a name, another server may have taken over that
    /// lacks the newest entries, and nothing else tells.
    pub(super) async fn goes_on(&mut self) -> Result<bool, RedisError> {
        let nothing_read = self.places.journal == BEGINNING;
        Ok(nothing_read || has(&mut self.connection, &self.keys, &self.places.journal).await?)
    }

    fn is_own(&self, fields: &Fields) -> bool {
        fields
            .iter()
            .any(|(name, from)| name == "from" && from == self.from.as_bytes())
    }
}

async fn has(connection: &mut Connection, keys: &Keys, place: &str) -> Result<bool, RedisError> {
    let mut there = redis::cmd("XRANGE");
    there.arg(keys.journal()).arg(place).arg(place);
    let there: Entries = connection.ask_for(&there, ANSWER).await?;
    Ok(!there.is_empty())
}
