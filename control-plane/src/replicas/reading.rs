//! The connection on which a replica hears: one command that waits for whatever comes in the streams.

use super::keys::Keys;
use crate::infrastructure::redis::{Address, Connection};
use redis::RedisError;
use std::time::Duration;

/// The command returns after this when nothing comes.
const BLOCK: Duration = Duration::from_millis(1_000);
/// A server that says nothing for so long is gone.
const ANSWER: Duration = Duration::from_millis(1_500);

/// Entries of a stream: id, and fields with their values.
type Entries = Vec<(String, Vec<(String, Vec<u8>)>)>;

/// What has come.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The settings changed.
    pub(super) settings: bool,
}

/// Reads the streams.
pub(super) struct Reader {
    connection: Connection,
    changes: String,
    /// The last entry taken.
    after: String,
}

impl Reader {
    pub(super) async fn open(address: &Address, keys: &Keys) -> Result<Self, RedisError> {
        let mut connection = address.connect_for(ANSWER).await?;
        let changes = keys.changes();
        let mut newest = redis::cmd("XREVRANGE");
        newest.arg(&changes).arg("+").arg("-").arg("COUNT").arg(1);
        let newest: Entries = connection.ask(&newest).await?;
        Ok(Self {
            connection,
            changes,
            after: newest.into_iter().next().map_or_else(|| "0".to_owned(), |(id, _)| id),
        })
    }

    /// Waits for news, but not for long.
    pub(super) async fn next(&mut self) -> Result<News, RedisError> {
        let mut command = redis::cmd("XREAD");
        command
            .arg("BLOCK")
            .arg(BLOCK.as_millis() as u64)
            .arg("STREAMS")
            .arg(&self.changes)
            .arg(&self.after);
        let streams: Option<Vec<(String, Entries)>> = self.connection.ask_for(&command, ANSWER).await?;
        let mut news = News::default();
        for (id, fields) in streams.into_iter().flatten().flat_map(|(_, entries)| entries) {
            news.settings |= fields.iter().any(|(_, what)| what == b"settings");
            self.after = id;
        }
        Ok(news)
    }
}
