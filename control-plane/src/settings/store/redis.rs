//! Settings that replicas share in Redis. Every write is one step in it: it takes place only upon the state it was made from.
//!
//! | key | content |
//! |---|---|
//! | `…:settings` | name of the state, and on the next line everything but the history |
//! | `…:revisions` | list of the revisions kept, as JSON |

use super::state_file::{RevisionRecord, from_record, to_record};
use super::{Put, PutError, SettingsStore, Version};
use crate::kernel::sync::lock;
use crate::redis::keys::Keys;
use crate::redis::{Fault, RedisConnection};
use control_domain::settings::canary::Canary;
use control_domain::settings::history::{HISTORY, Revision, SettingsHistory};
use control_domain::settings::shared_state::SharedState;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

const FORMAT: u32 = 1;
/// Revisions read when only the newest are missing.
const TAIL: usize = 16;

/// KEYS: state, revisions, changes. ARGV: base, name, rest, "whole" or not, revisions…
const PUT: &str = "local present = redis.call('GET', KEYS[1]) or '' \
     if (string.match(present, '^([^\\n]*)\\n') or '') ~= ARGV[1] then return 0 end \
     redis.call('SET', KEYS[1], ARGV[2] .. '\\n' .. ARGV[3]) \
     if ARGV[4] == 'whole' then redis.call('DEL', KEYS[2]) end \
     for place = 6, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[place]) end \
     redis.call('LTRIM', KEYS[2], -tonumber(ARGV[5]), -1) \
     redis.call('XADD', KEYS[3], 'MAXLEN', '~', 100, '*', 'what', 'settings') \
     return 1";
const LOAD: &str = "return { redis.call('GET', KEYS[1]), redis.call('LRANGE', KEYS[2], -tonumber(ARGV[1]), -1) }";

/// All but the history.
#[derive(Serialize, Deserialize)]
struct StateRecord {
    format: u32,
    epoch: String,
    config_map: BTreeMap<String, String>,
    canary: Option<CanaryRecord>,
}

#[derive(Serialize, Deserialize)]
struct CanaryRecord {
    revision: RevisionRecord,
    share: u8,
    envoys: BTreeSet<String>,
}

/// What is in the list of revisions under a name.
#[derive(Debug)]
struct Listed {
    version: Version,
    epoch: String,
    newest: u64,
}

/// The place.
#[derive(Debug)]
pub(crate) struct RedisStore {
    wire: Arc<RedisConnection>,
    keys: Keys,
    listed: Mutex<Option<Listed>>,
}

impl RedisStore {
    pub(crate) fn new(wire: Arc<RedisConnection>, keys: Keys) -> Self {
        Self {
            wire,
            keys,
            listed: Mutex::default(),
        }
    }

    fn note(&self, version: &Version, history: &SettingsHistory) {
        let listed = Listed {
            version: version.clone(),
            epoch: history.epoch().to_owned(),
            newest: history.present().number,
        };
        *lock(&self.listed) = Some(listed);
    }

    /// The newest revision in the list, if that is the beginning of this history.
    fn newest_of(&self, base: &Version, history: &SettingsHistory) -> Option<u64> {
        let listed = lock(&self.listed);
        let same = |listed: &&Listed| listed.version == *base && listed.epoch == history.epoch();
        listed.as_ref().filter(same).map(|listed| listed.newest)
    }

    async fn read(&self, count: usize) -> Result<Option<(Version, StateRecord, Vec<Revision>)>, String> {
        let mut command = redis::cmd("EVAL");
        command
            .arg(LOAD)
            .arg(2)
            .arg(self.keys.settings())
            .arg(self.keys.revisions())
            .arg(count);
        let (state, revisions): (Option<String>, Vec<String>) =
            self.wire.ask(&command).await.map_err(|fault| fault.to_string())?;
        let Some(state) = state else { return Ok(None) };
        let (version, rest) = state.split_once('\n').ok_or("the shared settings are damaged")?;
        let rest: StateRecord = serde_json::from_str(rest).map_err(damaged)?;
        if rest.format != FORMAT {
            return Err("the shared settings have another format".to_owned());
        }
        let read = |text: &String| serde_json::from_str(text).map(from_record).map_err(damaged);
        let revisions = revisions.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Some((version.to_owned(), rest, revisions)))
    }
}

fn damaged(error: serde_json::Error) -> String {
    format!("the shared settings are damaged: {error}")
}

/// A known history and the newest revisions, where they join.
fn joined(known: &SettingsHistory, rest: &StateRecord, newest: &[Revision]) -> Option<SettingsHistory> {
    let own = known.present();
    if known.epoch() != rest.epoch || !newest.contains(own) {
        return None;
    }
    let newer = newest.iter().filter(|revision| revision.number > own.number);
    known.extended(newer.cloned().collect())
}

#[tonic::async_trait]
impl SettingsStore for RedisStore {
    async fn version(&self) -> Result<Version, String> {
        let mut command = redis::cmd("GETRANGE");
        command.arg(self.keys.settings()).arg(0).arg(64);
        let begins: String = self.wire.ask(&command).await.map_err(|fault| fault.to_string())?;
        Ok(begins.lines().next().unwrap_or_default().to_owned())
    }

    async fn load(&self, known: &SettingsHistory) -> Result<Option<(Version, SharedState)>, String> {
        let Some((mut version, mut rest, newest)) = self.read(TAIL).await? else {
            return Ok(None);
        };
        let history = match joined(known, &rest, &newest) {
            Some(history) => history,
            None => {
                let Some(whole) = self.read(HISTORY).await? else {
                    return Ok(None);
                };
                let revisions;
                (version, rest, revisions) = whole;
                SettingsHistory::restored(rest.epoch.clone(), revisions).ok_or("the shared history is out of order")?
            }
        };
        self.note(&version, &history);
        let canary = rest.canary.map(|trial| Canary {
            revision: from_record(trial.revision),
            share: trial.share,
            envoys: trial.envoys,
        });
        let agreed = SharedState {
            history,
            canary,
            seen: rest.config_map,
        };
        Ok(Some((version, agreed)))
    }

    async fn put(&self, base: &Version, new: &SharedState) -> Result<Put, PutError> {
        let unreadable = |error: serde_json::Error| PutError::Unavailable(error.to_string());
        let version = format!("{:016x}", crate::kernel::chance::number());
        let rest = StateRecord {
            format: FORMAT,
            epoch: new.history.epoch().to_owned(),
            config_map: new.seen.clone(),
            canary: new.canary.as_ref().map(|canary| CanaryRecord {
                revision: to_record(&canary.revision),
                share: canary.share,
                envoys: canary.envoys.clone(),
            }),
        };
        let listed = self.newest_of(base, &new.history);
        let mut command = redis::cmd("EVAL");
        command
            .arg(PUT)
            .arg(3)
            .arg(self.keys.settings())
            .arg(self.keys.revisions())
            .arg(self.keys.changes())
            .arg(base)
            .arg(&version)
            .arg(serde_json::to_string(&rest).map_err(unreadable)?)
            .arg(if listed.is_some() { "more" } else { "whole" })
            .arg(HISTORY);
        let newer = |revision: &&Revision| listed.is_none_or(|newest| revision.number > newest);
        for revision in new.history.revisions().filter(newer) {
            command.arg(serde_json::to_string(&to_record(revision)).map_err(unreadable)?);
        }
        let put: Result<u32, Fault> = self.wire.ask(&command).await;
        match self.wire.note(put) {
            Ok(1) => {
                self.note(&version, &new.history);
                Ok(Put {
                    version,
                    persist_error: None,
                })
            }
            Ok(_) => Err(PutError::Conflict),
            // Sent and not answered: it may have been taken, and then it is seen with the next look.
            Err(fault) => Err(PutError::Unavailable(fault.to_string())),
        }
    }
}
