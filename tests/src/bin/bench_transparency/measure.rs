//! Steady load, and a crowd at once.

use crate::kinds::Kind;
use e2e::client::{Connection, Request};
use e2e::times::Times;
use e2e::{Failure, Result};
use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const CLIENTS: usize = 20;
const CROWD: usize = 10;
/// Values by which responses vary.
const TENANTS: usize = 10;

/// What steady load gave.
pub(crate) struct Steady {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
}

fn request(kind: &Kind, path: &str, client: usize) -> Request {
    let request = Request::get(path);
    if kind.varies {
        request.header("x-tenant", format!("t{}", client % TENANTS))
    } else {
        request
    }
}

/// Twenty clients that ask for one page, each as soon as it has its answer.
pub(crate) fn steady(address: SocketAddr, kind: &Kind, page: usize, lasts: Duration) -> Result<Steady> {
    let path = kind.path("load", page);
    let end = Instant::now() + lasts;
    let all = std::thread::scope(|scope| {
        let clients = (0..CLIENTS).map(|client| {
            let request = request(kind, &path, client);
            scope.spawn(move || {
                let mut times = Times::new()?;
                let mut connection = Connection::open(address)?;
                while Instant::now() < end {
                    let began = Instant::now();
                    expect_well(connection.exchange(&request)?.status)?;
                    times.add(began.elapsed());
                }
                Ok::<_, Failure>(times)
            })
        });
        let clients: Vec<_> = clients.collect();
        let mut all = Times::new()?;
        for client in clients {
            all.merge(&client.join().map_err(|_| Failure::new("a client panicked"))??)?;
        }
        Ok::<_, Failure>(all)
    })?;
    let count = u32::try_from(all.count()).unwrap_or(u32::MAX);
    Ok(Steady {
        per_second: f64::from(count) / lasts.as_secs_f64(),
        p50_ms: all.ms(0.5),
    })
}

/// Ten clients that ask for a cold page at once: the last answer's time over the first one's.
pub(crate) fn crowd(address: SocketAddr, kind: &Kind, page: usize) -> Result<f64> {
    let path = kind.path("crowd", page);
    let ready = Barrier::new(CROWD);
    let times = std::thread::scope(|scope| {
        let clients = (0..CROWD).map(|client| {
            let (request, ready) = (request(kind, &path, client), &ready);
            scope.spawn(move || {
                let connection = Connection::open(address);
                ready.wait();
                let began = Instant::now();
                expect_well(connection?.exchange(&request)?.status)?;
                Ok::<_, Failure>(began.elapsed())
            })
        });
        let clients: Vec<_> = clients.collect();
        let times = clients
            .into_iter()
            .map(|client| client.join().map_err(|_| Failure::new("a client panicked"))?);
        times.collect::<Result<Vec<_>>>()
    })?;
    let first = times.iter().min().copied().unwrap_or_default();
    let last = times.iter().max().copied().unwrap_or_default();
    Ok(last.as_secs_f64() / first.as_secs_f64())
}

fn expect_well(status: u16) -> Result<()> {
    if status == 200 {
        Ok(())
    } else {
        Err(Failure::new(format!("answered {status}")))
    }
}
