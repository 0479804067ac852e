//! The control link as a state machine: when to connect, when to give up, what a message means for the connection.

use crate::Millis;
use crate::driver::host::ControlTransport;
use optimizer_proto::v1::FilterMessage;
use optimizer_proto::v1::filter_message::Body;
use prost::Message;

/// First wait after a failure.
const BACKOFF_MIN_MS: u64 = 100;
/// Longest wait: an operator who restarts the control plane sees the Envoys back within seconds.
const BACKOFF_MAX_MS: u64 = 3_000;
/// A stream that is silent for so long is dead, whatever the transport says. The control plane acknowledges a report each second.
const SILENCE_MS: u64 = 10_000;

/// State of the link in one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down {
        retry_at: Millis,
    },
    /// Opened, nothing heard yet. On a refused connection Envoy calls back for initial metadata all the same, so only a message
    /// counts as life.
    Opening {
        stream: u32,
        received_ms: Millis,
    },
    Up {
        stream: u32,
        received_ms: Millis,
    },
}

/// What the driver shall do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// Open a stream and say hello.
    Open,
    /// Cancel this stream; it is of no use any more.
    Cancel(u32),
}

/// The control link of one VM.
#[derive(Debug)]
pub struct Link {
    state: State,
    failures: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            state: State::Down { retry_at: 0 },
            failures: 0,
        }
    }
}

impl Link {
    /// What to do at a tick; `wanted` says whether this VM speaks for the Envoy, `random` spreads the retries of a fleet.
    pub fn tick(&mut self, wanted: bool, now_ms: Millis, random: u64) -> Step {
        match self.state {
            State::Down { retry_at } if wanted && (now_ms >= retry_at || retry_at > now_ms + 2 * BACKOFF_MAX_MS) => {
                Step::Open
            }
            State::Down { .. } => Step::Wait,
            State::Opening { stream, received_ms } | State::Up { stream, received_ms } => {
                if !wanted || now_ms.abs_diff(received_ms) > SILENCE_MS {
                    self.failed(now_ms, random);
                    return Step::Cancel(stream);
                }
                Step::Wait
            }
        }
    }

    /// The stream was opened.
    pub fn opened(&mut self, stream: u32, now_ms: Millis) {
        self.state = State::Opening {
            stream,
            received_ms: now_ms,
        };
    }

    /// Opening failed, or the stream ended.
    pub fn failed(&mut self, now_ms: Millis, random: u64) {
        let ceiling = BACKOFF_MIN_MS
            .saturating_mul(1 << self.failures.min(10))
            .min(BACKOFF_MAX_MS);
        self.failures = self.failures.saturating_add(1);
        // Between half and all of the ceiling: a fleet whose control plane restarts does not come back in step.
        let wait = ceiling / 2 + random % (ceiling / 2 + 1);
        self.state = State::Down {
            retry_at: now_ms.saturating_add(wait),
        };
    }

    /// Gives the stream up, to open another at the next tick; answers the one to cancel.
    pub fn renew(&mut self) -> Option<u32> {
        let stream = self.stream();
        self.state = State::Down { retry_at: 0 };
        stream
    }

    /// A message came; false when it is of a stream given up before.
    pub fn received(&mut self, from: u32, now_ms: Millis) -> bool {
        match self.state {
            State::Opening { stream, .. } | State::Up { stream, .. } if stream == from => {
                self.state = State::Up {
                    stream,
                    received_ms: now_ms,
                };
                self.failures = 0;
                true
            }
            _ => false,
        }
    }

    /// The stream closed; false when it is one given up before.
    pub fn closed(&mut self, closed: u32, now_ms: Millis, random: u64) -> bool {
        let ours = self.stream() == Some(closed);
        if ours {
            self.failed(now_ms, random);
        }
        ours
    }

    /// The stream, once the control plane has spoken on it.
    #[must_use]
    pub fn up(&self) -> Option<u32> {
        match self.state {
            State::Up { stream, .. } => Some(stream),
            _ => None,
        }
    }

    /// The stream, spoken on or not.
    #[must_use]
    pub fn stream(&self) -> Option<u32> {
        match self.state {
            State::Opening { stream, .. } | State::Up { stream, .. } => Some(stream),
            State::Down { .. } => None,
        }
    }
}

impl Link {
    /// Sends on the stream that is up; false when there is none or it just broke.
    pub(crate) fn send(&self, host: &impl ControlTransport, body: Body) -> bool {
        self.up().is_some_and(|stream| send_on(host, stream, body))
    }
}

/// Sends on this stream; false when it just broke.
pub(crate) fn send_on(host: &impl ControlTransport, stream: u32, body: Body) -> bool {
    host.send(stream, &FilterMessage { body: Some(body) }.encode_to_vec())
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_while_wanted() {
        let mut link = Link::default();
        assert_eq!(link.tick(false, 1000, 0), Step::Wait);
        assert_eq!(link.tick(true, 1000, 0), Step::Open);
        link.opened(5, 1000);
        assert_eq!(link.up(), None);
        assert!(link.received(5, 1001));
        assert_eq!(link.up(), Some(5));
        assert_eq!(link.tick(false, 1200, 0), Step::Cancel(5), "another VM leads now");
        assert_eq!(link.stream(), None);
    }

    #[test]
    fn waits_longer_after_each_failure_and_starts_over_after_a_message() {
        let mut link = Link::default();
        let mut waits = Vec::new();
        for _ in 0..8 {
            link.opened(1, 0);
            assert!(link.closed(1, 0, u64::MAX));
            let State::Down { retry_at } = link.state else {
                unreachable!()
            };
            waits.push(retry_at);
        }
        assert!(
            waits.windows(2).all(|pair| pair[0] <= pair[1]) && waits[7] <= BACKOFF_MAX_MS,
            "{waits:?}"
        );
        link.opened(2, 0);
        link.received(2, 0);
        link.closed(2, 0, 0);
        assert_eq!(
            link.state,
            State::Down {
                retry_at: BACKOFF_MIN_MS / 2
            }
        );
    }

    #[test]
    fn a_silent_stream_is_given_up_and_its_late_words_ignored() {
        let mut link = Link::default();
        link.opened(3, 0);
        assert_eq!(link.tick(true, SILENCE_MS, 0), Step::Wait);
        assert_eq!(link.tick(true, SILENCE_MS + 1, 0), Step::Cancel(3));
        assert!(!link.received(3, SILENCE_MS + 2));
        assert!(!link.closed(3, SILENCE_MS + 2, 0));
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_postpone_the_retry_for_ever() {
        let mut link = Link::default();
        link.opened(3, 1_000_000);
        link.closed(3, 1_000_000, 0);
        assert_eq!(link.tick(true, 10, 0), Step::Open);
    }
}
