//! Load at a constant rate that does not wait for answers: a request that is late because those before it were slow counts from when
//! it was due, so that a stall shows in all the requests it met.

use e2e::client::{Connection, Request};
use e2e::times::Times;
use e2e::{Failure, Result};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Requests that can be under way at once.
const CONNECTIONS: u32 = 32;

/// What to ask.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    /// Requests per second.
    pub(crate) rate: u32,
    pub(crate) lasts: Duration,
    /// URLs asked for in turns: this, and a number below `keys`.
    pub(crate) path: &'static str,
    pub(crate) keys: u32,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) times: Times,
    /// Answers with 5xx, and connections that broke.
    pub(crate) failed: u64,
    /// Answers from the cache.
    pub(crate) hits: u64,
}

impl Load {
    /// Every URL once, so that caches are warm.
    pub(crate) fn warm(&self) -> Result<()> {
        let mut connection = Connection::open(self.address)?;
        for key in 0..self.keys {
            connection.exchange(&self.request(key))?;
        }
        Ok(())
    }

    /// Runs it.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let begin = Instant::now() + Duration::from_millis(100);
        let mut all = Outcome {
            times: Times::new()?,
            failed: 0,
            hits: 0,
        };
        std::thread::scope(|scope| {
            let lines: Vec<_> = (0..CONNECTIONS)
                .map(|line| scope.spawn(move || self.line(line, begin)))
                .collect();
            for line in lines {
                let part = line.join().map_err(|_| Failure::new("a load thread panicked"))??;
                all.times.merge(&part.times)?;
                all.failed += part.failed;
                all.hits += part.hits;
            }
            Ok(all)
        })
    }

    fn request(&self, key: u32) -> Request {
        Request::get(&format!("{}{}", self.path, key % self.keys.max(1)))
    }

    /// Every 32nd request, each when it is due.
    fn line(&self, line: u32, begin: Instant) -> Result<Outcome> {
        let mut seen = Outcome {
            times: Times::new()?,
            failed: 0,
            hits: 0,
        };
        let mut connection = None;
        for number in (line..).step_by(CONNECTIONS as usize) {
            let after = Duration::from_secs(1) * number / self.rate;
            if after >= self.lasts {
                return Ok(seen);
            }
            let due = begin + after;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let answer = match connection.take() {
                Some(open) => Ok(open),
                None => Connection::open(self.address),
            }
            .and_then(|mut open| {
                let answer = open.exchange(&self.request(number))?;
                connection = Some(open);
                Ok(answer)
            });
            seen.times.add(due.elapsed());
            match answer {
                Ok(answer) if answer.status < 500 => seen.hits += u64::from(answer.is_hit()),
                _ => seen.failed += 1,
            }
        }
        Ok(seen)
    }
}
