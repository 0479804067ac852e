//! The connection on which a replica reads the streams: one command that waits for new entries.

use super::wire::{Fields, JOURNAL_ENTRIES, read_fact, read_update};
use crate::redis::keys::Keys;
use crate::redis::{Connection, Endpoint};
use control_domain::Millis;
use control_domain::fleet::EnvoyUpdate;
use control_domain::purges::tier_order::Fence;
use control_domain::replication::Fact;
use redis::RedisError;
use std::time::Duration;

/// The command returns after this when nothing comes.
const BLOCK_MS: u64 = 1_000;
/// A server that sends nothing for this long is gone.
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
    /// Entries of the journal that this replica wrote itself.
    pub(super) own: Vec<Fence>,
    pub(super) updates: Vec<EnvoyUpdate>,
    /// Facts beside the updates, which are told again.
    pub(super) passing: Vec<Fact>,
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
    /// Goes on where reading ended; where the journal has lost what was read last, or `unseen`, which this replica has written, from its
    /// beginning.
    pub(super) async fn open(
        redis: &Endpoint,
        keys: &Keys,
        from: &str,
        mut places: Places,
        unseen: Option<Fence>,
    ) -> Result<Self, RedisError> {
        let mut connection = redis.connect_for(ANSWER).await?;
        let journal_is_new =
            places.journal == BEGINNING || !has_all(&mut connection, keys, &places.journal, unseen).await?;
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
                let own = entries.iter().filter(|(_, fields)| self.is_own(fields));
                batch.own = own.filter_map(|(id, _)| Fence::parse(id)).collect();
                self.places.journal = last;
            } else {
                batch.updates = others.clone().filter_map(read_update).collect();
                batch.passing = others.filter_map(read_fact).collect();
                self.places.news = last;
            }
        }
        Ok(batch)
    }

    /// Whether the journal still has what was read last, and what this replica wrote since. Behind a cluster, or a name, another server
    /// may have taken over that lacks the newest entries, and nothing else tells.
    pub(super) async fn goes_on(&mut self, unseen: Option<Fence>) -> Result<bool, RedisError> {
        has_all(&mut self.connection, &self.keys, &self.places.journal, unseen).await
    }

    /// How far the journal is read.
    pub(super) fn place(&self) -> Fence {
        Fence::parse(&self.places.journal).unwrap_or_default()
    }

    fn is_own(&self, fields: &Fields) -> bool {
        fields
            .iter()
            .any(|(name, from)| name == "from" && from == self.from.as_bytes())
    }
}

/// Whether the journal has an entry that was read, unless none was, and one that was written.
async fn has_all(
    connection: &mut Connection,
    keys: &Keys,
    read: &str,
    written: Option<Fence>,
) -> Result<bool, RedisError> {
    if read != BEGINNING && !has(connection, keys, read).await? {
        return Ok(false);
    }
    match written {
        Some(id) => has(connection, keys, &id.to_string()).await,
        None => Ok(true),
    }
}

async fn has(connection: &mut Connection, keys: &Keys, place: &str) -> Result<bool, RedisError> {
    let mut there = redis::cmd("XRANGE");
    there.arg(keys.journal()).arg(place).arg(place);
    let there: Entries = connection.ask_for(&there, ANSWER).await?;
    Ok(!there.is_empty())
}
