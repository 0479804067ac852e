//! Replicas of the control plane that act as one: what they share in Redis, and how each hears of what another one did.

pub(crate) mod keys;
mod reading;

use crate::infrastructure::redis::Wire;
use crate::plane::Plane;
use keys::Keys;
use redis::RedisError;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Changes are looked for so often, beside being told of them.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is shared, and how.
#[derive(Debug)]
pub(crate) struct Replicas {
    pub(crate) wire: Arc<Wire>,
    pub(crate) keys: Keys,
    /// Whether what is shared has been seen since this process began.
    joined: watch::Sender<bool>,
    /// What the ConfigMap volume of this replica showed last.
    mounted: Mutex<Option<BTreeMap<String, String>>>,
}

/// A number that no other process has.
pub(crate) fn random() -> u64 {
    let mut bytes = [0_u8; 8];
    // Without a source of chance nothing else works either; the time then makes collisions at least unlikely.
    if SystemRandom::new().fill(&mut bytes).is_err() {
        return crate::plane::now_ms();
    }
    u64::from_le_bytes(bytes)
}

impl Replicas {
    /// Replicas below a prefix in one Redis.
    pub(crate) fn new(url: &str, prefix: &str) -> Result<Self, String> {
        Ok(Self {
            wire: Arc::new(Wire::new(url, "what replicas share")?),
            keys: Keys::new(prefix),
            joined: watch::channel(false).0,
            mounted: Mutex::default(),
        })
    }

    /// Why nothing can be agreed on at the moment.
    pub(crate) fn fault(&self) -> Option<String> {
        self.wire.fault()
    }

    /// Whether what is shared has been seen since this process began.
    pub(crate) fn has_joined(&self) -> bool {
        *self.joined.borrow()
    }

    /// Returns once it has.
    pub(crate) async fn joined(&self) {
        // The sender lives as long as this.
        let _ = self.joined.subscribe().wait_for(|joined| *joined).await;
    }

    /// Notes what the ConfigMap volume shows; false when it showed that before. Volumes follow a change up to a minute apart.
    pub(crate) fn mounts_anew(&self, keys: &BTreeMap<String, String>) -> bool {
        let mut mounted = self.mounted.lock().unwrap_or_else(PoisonError::into_inner);
        let anew = mounted.as_ref() != Some(keys);
        *mounted = Some(keys.clone());
        anew
    }

    /// What the volume shows was not taken: it is looked at again.
    pub(crate) fn forget_mount(&self) {
        *self.mounted.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Keeps in touch until told to stop.
    pub(crate) async fn run(self: Arc<Self>, plane: Arc<Plane>, mut stopped: watch::Receiver<bool>) {
        loop {
            match self.wire.address().connect().await {
                Ok(connection) => {
                    self.wire.is_up(connection);
                    tokio::select! {
                        () = self.wire.until_lost() => {}
                        error = self.hear(&plane) => self.wire.give_up(crate::infrastructure::redis::reason(&error)),
                        () = self.look(&plane) => {}
                        _ = stopped.changed() => return,
                    }
                }
                Err(error) => self.wire.is_down(&error),
            }
            tokio::select! {
                () = self.wire.pause() => {}
                _ = stopped.changed() => return,
            }
        }
    }

    /// Looks for changes that nobody has told of.
    async fn look(&self, plane: &Arc<Plane>) {
        loop {
            self.settings(plane).await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn settings(&self, plane: &Plane) {
        match plane.refresh().await {
            Ok(()) => {
                self.joined.send_replace(true);
            }
            Err(reason) => tracing::warn!(reason, "shared settings cannot be read"),
        }
    }

    /// Hears of changes until the connection fails.
    async fn hear(&self, plane: &Arc<Plane>) -> RedisError {
        let mut reader = match reading::Reader::open(self.wire.address(), &self.keys).await {
            Ok(reader) => reader,
            Err(error) => return error,
        };
        loop {
            match reader.next().await {
                Ok(news) if news.settings => self.settings(plane).await,
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }
}
