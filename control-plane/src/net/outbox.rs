//! The messages of a gRPC call to its peer. A message reserves memory before it is made and until the connection has
//! taken all of it; meanwhile one more may be made, and no third.

use super::unread::{Answer, BUDGET, BUDGET_EACH, ByteBudget, Reserved, Unread};
use crate::kernel::sync::lock;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use prost::Message;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::{Request, Status};

/// Messages of a stream that wait behind the one that is being read.
pub(crate) const QUEUED: usize = 1;

/// The memory reserved for a message, and since when.
pub(crate) type Reservation = (Reserved, Answer);

/// The way of a call's messages to its peer. Clones are of one and the same.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    budget: Arc<ByteBudget>,
    to: IpAddr,
    unread: Unread,
    /// How long to wait for memory.
    pause: Duration,
    refused: Arc<AtomicU64>,
    /// Of messages that the connection is about to take.
    leaving: Arc<Mutex<Vec<Reservation>>>,
}

impl Default for Outbox {
    fn default() -> Self {
        let budget = ByteBudget::new(BUDGET, BUDGET_EACH);
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self::new(budget, nowhere, Unread::default(), Duration::ZERO, Arc::default())
    }
}

impl Outbox {
    /// Waits for memory as long as `pause`, and counts a refusal when there is none.
    pub(crate) fn new(
        budget: Arc<ByteBudget>,
        to: IpAddr,
        unread: Unread,
        pause: Duration,
        refused: Arc<AtomicU64>,
    ) -> Self {
        Self {
            budget,
            to,
            unread,
            pause,
            refused,
            leaving: Arc::default(),
        }
    }

    /// That of a call.
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    /// Reserves memory for the only message of a call, which is there already.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn keep(&self, bytes: usize) -> Result<(), Status> {
        let taken = self.budget.take(self.to, bytes).ok_or_else(|| self.refuse())?;
        lock(&self.leaving).push((taken, self.unread.begin()));
        Ok(())
    }

    /// Reserves memory for all answers of a call, until the reservation is dropped.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<Reserved, Status> {
        self.budget.take(self.to, bytes).ok_or_else(|| self.refuse())
    }

    fn refuse(&self) -> Status {
        self.refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(to = %self.to, "too many answers wait to be read");
        Status::unavailable("too much waits to be read; try again")
    }
}

/// A stream's messages, made and taken.
pub(crate) fn channel<M>(outbox: Outbox) -> (Sender<M>, Messages<M>) {
    let (sender, receiver) = mpsc::channel(QUEUED);
    let messages = Messages {
        queue: receiver,
        outbox: outbox.clone(),
    };
    (Sender { queue: sender, outbox }, messages)
}

/// Where messages of a stream are made.
#[derive(Debug)]
pub(crate) struct Sender<M> {
    queue: mpsc::Sender<Result<(M, Reservation), Status>>,
    outbox: Outbox,
}

impl<M: Message> Sender<M> {
    /// Waits for memory for a message of at most this many bytes; to be called before the message is made. `None` when
    /// there is none in time: the stream ends.
    pub(crate) async fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let Outbox {
            budget,
            to,
            pause,
            unread,
            ..
        } = &self.outbox;
        match tokio::time::timeout(*pause, budget.wait(*to, bytes)).await {
            Ok(Some(taken)) => Some((taken, unread.begin())),
            _ => {
                // Where another message waits, the end alone is told.
                let _ = self.queue.try_send(Err(self.outbox.refuse()));
                None
            }
        }
    }

    /// Sends a message for which memory is reserved. False when nobody listens any more.
    pub(crate) async fn send(&self, message: M, mut reservation: Reservation) -> bool {
        reservation.0.shrink(message.encoded_len());
        self.queue.send(Ok((message, reservation))).await.is_ok()
    }

    /// Ends the stream.
    pub(crate) async fn end(&self, status: Status) {
        // Gone is as good as told.
        let _ = self.queue.send(Err(status)).await;
    }
}

/// Where they are taken.
#[derive(Debug)]
pub(crate) struct Messages<M> {
    queue: mpsc::Receiver<Result<(M, Reservation), Status>>,
    outbox: Outbox,
}

impl<M> Stream for Messages<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.queue.poll_recv(context).map(|next| {
            next.map(|message| {
                let (message, owner) = message?;
                lock(&self.outbox.leaving).push(owner);
                Ok(message)
            })
        })
    }
}

/// Bytes, with an owner that is dropped with them.
struct Owned<K> {
    bytes: Bytes,
    _owner: K,
}

impl<K> AsRef<[u8]> for Owned<K> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The same bytes. `owner` is dropped with the last of them, which is when the connection has taken all.
pub(crate) fn with<K: Send + 'static>(bytes: Bytes, owner: K) -> Bytes {
    Bytes::from_owner(Owned { bytes, _owner: owner })
}

/// The body of an answer whose messages keep their reservation until the connection has taken them.
#[derive(Debug)]
pub(crate) struct Leaving<B> {
    body: B,
    outbox: Outbox,
}

impl<B> Leaving<B> {
    pub(crate) fn new(body: B, outbox: Outbox) -> Self {
        Self { body, outbox }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Leaving<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = Pin::new(&mut self.body).poll_frame(context);
        next.map_ok(|frame| {
            let owner = std::mem::take(&mut *lock(&self.outbox.leaving));
            if owner.is_empty() {
                return frame;
            }
            frame.map_data(|data| with(data, owner))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tonic::Code;

    const SECOND: Duration = Duration::from_secs(1);

    /// A stream with a budget of a hundred bytes.
    fn stream() -> (Outbox, Sender<String>, Messages<String>) {
        let to = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let outbox = Outbox::new(ByteBudget::new(100, 100), to, Unread::default(), SECOND, Arc::default());
        let (sender, messages) = channel(outbox.clone());
        (outbox, sender, messages)
    }

    /// A message of ten bytes, two of which are its head.
    async fn say(sender: &Sender<String>) -> bool {
        let reservation = sender.reserve(20).await.unwrap();
        let said = tokio::time::timeout(SECOND, sender.send("x".repeat(8), reservation));
        said.await.unwrap_or(false)
    }

    fn is_free(outbox: &Outbox, bytes: usize) -> bool {
        let free = |bytes| outbox.budget.take(outbox.to, bytes).is_some();
        free(bytes) && !free(bytes + 1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_has_its_room_until_the_connection_has_taken_it() {
        let (outbox, sender, messages) = stream();
        let body = axum::body::Body::from_stream(messages);
        let mut body = Leaving::new(body, outbox.clone());
        let reservation = sender.reserve(20).await.unwrap();
        assert!(is_free(&outbox, 80));
        assert!(sender.send("x".repeat(8), reservation).await && is_free(&outbox, 90));
        let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let data = frame.unwrap().unwrap().into_data().unwrap();
        assert!(data == "x".repeat(8) && is_free(&outbox, 90));
        let context = &Context::from_waker(std::task::Waker::noop());
        assert!(outbox.unread.oldest(context).is_some());
        drop(data);
        assert!(outbox.budget.take(outbox.to, 100).is_some() && outbox.unread.oldest(context).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_message_waits_behind_the_one_that_is_read() {
        let (outbox, sender, mut messages) = stream();
        assert!(say(&sender).await && !say(&sender).await, "nothing is read");
        let first = poll_fn(|context| Pin::new(&mut messages).poll_next(context)).await;
        assert!(first.unwrap().is_ok());
        assert!(say(&sender).await && !say(&sender).await, "nothing more is read");
        assert!(is_free(&outbox, 80), "memory of two");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_room_ends_and_is_counted() {
        let (outbox, sender, mut messages) = stream();
        let taken = outbox.budget.take(outbox.to, 90).unwrap();
        assert!(sender.reserve(11).await.is_none());
        assert_eq!(outbox.refused.load(Ordering::Relaxed), 1);
        let told = poll_fn(|context| Pin::new(&mut messages).poll_next(context)).await;
        assert_eq!(told.unwrap().unwrap_err().code(), Code::Unavailable);
        drop(taken);
        assert!(sender.reserve(11).await.is_some());
        outbox.keep(100).unwrap();
        assert_eq!(outbox.keep(1).unwrap_err().code(), Code::Unavailable);
        assert_eq!(outbox.refused.load(Ordering::Relaxed), 2);
    }
}
