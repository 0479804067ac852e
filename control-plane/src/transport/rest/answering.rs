//! Answers as they are read: a large one takes memory until the connection has taken all of it, and goes out in pieces, each of which is to be read in time.

use crate::net::bodies::{Bodies, SMALL};
use crate::net::outbox::with;
use crate::net::unread::{Reserved, Unread};
use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Longest piece of an answer.
const PIECE: usize = 64 << 10;

/// The body of an answer.
pub(super) struct Answering {
    body: Body,
    to: IpAddr,
    bodies: Bodies,
    unread: Unread,
    /// That of the whole answer, where its length was known.
    whole: Option<Arc<Reserved>>,
    /// What has come of the body and not gone, with its reservation.
    rest: Bytes,
    of_rest: Option<Arc<Reserved>>,
}

impl Answering {
    /// `None` when a large answer finds no memory. One of up to [`SMALL`] bytes needs none: the number of requests at a time is bounded.
    pub(super) fn of(answer: Response, bodies: &Bodies, to: IpAddr, unread: Unread) -> Option<Response> {
        let length = answer.body().size_hint().exact();
        let length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let whole = match length.filter(|length| *length > SMALL) {
            Some(length) => Some(Arc::new(bodies.answers.take(to, length)?)),
            None => None,
        };
        Some(answer.map(|body| {
            Body::new(Self {
                body,
                to,
                bodies: bodies.clone(),
                unread,
                whole,
                rest: Bytes::new(),
                of_rest: None,
            })
        }))
    }

    /// Takes what has come of the body.
    fn take(&mut self, data: Bytes) -> Result<(), axum::Error> {
        self.of_rest.clone_from(&self.whole);
        if self.whole.is_none() && data.len() > SMALL {
            let reserved = self.bodies.answers.take(self.to, data.len());
            let reserved = reserved.ok_or_else(|| {
                self.bodies.refuse();
                axum::Error::new(NoMemory)
            })?;
            self.of_rest = Some(Arc::new(reserved));
        }
        self.rest = data;
        Ok(())
    }

    fn piece(&mut self) -> Frame<Bytes> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        Frame::data(with(piece, (self.of_rest.clone(), self.unread.begin())))
    }
}

/// An answer whose length was not known found no memory.
#[derive(Debug, thiserror::Error)]
#[error("too much waits to be read")]
struct NoMemory;

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let own = self.get_mut();
        if !own.rest.is_empty() {
            return Poll::Ready(Some(Ok(own.piece())));
        }
        own.of_rest = None;
        Pin::new(&mut own.body).poll_frame(context).map(|next| {
            next.map(|frame| match frame?.into_data() {
                Ok(data) => own.take(data).map(|()| own.piece()),
                Err(other) => Ok(other),
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let (of_body, mut hint) = (self.body.size_hint(), SizeHint::new());
        hint.set_lower(of_body.lower().saturating_add(rest));
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::places::Places;
    use std::future::poll_fn;
    use std::sync::atomic::Ordering;
    use std::time::Duration;
    use tokio_stream::StreamExt;

    const MB: usize = 1 << 20;
    const TO: [u8; 4] = [10, 0, 0, 1];

    fn bodies() -> Bodies {
        Bodies::new(Duration::from_secs(1), Places::new(1, 1), Arc::default())
    }

    fn answering(bodies: &Bodies, body: Body) -> Option<Body> {
        let answer = Answering::of(Response::new(body), bodies, TO.into(), Unread::default());
        answer.map(Response::into_body)
    }

    fn is_free(bodies: &Bodies, bytes: usize) -> bool {
        let free = |bytes| bodies.answers.take(TO.into(), bytes).is_some();
        free(bytes) && !free(bytes + 1)
    }

    async fn next(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    #[tokio::test]
    async fn a_large_answer_has_room_until_its_last_piece_is_taken() {
        let bodies = bodies();
        let mut body = answering(&bodies, Body::from(vec![0; MB])).unwrap();
        assert!(is_free(&bodies, 15 * MB) && body.size_hint().exact() == Some(1 << 20));
        let mut pieces = Vec::new();
        while let Some(piece) = next(&mut body).await {
            pieces.push(piece.unwrap());
        }
        drop(body);
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [64 << 10; 16]);
        pieces.drain(1..);
        assert!(is_free(&bodies, 15 * MB));
        pieces.clear();
        assert!(bodies.answers.take(TO.into(), 16 * MB).is_some());
    }

    #[tokio::test]
    async fn an_answer_without_room_is_refused_or_breaks_off() {
        let bodies = bodies();
        let _taken = bodies.answers.take(TO.into(), 16 * MB).unwrap();
        assert!(answering(&bodies, Body::from(vec![0; (16 << 10) + 1])).is_none());
        let small = [vec![0; 16 << 10]];
        let large = [vec![0; (16 << 10) + 1]];
        let streamed = tokio_stream::iter(small.clone()).chain(tokio_stream::iter(large));
        let streamed = Body::from_stream(streamed.map(Ok::<_, axum::Error>));
        let mut streamed = answering(&bodies, streamed).unwrap();
        assert!(next(&mut streamed).await.is_some_and(|piece| piece.is_ok()));
        assert!(next(&mut streamed).await.is_some_and(|piece| piece.is_err()));
        assert_eq!(bodies.refused.load(Ordering::Relaxed), 1);
        let [small] = small;
        assert!(answering(&bodies, Body::from(small)).is_some(), "it needs none");
    }
}
