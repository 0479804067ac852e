//! Readings of an Envoy's statistics. Those of more than a batch of metrics come in several messages: each but the last has as many
//! families as `batch_size` of Envoy's metrics service sink says, and all have the same time.

use super::statistics::Statistics;
use crate::net::bodies::Bodies;
use crate::net::places::Place;
use std::net::IpAddr;
use tokio::time::Instant;
use tonic::Status;

/// `batch_size` in `envoy/dynamic.yaml` and `envoy/static.yaml`. A message of this many families is followed by others of its reading.
const BATCH: usize = 1_000;

/// The readings of one stream.
#[derive(Debug)]
pub(super) struct Readings {
    bodies: Bodies,
    from: IpAddr,
    begun: Option<Begun>,
    /// The time of the last one.
    reported_ms: Option<i64>,
}

/// A reading of which more may come. What is held of it takes memory as a message that is being received does.
#[derive(Debug)]
struct Begun {
    statistics: Statistics,
    places: Vec<Place>,
    since: Instant,
}

impl Readings {
    /// Of a stream from this address.
    pub(super) fn new(bodies: Bodies, from: IpAddr) -> Self {
        Self {
            bodies,
            from,
            begun: None,
            reported_ms: None,
        }
    }

    /// Takes a message; the readings that are whole with it.
    ///
    /// # Errors
    /// There is no memory for what is to be held, or the parts are not those of our batches: nobody would know which is the last.
    pub(super) fn take(&mut self, message: Statistics) -> Result<Vec<Statistics>, Status> {
        let (mut whole, is_full) = (Vec::new(), message.families == BATCH && message.time_ms.is_some());
        let goes_on = |begun: &Begun| message.time_ms.is_some() && begun.statistics.time_ms == message.time_ms;
        // With another time a reading has begun, so the one before has ended with a full message.
        if self.begun.as_ref().is_some_and(|begun| !goes_on(begun)) {
            whole.extend(self.end());
        }
        if self.begun.is_none() && message.time_ms.is_some() && message.time_ms == self.reported_ms {
            return Err(Status::invalid_argument(format!(
                "statistics come in parts of another batch_size than {BATCH}"
            )));
        }
        let place = is_full.then(|| self.bodies.reserve(self.from, message.bytes));
        let begun = self.begun.get_or_insert_with(|| Begun {
            statistics: Statistics {
                time_ms: message.time_ms,
                ..Statistics::default()
            },
            places: Vec::new(),
            since: Instant::now(),
        });
        begun.statistics.join(message);
        match place {
            Some(Some(place)) => begun.places.push(place),
            Some(None) => return Err(Status::resource_exhausted("too much is being received; try again")),
            None => whole.extend(self.end()),
        }
        Ok(whole)
    }

    /// What has come of a reading, which is all of it.
    pub(super) fn end(&mut self) -> Option<Statistics> {
        let statistics = self.begun.take()?.statistics;
        self.reported_ms = statistics.time_ms;
        Some(statistics)
    }

    /// Returns when no more will come of a reading that has begun.
    pub(super) async fn overdue(&self) {
        match &self.begun {
            Some(begun) => tokio::time::sleep_until(begun.since + self.bodies.pause).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::places::Places;
    use std::time::Duration;

    const ENVOY: &str = "10.0.0.1";

    fn readings() -> Readings {
        let bodies = Bodies::new(Duration::from_secs(30), Places::new(1, 1), std::sync::Arc::default());
        Readings::new(bodies, ENVOY.parse().unwrap())
    }

    /// A message of so many families with so many requests.
    fn message(families: usize, time_ms: Option<i64>, requests: u64) -> Statistics {
        let mut message = Statistics {
            families,
            time_ms,
            bytes: 100 * families,
            ..Statistics::default()
        };
        message.taken.take("http.ingress.downstream_rq_http1_total", requests);
        message.taken.take("server.live", u64::from(families < BATCH));
        message
    }

    fn requests(readings: &mut Readings, message: Statistics) -> Vec<u64> {
        let whole = readings.take(message).unwrap();
        whole.iter().map(|reading| reading.taken.counters.requests).collect()
    }

    #[test]
    fn what_fits_into_a_message_is_whole_at_once() {
        let mut readings = readings();
        for (families, time_ms) in [
            (999, Some(1)),
            (1_001, Some(2)),
            (1_000, None),
            (1_000, None),
            (3, None),
        ] {
            assert_eq!(requests(&mut readings, message(families, time_ms, 7)), [7]);
        }
    }

    #[test]
    fn messages_of_a_batch_are_put_together() {
        let mut readings = readings();
        assert_eq!(requests(&mut readings, message(1_000, Some(1), 10)), [0; 0]);
        assert_eq!(requests(&mut readings, message(1_000, Some(1), 20)), [0; 0]);
        assert_eq!(requests(&mut readings, message(1, Some(1), 3)), [33]);
        // One that ends with a full message is known to have ended when the next one begins.
        assert_eq!(requests(&mut readings, message(1_000, Some(2), 40)), [0; 0]);
        assert_eq!(requests(&mut readings, message(1_000, Some(3), 50)), [40]);
        assert_eq!(requests(&mut readings, message(5, Some(3), 1)), [51]);
        assert_eq!(requests(&mut readings, message(1_000, Some(4), 60)), [0; 0]);
        assert_eq!(requests(&mut readings, message(5, Some(5), 61)), [60, 61]);
    }

    #[test]
    fn parts_of_another_size_are_refused() {
        let mut readings = readings();
        assert_eq!(requests(&mut readings, message(500, Some(1), 7)), [7]);
        let refused = readings.take(message(500, Some(1), 7)).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn what_is_held_takes_room() {
        let mut readings = readings();
        let full = |bytes| Statistics {
            bytes,
            ..message(1_000, Some(1), 1)
        };
        for _ in 0..6 {
            readings.take(full(4 << 20)).unwrap();
        }
        let refused = readings.take(full(4 << 20)).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        readings.end().unwrap();
        readings.take(full(4 << 20)).unwrap_err();
        readings.take(message(1_000, Some(2), 1)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_go_on_is_whole() {
        let mut readings = readings();
        readings.take(message(1_000, Some(1), 7)).unwrap();
        let begun = Instant::now();
        let overdue = tokio::time::timeout(Duration::from_secs(60), readings.overdue());
        overdue.await.expect("an end");
        assert_eq!(begun.elapsed(), Duration::from_secs(30));
        assert_eq!(readings.end().unwrap().taken.counters.requests, 7);
    }

    #[test]
    fn the_bootstraps_have_this_batch_size() {
        for bootstrap in [
            include_str!("../../../../envoy/dynamic.yaml"),
            include_str!("../../../../envoy/static.yaml"),
        ] {
            assert!(bootstrap.contains(&format!("      batch_size: {BATCH}\n")));
        }
    }
}
