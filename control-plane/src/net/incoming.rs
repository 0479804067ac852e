//! Incoming connections, with TLS or without. Handshakes run in tasks of their own, so a slow client delays nobody. A
//! connection whose peer does not read its answers is closed.

use super::bodies::Bodies;
use super::places::{Place, Places};
use super::tls::Acceptor;
use super::unread::{Answer, Unread};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

/// Connections that wait to be served.
pub(crate) const WAITING: usize = 128;
/// After a failure to accept, as for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What a client must send within [`FIRST`]: the preface of HTTP/2 (RFC 9113 section 3.4), or bytes that are not its beginning. What
/// follows has deadlines of its own.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const FIRST: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub(crate) struct Io {
    stream: Stream,
    /// Until the first bytes have come: how many of the preface have, and when they are due.
    waiting: Option<(usize, Pin<Box<Sleep>>)>,
    place: Place,
    unread: Unread,
    /// Bytes that the socket does not take.
    stalled: Option<Answer>,
    /// When to look at what is unread.
    due: Option<Pin<Box<Sleep>>>,
    bodies: Bodies,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    fn new(stream: Stream, place: Place, bodies: Bodies) -> Self {
        Self {
            stream,
            waiting: Some((0, Box::pin(tokio::time::sleep(FIRST)))),
            place,
            unread: Unread::default(),
            stalled: None,
            due: None,
            bodies,
        }
    }

    /// What it was answered and has not read yet.
    pub(crate) fn unread(&self) -> Unread {
        self.unread.clone()
    }

    /// The address of the other end.
    pub(crate) fn address(&self) -> IpAddr {
        self.place.address()
    }

    /// The names, DNS and URI, in the certificate that the other end has shown; `None` without one.
    pub(crate) fn names(&self) -> Option<Vec<String>> {
        let Stream::Tls(stream) = &self.stream else { return None };
        let shown = stream.get_ref().1.peer_certificates()?.first()?;
        let Ok(certificate) = EndEntityCert::try_from(shown) else {
            return Some(Vec::new());
        };
        let names = certificate.valid_dns_names().chain(certificate.valid_uri_names());
        Some(names.map(str::to_owned).collect())
    }

    /// Notes what was read. No longer waiting once it is a whole preface, or none.
    fn note_read(&mut self, read: &[u8]) {
        let Some((seen, _)) = &mut self.waiting else { return };
        let rest = PREFACE.get(*seen..).unwrap_or_default();
        let so_far = rest.len() > read.len() && rest.starts_with(read);
        if so_far {
            *seen += read.len();
        } else {
            self.waiting = None;
        }
    }

    /// # Errors
    /// An answer has waited to be read for longer than it may.
    fn look_after(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(since) = self.unread.oldest(context) else {
            return Ok(());
        };
        let last = since + self.bodies.pause;
        let due = self.due.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(last)));
        while due.as_mut().poll(context).is_ready() {
            if last <= Instant::now() {
                self.bodies.refuse();
                tracing::warn!(peer = %self.place.address(), "a connection closed: its answers are not read");
                return Err(io::ErrorKind::TimedOut.into());
            }
            // The oldest is another one than it was.
            due.as_mut().reset(last);
        }
        Ok(())
    }

    /// What the socket does not take is unread, too.
    fn written(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let unread = &self.unread;
        self.stalled.get_or_insert_with(|| unread.begin());
        self.look_after(context)?;
        Poll::Pending
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let own = self.get_mut();
        own.look_after(context)?;
        let before = buffer.filled().len();
        let read = match &mut own.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if read.is_ready() {
            let new = buffer.filled().get(before..).unwrap_or_default();
            own.note_read(new);
        } else if let Some((_, due)) = &mut own.waiting
            && due.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        let written = match &mut own.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        own.written(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let own = self.get_mut();
        let written = match &mut own.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
        };
        own.written(context, written)
    }

    /// So that bytes go from where they are, and their memory counts as free when the socket has taken them.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// Connections from now on, until told to stop.
pub(crate) fn accept(
    listener: TcpListener,
    tls: Option<Acceptor>,
    places: Arc<Places>,
    bodies: Bodies,
    mut stopped: watch::Receiver<bool>,
) -> mpsc::Receiver<(Io, SocketAddr)> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let tls = tls.map(Arc::new);
    tokio::spawn(async move {
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
                _ = stopped.changed() => return,
            };
            // One connection more than there are places for is closed.
            let Some(place) = places.take(peer.ip(), 1) else {
                tracing::debug!(%peer, "no place for a connection");
                continue;
            };
            // An error means that the peer is gone already.
            let _ = stream.set_nodelay(true);
            let (sender, bodies) = (sender.clone(), bodies.clone());
            match tls.clone() {
                Some(tls) => drop(tokio::spawn(async move {
                    match tls.accept(stream).await {
                        Ok(stream) => {
                            let io = Io::new(Stream::Tls(Box::new(stream)), place, bodies);
                            drop(sender.send((io, peer)).await);
                        }
                        Err(error) => tracing::debug!(%peer, %error, "no TLS connection"),
                    }
                })),
                None => drop(sender.send((Io::new(Stream::Plain(stream), place, bodies), peer)).await),
            }
        }
    });
    receiver
}
