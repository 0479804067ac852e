//! The tier in Redis. Only keys below our prefix are touched; never FLUSH, never KEYS.
//!
//! | key | content |
//! |---|---|
//! | `prefix:{hash}:variant` | a sealed record, with expiry |
//! | `prefix:{hash}:v` | names of the selecting fields, with expiry |
//! | `prefix:{hash}:l` | who fetches, with expiry |
//! | `prefix:{purges}` | stream of purges; its ids are the places in the order of purges |
//! | `prefix:{purges}:server` | which run of a server the order was last looked into on |

use super::entry::{Id, Lease, Read};
use crate::kernel::clock::now_ms;
use crate::kernel::sync::lock;
use crate::redis::{ANSWER, Connection, Endpoint, Fault, RedisConnection};
use control_domain::purges::tier_order::{Fence, Known, MAX_LIFE_MS, PurgeTable, Subject};
use redis::{Cmd, RedisError, Value};
use std::sync::Mutex;

/// Purges are kept for longer than any response lives.
const PURGES_KEPT_MS: u64 = 2 * MAX_LIFE_MS + 60 * 60 * 1_000;
/// Purges read at once.
const PAGE: usize = 1_000;
/// Gives a lease back if it is still one's own; one step, so that nobody's else is taken.
const RELEASE: &str = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
     if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end \
     redis.call('SET', KEYS[1], '0', 'PX', ARGV[2]) return 1";

/// One step: a server that was not the one before, as it was started again or took over, may have another data set, of which others
/// do not know what it lacks. So it begins with a purge of everything; the place of that, or nothing.
const BEGIN: &str = "local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') \
     if redis.call('GET', KEYS[2]) == run then return false end \
     redis.call('SET', KEYS[2], run) \
     return redis.call('XADD', KEYS[1], '*', 's', ARGV[1])";

/// The store.
#[derive(Debug)]
pub(super) struct RedisStore {
    wire: RedisConnection,
    prefix: String,
}

type Entries = Vec<(String, Vec<(String, String)>)>;

impl RedisStore {
    pub(super) fn new(endpoint: Endpoint, prefix: &str) -> Self {
        let prefix = format!("{prefix}:tier");
        Self {
            // A cluster may change its server behind the library's back.
            wire: RedisConnection::new(endpoint, "shared tier", ANSWER, begin(&prefix)),
            prefix,
        }
    }

    pub(super) fn place(&self) -> String {
        self.wire.endpoint().shown()
    }

    pub(super) fn fault(&self) -> Option<String> {
        self.wire.fault()
    }

    fn key(&self, id: &Id, kind: &str) -> String {
        format!("{}:{}:{kind}", self.prefix, id.tag())
    }

    fn purges(&self) -> String {
        purges(&self.prefix)
    }

    /// Connects, and connects again. A connection is used by others only when the purges behind it have been looked into.
    pub(super) async fn run(&self, table: &Mutex<PurgeTable>) {
        loop {
            match self.open(table).await {
                Ok(connection) => {
                    self.wire.is_up(connection);
                    self.wire.until_lost().await;
                }
                Err(error) => self.wire.is_down(&error),
            }
            self.wire.pause().await;
        }
    }

    async fn open(&self, table: &Mutex<PurgeTable>) -> Result<Connection, RedisError> {
        let mut connection = self.wire.connect().await?;
        let known = lock(table).known();
        let begun: Option<String> = connection.ask(&begin(&self.prefix)).await?;
        if let Some(fence) = begun {
            tracing::info!(
                fence,
                "Redis runs anew, or another one took over: the shared tier is purged as a whole"
            );
        }
        if self.is_another_order(&mut connection, known).await? {
            if known != Known::default() {
                tracing::warn!("Redis came back with an older data set: the shared tier is purged as a whole");
            }
            let fence: Option<String> = connection.ask(&self.append(&Subject::All)).await?;
            // A clock that went back with the data gives places that are taken: then nothing there can be trusted yet.
            if fence
                .as_deref()
                .and_then(Fence::parse)
                .is_none_or(|fence| fence <= known.newest)
            {
                return Err(std::io::Error::other("the clock of Redis is behind the order of purges").into());
            }
        }
        // Its own place: what a connection before this one has read may move that of the table.
        let mut after = known.read;
        loop {
            let entries: Entries = connection.ask(&self.range(&format!("({after}"))).await?;
            let more = entries.len() >= PAGE;
            let mut table = lock(table);
            for (fence, subject) in read(entries) {
                table.record(fence, &subject);
                after = fence;
            }
            drop(table);
            if !more {
                return Ok(connection);
            }
        }
    }

    /// Whether the order of purges is not the one that is known here.
    async fn is_another_order(&self, connection: &mut Connection, known: Known) -> Result<bool, RedisError> {
        let mut newest = redis::cmd("XREVRANGE");
        newest.arg(self.purges()).arg("+").arg("-").arg("COUNT").arg(1);
        let newest: Entries = connection.ask(&newest).await?;
        let from_read: Entries = connection.ask(&self.range(&known.read.to_string())).await?;
        let from_newest: Entries = connection.ask(&self.range(&known.newest.to_string())).await?;
        let [newest, from_read, from_newest] = [newest, from_read, from_newest].map(|found| places(&found).next());
        Ok(known.is_another_order(newest, from_read, from_newest, now_ms()))
    }

    /// Purges from a place on.
    fn range(&self, from: &str) -> Cmd {
        let mut command = redis::cmd("XRANGE");
        command.arg(self.purges()).arg(from).arg("+").arg("COUNT").arg(PAGE);
        command
    }

    fn append(&self, subject: &Subject) -> Cmd {
        let mut command = redis::cmd("XADD");
        command
            .arg(self.purges())
            .arg("MINID")
            .arg("~")
            .arg(now_ms().saturating_sub(PURGES_KEPT_MS))
            .arg("*")
            .arg("s")
            .arg(serde_json::to_string(subject).unwrap_or_default());
        command
    }

    pub(super) async fn read(&self, id: &Id, variant: u64, known: Known) -> Result<Read, Fault> {
        let mut values = redis::cmd("MGET");
        values
            .arg(self.key(id, &format!("{variant:016x}")))
            .arg(self.key(id, "v"));
        let purges = self.range(&known.read.to_string());
        let values = self.wire.ask::<Vec<Option<Vec<u8>>>>(&values);
        let purges = self.wire.ask::<Entries>(&purges);
        // Purges after the value: one that is not seen here was not acknowledged when the value was read. On one connection that
        // is the order in which they are sent.
        let (values, purges) = if self.wire.is_cluster() {
            (values.await?, purges.await?)
        } else {
            let (values, purges) = tokio::join!(values, purges);
            (values?, purges?)
        };
        let is_more = purges.len() >= PAGE;
        let found: Vec<Fence> = places(&purges).collect();
        if !known.goes_on(&found, !is_more, now_ms()) {
            let why = "the order of purges is not the one that was known";
            self.wire.give_up(why.to_owned());
            return Err(Fault::Unreachable(why.to_owned()));
        }
        let mut purges = read(purges);
        purges.retain(|(fence, _)| *fence > known.read);
        if is_more {
            // More than fits: behind by thousands. The next look is closer.
            return Ok(Read {
                purges,
                ..Read::default()
            });
        }
        let mut values = values.into_iter();
        Ok(Read {
            value: values.next().flatten(),
            vary: values.next().flatten(),
            purges,
        })
    }

    pub(super) async fn write(
        &self,
        id: &Id,
        variant: u64,
        value: Vec<u8>,
        vary: Option<Vec<u8>>,
        life_ms: u64,
    ) -> Result<(), Fault> {
        let set = |kind: &str, value: Vec<u8>| {
            let mut command = redis::cmd("SET");
            command.arg(self.key(id, kind)).arg(value).arg("PX").arg(life_ms.max(1));
            command
        };
        let mut commands = vec![set(&format!("{variant:016x}"), value)];
        commands.extend(vary.map(|vary| set("v", vary)));
        let mut end_of_lease = redis::cmd("DEL");
        end_of_lease.arg(self.key(id, "l"));
        commands.push(end_of_lease);
        let written = self.wire.ask_all(&commands).await;
        self.wire.note(written).map(drop)
    }

    pub(super) async fn lease(&self, id: &Id, holder: u64, life_ms: u64) -> Result<Lease, Fault> {
        let mut set = redis::cmd("SET");
        set.arg(self.key(id, "l"))
            .arg(holder.to_string())
            .arg("NX")
            .arg("PX")
            .arg(life_ms.max(1))
            .arg("GET");
        // Answers what was there before: nothing means that it is ours.
        let answer = self.wire.ask(&set).await;
        let held: Option<String> = self.wire.note(answer)?;
        Ok(match held.as_deref() {
            None => Lease::Granted,
            Some("0") => Lease::Alone,
            Some(other) if other == holder.to_string() => Lease::Granted,
            Some(_) => Lease::Other,
        })
    }

    pub(super) async fn release(&self, id: &Id, holder: u64, alone_ms: u64) -> Result<(), Fault> {
        let mut command = redis::cmd("EVAL");
        command
            .arg(RELEASE)
            .arg(1)
            .arg(self.key(id, "l"))
            .arg(holder.to_string())
            .arg(alone_ms.to_string());
        let _: Value = self.wire.ask(&command).await?;
        Ok(())
    }

    /// Appends a purge to the order; its place.
    pub(super) async fn purge(&self, subject: &Subject) -> Result<Fence, Fault> {
        let id: Option<String> = self.wire.ask(&self.append(subject)).await?;
        id.as_deref()
            .and_then(Fence::parse)
            .ok_or_else(|| Fault::Refused("no place in the order of purges".to_owned()))
    }
}

fn purges(prefix: &str) -> String {
    format!("{prefix}:{{purges}}")
}

fn begin(prefix: &str) -> Cmd {
    let purges = purges(prefix);
    let mut command = redis::cmd("EVAL");
    command
        .arg(BEGIN)
        .arg(2)
        .arg(&purges)
        .arg(format!("{purges}:server"))
        .arg(serde_json::to_string(&Subject::All).unwrap_or_default());
    command
}

fn places(entries: &Entries) -> impl DoubleEndedIterator<Item = Fence> {
    entries.iter().filter_map(|(id, _)| Fence::parse(id))
}

/// Reads purges. One that does not read as it should may mean anything, so it means everything.
fn read(entries: Entries) -> Vec<(Fence, Subject)> {
    let subject = |fields: &[(String, String)]| {
        let text = fields
            .iter()
            .find(|(name, _)| name == "s")
            .map(|(_, text)| text.as_str());
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or(Subject::All)
    };
    entries
        .iter()
        .filter_map(|(id, fields)| Some((Fence::parse(id)?, subject(fields))))
        .collect()
}
