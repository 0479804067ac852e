//! JSON over HTTP.

use crate::client::{Connection, Request, Response};
use crate::{Failure, Result};
use serde_json::Value;
use std::net::SocketAddr;

/// A JSON service.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    address: SocketAddr,
    token: Option<&'static str>,
}

impl Rest {
    /// The service at `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, token: None }
    }

    /// The same with a token, for requests that have none of their own.
    #[must_use]
    pub fn with_token(self, token: &'static str) -> Self {
        Self {
            token: Some(token),
            ..self
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// GET.
    ///
    /// # Errors
    /// No complete response.
    pub fn get(&self, path: &str) -> Result<Response> {
        self.send(&Request::get(path))
    }

    /// GET of a document.
    ///
    /// # Errors
    /// No response with status 200 and a JSON body.
    pub fn document(&self, path: &str) -> Result<Value> {
        let answer = self.get(path)?;
        if answer.status != 200 {
            return Err(Failure::new(format!(
                "GET {path} answered {}: {}",
                answer.status,
                answer.text()
            )));
        }
        answer.json()
    }

    /// PATCH with a merge patch (RFC 7396).
    ///
    /// # Errors
    /// No complete response.
    pub fn merge_patch(&self, path: &str, change: &Value) -> Result<Response> {
        let body = change.to_string();
        self.send(
            &Request::new("PATCH", path)
                .header("content-type", "application/merge-patch+json")
                .body(body),
        )
    }

    /// Any request.
    ///
    /// # Errors
    /// No complete response.
    pub fn send(&self, request: &Request) -> Result<Response> {
        let mut connection = Connection::open(self.address)?;
        let named = request.clone().header("host", "localhost");
        let request = if request.has("host") { request } else { &named };
        match self.token.filter(|_| !request.has("authorization")) {
            Some(token) => {
                let request = request.clone().header("authorization", format!("Bearer {token}"));
                connection.exchange(&request)
            }
            None => connection.exchange(request),
        }
    }
}
