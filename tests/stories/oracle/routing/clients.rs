//! Connections of one client to the two Envoys, kept open: a few to each listener, so that both workers are asked.

use super::ask::Ask;
use super::world::World;
use crate::oracle::h2_client::H2Client;
use crate::oracle::random::Random;
use e2e::Result;
use e2e::client::{Connection, Response};
use std::net::SocketAddr;

const CONNECTIONS: usize = 3;

/// Connections to one listener.
struct Pool {
    address: SocketAddr,
    h1: [Option<Connection>; CONNECTIONS],
    h2: Option<H2Client>,
}

/// Connections to the listeners of both.
pub(super) struct Clients {
    with: [Pool; 2],
    without: [Pool; 2],
}

impl Clients {
    pub(super) fn new(world: &World) -> Self {
        let pool = |address: SocketAddr| Pool {
            address,
            h1: [const { None }; CONNECTIONS],
            h2: None,
        };
        Self {
            with: world.with.map(pool),
            without: world.without.map(pool),
        }
    }

    /// The response through the filter, and the right one.
    pub(super) fn both(&mut self, random: &mut Random, ask: &Ask, page: usize) -> (Result<Response>, Result<Response>) {
        let at = random.below(CONNECTIONS);
        let served = self.with[ask.listener].exchange(at, ask, page);
        (served, self.without[ask.listener].exchange(at, ask, page))
    }
}

impl Pool {
    /// Tries again once: a connection may have been closed since its last use.
    fn exchange(&mut self, at: usize, ask: &Ask, page: usize) -> Result<Response> {
        match self.once(at, ask, page) {
            Err(_) => self.once(at, ask, page),
            response => response,
        }
    }

    fn once(&mut self, at: usize, ask: &Ask, page: usize) -> Result<Response> {
        match ask.scheme {
            Some(scheme) => self.over_h2(scheme, ask, page),
            None => self.over_h1(at, ask, page),
        }
    }

    fn over_h1(&mut self, at: usize, ask: &Ask, page: usize) -> Result<Response> {
        let mut connection = match self.h1[at].take() {
            Some(connection) => connection,
            None => Connection::open(self.address)?,
        };
        let response = connection.exchange(&ask.as_h1(page))?;
        let closes = response
            .header("connection")
            .is_some_and(|value| value.contains("close"));
        if !closes {
            self.h1[at] = Some(connection);
        }
        Ok(response)
    }

    fn over_h2(&mut self, scheme: &str, ask: &Ask, page: usize) -> Result<Response> {
        let mut client = match self.h2.take() {
            Some(client) => client,
            None => H2Client::open(self.address)?,
        };
        let response = ask.with_h2(page, scheme, |request| client.exchange(request))?;
        self.h2 = Some(client);
        Ok(response)
    }
}
