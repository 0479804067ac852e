//! One suite for every place settings can be kept in: this process, files, and a real Redis.

use super::state_file::StateFile;
use super::{FileStore, MemoryStore, PutError, RedisStore, SettingsStore, Version};
use crate::redis::keys::Keys;
use crate::redis::{Endpoint, RedisConnection, TlsFiles};
use control_domain::settings::canary::Canary;
use control_domain::settings::change::Change;
use control_domain::settings::history::{Author, HISTORY, SettingsHistory};
use control_domain::settings::shared_state::SharedState;
use e2e::redis::Redis;
use optimizer_proto::settings::Settings;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn first() -> SharedState {
    SharedState {
        history: SettingsHistory::new("e".to_owned(), &Settings::default(), 7),
        canary: None,
        seen: BTreeMap::new(),
    }
}

/// The next state, with another cache size.
fn next(before: &SharedState, size: u64) -> SharedState {
    let mut new = before.clone();
    let author = Author {
        who: "me".to_owned(),
        source: "rest".to_owned(),
        reason: "because".to_owned(),
    };
    let change = Change::Merge(json!({ "cache_size": size }));
    let accepted = new.history.propose(&change, None, author, 8).unwrap();
    assert!(new.history.accept(accepted.revision));
    new.seen.insert("cache_size".to_owned(), size.to_string());
    new
}

async fn present(place: &dyn SettingsStore, known: &SharedState) -> (Version, SharedState) {
    place.load(&known.history).await.unwrap().unwrap()
}

/// What every place must do.
async fn holds(place: &dyn SettingsStore) {
    let first = first();
    assert_eq!(place.version().await.unwrap(), "");
    assert_eq!(place.load(&first.history).await.unwrap(), None);

    let put = place.put(&Version::new(), &first).await.unwrap();
    assert_eq!(put.persist_error, None);
    assert_eq!(place.version().await.unwrap(), put.version);
    assert_eq!(present(place, &first).await, (put.version.clone(), first.clone()));

    // Of two writers on one base one wins, and the other changes nothing.
    let (one, other) = (next(&first, 5), next(&first, 6));
    let won = place.put(&put.version, &one).await.unwrap();
    assert_ne!(won.version, put.version);
    assert_eq!(place.put(&put.version, &other).await, Err(PutError::Conflict));
    assert_eq!(place.put(&Version::new(), &other).await, Err(PutError::Conflict));
    assert_eq!(present(place, &first).await, (won.version.clone(), one.clone()));

    // A long history is bounded and whole, for those who know a part of it and for those who know nothing.
    let (mut state, mut version) = (one.clone(), won.version);
    for size in 10..HISTORY as u64 + 50 {
        state = next(&state, size);
        version = place.put(&version, &state).await.unwrap().version;
    }
    for known in [&first, &one, &state] {
        let (named, found) = present(place, known).await;
        assert_eq!((named, &found), (version.clone(), &state));
        assert_eq!(found.history.revisions().count(), HISTORY);
    }

    // The same document once more, under a later number.
    state.history.reissue(1_000, Author::default(), 9);
    version = place.put(&version, &state).await.unwrap().version;
    assert_eq!(present(place, &one).await, (version, state));
}

#[tokio::test]
async fn memory() {
    holds(&MemoryStore::default()).await;
}

#[tokio::test]
async fn files() {
    let directory = tempfile::tempdir().unwrap();
    let open = || FileStore::new(Arc::new(StateFile::new(directory.path())));
    holds(&open()).await;
    let (_, found) = present(&open(), &first()).await;
    assert_eq!(found.history.present().number, 1_001, "over a restart");
}

async fn connected(redis: &Redis) -> RedisStore {
    let endpoint = Endpoint::parse(&redis.url(), TlsFiles::default()).unwrap();
    let wire = Arc::new(RedisConnection::new(
        endpoint,
        "test",
        Duration::from_secs(10),
        redis::cmd("PING"),
    ));
    wire.is_up(wire.connect().await.unwrap());
    RedisStore::new(wire, Keys::new("test"))
}

#[tokio::test]
async fn redis() {
    let directory = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(directory.path()).unwrap();
    let one = connected(&redis).await;
    holds(&one).await;

    // Another replica sees the same, and a trial too.
    let other = connected(&redis).await;
    let (version, mut state) = present(&other, &first()).await;
    let revision = next(&state, 77).history.present().clone();
    state.canary = Canary::pick(revision, 50, vec!["a".to_owned(), "b".to_owned()]);
    let put = other.put(&version, &state).await.unwrap();
    assert_eq!(present(&one, &state).await, (put.version.clone(), state.clone()));
    // Each goes on from what the other one wrote.
    let newer = next(&state, 78);
    let put = one.put(&put.version, &newer).await.unwrap();
    assert_eq!(present(&other, &state).await, (put.version.clone(), newer.clone()));
    // One history gives way to another as a whole.
    let mut anew = first();
    anew.history = SettingsHistory::new("other".to_owned(), &Settings::default(), 1);
    let put = other.put(&put.version, &anew).await.unwrap();
    assert_eq!(present(&one, &newer).await, (put.version, anew));

    let keys = redis.keys("*").unwrap();
    assert!(keys.iter().all(|key| key.starts_with("test:{replicas}:")), "{keys:?}");
    redis.kill();
    assert!(one.load(&newer.history).await.is_err());
    let refused = one.put(&Version::new(), &newer).await;
    assert!(matches!(refused, Err(PutError::Unavailable(_))), "{refused:?}");
}
