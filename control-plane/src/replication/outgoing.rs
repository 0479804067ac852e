//! What is on its way to the other replicas. It waits here while Redis is away, within a bound.

use crate::kernel::sync::lock;
use crate::redis::RedisConnection;
use control_domain::purges::tier_order::Fence;
use redis::{Cmd, FromRedisValue, Value};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Beyond this, entries that can be sent again later, or omitted, are not queued.
const ROOM: usize = 32 << 20;
/// Entries under way together: a slow Redis takes as many as a quick one.
const AT_ONCE: usize = 100;
const RETRY: Duration = Duration::from_millis(200);
/// Longest wait for an entry to be taken.
const TAKEN: Duration = Duration::from_millis(500);

/// Which stream an entry goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Journal,
    Updates,
}

struct Waiting {
    stream: Stream,
    command: Cmd,
    bytes: usize,
    taken: oneshot::Sender<()>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

/// The queue, in the order in which entries are to be taken.
#[derive(Default)]
pub(super) struct Outgoing {
    queue: Mutex<Queue>,
    more: Notify,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("waiting", &self.queue().waiting.len())
            .finish()
    }
}

impl Outgoing {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    pub(super) fn has_room(&self) -> bool {
        self.queue().bytes < ROOM
    }

    /// Puts an entry behind the others; what comes back tells when it was taken.
    pub(super) fn put(&self, stream: Stream, command: Cmd) -> oneshot::Receiver<()> {
        let (taken, told) = oneshot::channel();
        let bytes = command.get_packed_command().len();
        let mut queue = self.queue();
        queue.bytes += bytes;
        queue.waiting.push_back(Waiting {
            stream,
            command,
            bytes,
            taken,
        });
        drop(queue);
        self.more.notify_one();
        told
    }

    /// Waits until an entry was taken, but not for long; false when it still waits.
    pub(super) async fn taken(told: oneshot::Receiver<()>) -> bool {
        matches!(tokio::time::timeout(TAKEN, told).await, Ok(Ok(())))
    }

    /// Writes what waits, and what comes; tells the ids of the entries of the journal.
    pub(super) async fn write(&self, wire: &RedisConnection, journaled: impl Fn(Fence)) {
        loop {
            let next: Vec<Cmd> = {
                let queue = self.queue();
                let waiting = queue.waiting.iter().take(AT_ONCE);
                waiting.map(|waiting| waiting.command.clone()).collect()
            };
            if next.is_empty() {
                self.more.notified().await;
                continue;
            }
            let written = wire.ask_all(&next).await;
            let Ok(ids) = wire.note(written) else {
                // Some may have been taken all the same: entries do no harm twice.
                tokio::time::sleep(RETRY).await;
                continue;
            };
            self.taken_off(next.len(), &ids, &journaled);
        }
    }

    fn taken_off(&self, count: usize, ids: &[Value], journaled: &impl Fn(Fence)) {
        let mut queue = self.queue();
        for at in 0..count {
            let Some(waiting) = queue.waiting.pop_front() else {
                return;
            };
            let id = ids.get(at).and_then(|id| String::from_redis_value_ref(id).ok());
            if waiting.stream == Stream::Journal
                && let Some(id) = id.and_then(|id| Fence::parse(&id))
            {
                journaled(id);
            }
            queue.bytes = queue.bytes.saturating_sub(waiting.bytes);
            // Whoever waited may have given up.
            let _ = waiting.taken.send(());
        }
    }
}
