//! Calls and streams to clusters, from their start to their end. Envoy tells their progress on the main thread, at times before the call
//! that starts one has returned: until then there is one that is starting.

use crate::grpc::{self, Frames};
use crate::note::Note;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What kind of call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Messages both ways, until somebody ends it.
    Stream,
    /// One message each way.
    Unary,
    /// A request without content.
    Call,
}

#[derive(Debug)]
struct Link {
    number: u32,
    owner: u32,
    kind: Kind,
    frames: Frames,
    answer: Vec<u8>,
    status: Option<u32>,
}

/// Envoy's number within one configuration. The address only tells configurations apart.
type Id = (usize, u64);

#[derive(Debug, Default)]
struct Known {
    links: HashMap<Id, Link>,
    starting: Option<Link>,
    open: HashSet<u32>,
}

/// All of this process.
#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<Known>);

/// Whom to tell what.
pub(crate) type Notice = (u32, Note);

impl Link {
    fn end(self, status: u32) -> Notice {
        let note = match self.kind {
            Kind::Stream => Note::Closed {
                stream: self.number,
                status,
            },
            Kind::Unary => Note::Asked {
                number: self.number,
                status,
                message: self.answer,
            },
            Kind::Call => Note::called_in_vain(self.number),
        };
        (self.owner, note)
    }
}

impl Known {
    fn get(&mut self, id: Id) -> Option<&mut Link> {
        match self.links.get_mut(&id) {
            Some(link) => Some(link),
            None => self.starting.as_mut(),
        }
    }

    fn take(&mut self, id: Id) -> Option<Link> {
        let link = self.links.remove(&id).or_else(|| self.starting.take())?;
        self.open.remove(&link.number);
        Some(link)
    }
}

fn id(config: usize, number: u64) -> Id {
    (config, number)
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream will be opened: from now on messages may be sent on it.
    pub(crate) fn open(&self, number: u32) {
        self.lock().open.insert(number);
    }

    /// Whether a stream is open, or about to be.
    pub(crate) fn is_open(&self, number: u32) -> bool {
        self.lock().open.contains(&number)
    }

    /// A stream will not be opened after all.
    pub(crate) fn close(&self, number: u32) {
        self.lock().open.remove(&number);
    }

    /// A call is about to be started.
    pub(crate) fn begin(&self, number: u32, owner: u32, kind: Kind) {
        self.lock().starting = Some(Link {
            number,
            owner,
            kind,
            frames: Frames::default(),
            answer: Vec::new(),
            status: None,
        });
    }

    /// It was started under this number, or could not be. What its owner is told, unless that was told already.
    pub(crate) fn begun(&self, config: usize, started: Option<u64>, number: u32) -> Option<Note> {
        let mut known = self.lock();
        let link = known.starting.take_if(|link| link.number == number)?;
        match started {
            Some(envoys) => {
                known.links.insert(id(config, envoys), link);
                None
            }
            None if link.kind == Kind::Call => Some(Note::Refused { number }),
            None => {
                known.open.remove(&number);
                Some(link.end(grpc::UNAVAILABLE).1)
            }
        }
    }

    /// Envoy's number of a stream of this configuration.
    pub(crate) fn id_of(&self, config: usize, number: u32) -> Option<u64> {
        let known = self.lock();
        let mut links = known.links.iter();
        let found = links.find(|(id, link)| id.0 == config && link.number == number);
        found.map(|(id, _)| id.1)
    }

    /// Forgets a stream; answers Envoy's number.
    pub(crate) fn forget(&self, config: usize, number: u32) -> Option<u64> {
        self.close(number);
        let found = self.id_of(config, number)?;
        self.lock().take(id(config, found));
        Some(found)
    }

    /// Lines of a head or of trailers came.
    pub(crate) fn lines<'l>(&self, config: usize, envoys: u64, lines: impl Iterator<Item = (&'l [u8], &'l [u8])>) {
        let status = grpc::status_in(lines);
        if let Some(link) = self.lock().get(id(config, envoys)) {
            link.status = link.status.filter(|status| *status != grpc::OK).or(status);
        }
    }

    /// Content came. Whom to tell of messages; with an error where the stream is of no use any more and is to be reset.
    pub(crate) fn content<'c>(
        &self,
        config: usize,
        envoys: u64,
        chunks: impl Iterator<Item = &'c [u8]>,
    ) -> Result<Vec<Notice>, Vec<Notice>> {
        let mut known = self.lock();
        let Some(link) = known.get(id(config, envoys)) else {
            return Ok(Vec::new());
        };
        chunks.for_each(|chunk| link.frames.push(chunk));
        let mut notices = Vec::new();
        loop {
            match link.frames.next() {
                Ok(None) => return Ok(notices),
                Ok(Some(message)) if link.kind == Kind::Stream => notices.push((
                    link.owner,
                    Note::Message {
                        stream: link.number,
                        message,
                    },
                )),
                Ok(Some(message)) => link.answer = message,
                Err(grpc::Unreadable) => {
                    if let Some(link) = known.take(id(config, envoys)) {
                        notices.push(link.end(grpc::INTERNAL));
                    }
                    return Err(notices);
                }
            }
        }
    }

    /// It has come to its end, or was reset. Whom to tell.
    pub(crate) fn ended(&self, config: usize, envoys: u64, reset: bool) -> Option<Notice> {
        let link = self.lock().take(id(config, envoys))?;
        let otherwise = if reset { grpc::UNAVAILABLE } else { grpc::UNKNOWN };
        let status = link.status.unwrap_or(otherwise);
        Some(link.end(status))
    }

    /// A callout has ended: who made it, and its number there.
    pub(crate) fn called(&self, config: usize, envoys: u64) -> Option<(u32, u32)> {
        let link = self.lock().take(id(config, envoys))?;
        Some((link.owner, link.number))
    }

    /// A configuration is gone, and its calls with it. Whom to tell.
    pub(crate) fn drop_config(&self, config: usize) -> Vec<Notice> {
        let mut known = self.lock();
        let ids: Vec<Id> = known.links.keys().filter(|id| id.0 == config).copied().collect();
        let gone = ids.into_iter().filter_map(|id| known.take(id));
        gone.map(|link| link.end(grpc::UNAVAILABLE)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> usize {
        5
    }

    fn started(links: &Links, kind: Kind) {
        links.open(7);
        links.begin(7, 1, kind);
        assert!(links.begun(config(), Some(3), 7).is_none());
    }

    #[test]
    fn messages_of_a_stream_reach_its_owner_until_it_ends() {
        let links = Links::default();
        started(&links, Kind::Stream);
        let sent = [grpc::frame(b"a"), grpc::frame(b"b")].concat();
        let notices = links.content(config(), 3, sent.chunks(4)).unwrap();
        let read: Vec<&[u8]> = notices
            .iter()
            .map(|notices| match notices {
                (1, Note::Message { stream: 7, message }) => message.as_slice(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(read, [b"a", b"b"]);
        links.lines(config(), 3, [(&b"grpc-status"[..], &b"7"[..])].into_iter());
        let end = links.ended(config(), 3, false);
        assert!(
            matches!(end, Some((1, Note::Closed { stream: 7, status: 7 }))),
            "{end:?}"
        );
        assert!(!links.is_open(7) && links.ended(config(), 3, true).is_none());
    }

    #[test]
    fn one_that_ends_while_it_is_started_is_told_once() {
        let links = Links::default();
        links.begin(7, 1, Kind::Unary);
        let end = links.ended(config(), 3, true);
        let Some((1, Note::Asked { number: 7, status, .. })) = end else {
            panic!("{end:?}");
        };
        assert_eq!(status, grpc::UNAVAILABLE);
        assert!(links.begun(config(), Some(3), 7).is_none() && links.begun(config(), None, 7).is_none());
    }

    #[test]
    fn nothing_is_told_of_one_given_up() {
        let links = Links::default();
        started(&links, Kind::Stream);
        assert_eq!(links.forget(config(), 7), Some(3));
        assert!(links.ended(config(), 3, true).is_none() && !links.is_open(7));
    }

    #[test]
    fn an_unreadable_message_ends_the_call() {
        let links = Links::default();
        started(&links, Kind::Stream);
        let notices = links
            .content(config(), 3, [&[1_u8, 0, 0, 0, 0][..]].into_iter())
            .unwrap_err();
        assert!(matches!(
            notices.as_slice(),
            [(
                1,
                Note::Closed {
                    stream: 7,
                    status: grpc::INTERNAL
                }
            )]
        ));
    }

    #[test]
    fn calls_end_with_their_configuration() {
        let links = Links::default();
        started(&links, Kind::Call);
        let notices = links.drop_config(config());
        assert!(matches!(
            notices.as_slice(),
            [(
                1,
                Note::Called {
                    number: 7,
                    lines: 0,
                    ..
                }
            )]
        ));
        assert!(links.drop_config(config()).is_empty());
    }
}
