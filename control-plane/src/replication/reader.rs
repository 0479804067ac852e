//! The connection on which a replica hears: one command that waits for whatever comes in the streams.

use super::wire::{Entry, JOURNAL_ENTRIES, News};
use crate::redis::keys::Keys;
use crate::redis::{Connection, Endpoint};
use control_domain::Millis;
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
type Entries = Vec<(String, Vec<(String, Vec<u8>)>)>;

/// What has come.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The settings changed.
    pub(super) settings: bool,
    pub(super) journal: Vec<Entry>,
    pub(super) news: Vec<News>,
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
    pub(super) async fn next(&mut self) -> Result<Heard, RedisError> {
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
        let mut heard = Heard::default();
        for (stream, entries) in streams.into_iter().flatten() {
            let Some(last) = entries.last().map(|(id, _)| id.clone()) else {
                continue;
            };
            let others = entries
                .iter()
                .map(|(_, fields)| fields)
                .filter(|fields| !self.is_own(fields));
            if stream == self.keys.changes() {
                heard.settings = true;
                self.places.changes = last;
            } else if stream == self.keys.journal() {
                heard.journal = others.filter_map(|fields| entry(fields)).collect();
                self.places.journal = last;
            } else {
                heard.news = others.filter_map(|fields| News::read(fields)).collect();
                self.places.news = last;
            }
        }
        Ok(heard)
    }

    /// Whether the journal still has what was read last. Behind a cluster, or a name, another server may have taken over that
    /// lacks the newest entries, and nothing else tells.
    pub(super) async fn goes_on(&mut self) -> Result<bool, RedisError> {
        let nothing_read = self.places.journal == BEGINNING;
        Ok(nothing_read || has(&mut self.connection, &self.keys, &self.places.journal).await?)
    }

    fn is_own(&self, fields: &[(String, Vec<u8>)]) -> bool {
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

/// One that a newer replica wrote in another form is passed over.
fn entry(fields: &[(String, Vec<u8>)]) -> Option<Entry> {
    let text = fields.iter().find(|(name, _)| name == "entry").map(|(_, text)| text)?;
    match serde_json::from_slice(text) {
        Ok(entry) => Some(entry),
        Err(error) => {
            tracing::warn!(%error, "an entry of the shared journal cannot be read");
            None
        }
    }
}
