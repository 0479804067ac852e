//! Answers that peers have not read yet: how many bytes of them there are at a port and of one address, and since when a connection has had them.

use crate::kernel::sync::lock;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Waker};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bytes of answers that wait to be read at a port, and of one address among them.
pub(crate) const BUDGET: usize = 64 << 20;
pub(crate) const BUDGET_EACH: usize = BUDGET / 4;

/// The memory of a port for answers. Those who wait for it get it in order of arrival.
#[derive(Debug)]
pub(crate) struct ByteBudget {
    all: Arc<Semaphore>,
    each: usize,
    /// What is left of the budget of each address that holds or awaits some.
    left: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

/// An address that holds or awaits memory. Without any, nothing is remembered of it.
#[derive(Debug)]
struct Own {
    budget: Arc<ByteBudget>,
    address: IpAddr,
    left: Option<Arc<Semaphore>>,
}

impl Drop for Own {
    fn drop(&mut self) {
        let mut left = lock(&self.budget.left);
        drop(self.left.take());
        if left.get(&self.address).is_some_and(|own| own.strong_count() == 0) {
            left.remove(&self.address);
        }
    }
}

/// Memory that is reserved. Dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Reserved {
    // Given back before the address is forgotten.
    own: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
    _address: Own,
}

impl Reserved {
    /// Gives back what an answer of this length does not need.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        for permit in [&mut self.own, &mut self.all] {
            let more = permit.num_permits().saturating_sub(bytes);
            drop(permit.split(more));
        }
    }
}

impl ByteBudget {
    pub(crate) fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(all)),
            each,
            left: Mutex::default(),
        })
    }

    fn own(self: &Arc<Self>, address: IpAddr) -> (Own, Arc<Semaphore>) {
        let mut left = lock(&self.left);
        let known = left.get(&address).and_then(Weak::upgrade);
        let own = known.unwrap_or_else(|| {
            let new = Arc::new(Semaphore::new(self.each));
            left.insert(address, Arc::downgrade(&new));
            new
        });
        let address = Own {
            budget: Arc::clone(self),
            address,
            left: Some(Arc::clone(&own)),
        };
        (address, own)
    }

    /// An answer that is longer than an address may have takes all of that.
    fn amount(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.each)).unwrap_or(u32::MAX)
    }

    /// Reserves memory for an answer, as soon as there is.
    pub(crate) async fn wait(self: &Arc<Self>, address: IpAddr, bytes: usize) -> Option<Reserved> {
        let (bytes, (address, own)) = (self.amount(bytes), self.own(address));
        let own = own.acquire_many_owned(bytes).await.ok()?;
        let all = Arc::clone(&self.all).acquire_many_owned(bytes).await.ok()?;
        Some(Reserved {
            own,
            all,
            _address: address,
        })
    }

    /// Reserves memory for an answer, if there is some at the moment.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr, bytes: usize) -> Option<Reserved> {
        let (bytes, (address, own)) = (self.amount(bytes), self.own(address));
        let own = own.try_acquire_many_owned(bytes).ok()?;
        let all = Arc::clone(&self.all).try_acquire_many_owned(bytes).ok()?;
        Some(Reserved {
            own,
            all,
            _address: address,
        })
    }
}

/// What a connection was answered and has not read yet. Clones are of one and the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread {
    answers: Arc<Mutex<Answers>>,
}

#[derive(Debug, Default)]
struct Answers {
    next: u64,
    /// Since when, by number: the first is the oldest.
    since: BTreeMap<u64, Instant>,
    /// Who looks after the oldest.
    waker: Option<Waker>,
}

/// An answer on its way. Dropped, it is read, or nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct Answer {
    unread: Unread,
    number: u64,
}

impl Unread {
    /// One more answer is on its way.
    pub(crate) fn begin(&self) -> Answer {
        let mut answers = lock(&self.answers);
        let number = answers.next;
        answers.next += 1;
        answers.since.insert(number, Instant::now());
        if answers.since.len() == 1
            && let Some(waker) = answers.waker.take()
        {
            waker.wake();
        }
        let unread = self.clone();
        Answer { unread, number }
    }

    /// Since when the oldest has waited. When there is none, `context` is woken by the next one.
    pub(crate) fn oldest(&self, context: &Context<'_>) -> Option<Instant> {
        let mut answers = lock(&self.answers);
        let oldest = answers.since.first_key_value().map(|(_, since)| *since);
        if oldest.is_none() {
            answers.waker = Some(context.waker().clone());
        }
        oldest
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        lock(&self.unread.answers).since.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MB: usize = 1 << 20;

    fn addresses() -> [IpAddr; 5] {
        [1, 2, 3, 4, 5].map(|last| IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn so_much_waits_to_be_read_in_all_and_of_each_address() {
        let budget = ByteBudget::new(BUDGET, BUDGET_EACH);
        let [a, b, c, d, e] = addresses();
        let _first = budget.take(a, 16 * MB).unwrap();
        assert!(budget.take(a, 1).is_none(), "its own is taken");
        let _others = [b, c].map(|address| budget.take(address, 16 * MB).unwrap());
        let last = budget.take(d, 16 * MB).unwrap();
        assert!(budget.take(e, 1).is_none(), "all is taken");
        drop(last);
        let mut last = budget.take(e, 17 * MB).unwrap();
        assert!(budget.take(d, 1).is_none(), "one that is longer takes all of its own");
        last.shrink(10);
        assert!(budget.take(e, 16 * MB - 9).is_none());
        assert!(budget.take(e, 16 * MB - 10).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_waited_for_and_given_back() {
        let budget = ByteBudget::new(10, 5);
        let [a, b, ..] = addresses();
        let taken = budget.take(a, 5).unwrap();
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, budget.wait(a, 1)).await.is_err());
        let other = tokio::time::timeout(second, budget.wait(b, 5)).await.unwrap();
        let (waited, ()) = tokio::join!(tokio::time::timeout(second, budget.wait(a, 5)), async { drop(taken) });
        assert_eq!(lock(&budget.left).len(), 2);
        drop((waited.unwrap(), other));
        assert!(lock(&budget.left).is_empty(), "nobody is remembered");
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_answer_is_known() {
        let unread = Unread::default();
        let context = Context::from_waker(Waker::noop());
        assert_eq!(unread.oldest(&context), None);
        let begun = Instant::now();
        let first = unread.begin();
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = unread.begin();
        assert_eq!(unread.oldest(&context), Some(begun));
        drop(first);
        assert_eq!(unread.oldest(&context), Some(begun + Duration::from_secs(1)));
        drop(second);
        assert_eq!(unread.oldest(&context), None);
    }
}
