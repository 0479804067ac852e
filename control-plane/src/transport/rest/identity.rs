//! Who asks, and what they may do.
//!
//! Reads are open. Writes need the role `operator`, a few the role `admin`, where tokens are configured; without any they are
//! open too, and `/health` says so.

use super::problem::Problem;
use crate::infrastructure::tokens::{Role, Tokens};
use crate::plane::Plane;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Paths of which everything but reading needs the role `admin`: they give out or replace users' data, or everything at once.
const ADMIN: [&str; 2] = ["/cache/restore", "/settings/import"];
/// Where code comes in that runs in every Envoy.
const MODULES: &str = "/filter/modules";
/// A read that gives out users' data.
const SNAPSHOT: &str = "/cache/snapshot";

/// Whoever sent the request: the token's name, else what `X-Author` says, else the address.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) name: String,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        Ok(Self {
            name: named(&parts.headers, parts.extensions.get::<ConnectInfo<SocketAddr>>()),
        })
    }
}

fn named(headers: &HeaderMap, peer: Option<&ConnectInfo<SocketAddr>>) -> String {
    let said = headers.get("x-author").and_then(|value| value.to_str().ok());
    said.map_or_else(
        || peer.map_or_else(String::new, |peer| peer.0.ip().to_string()),
        |text| text.chars().take(256).collect(),
    )
}

/// What a request needs.
fn needed(method: &Method, path: &str) -> Role {
    let safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match path {
        SNAPSHOT => Role::Operator,
        path if ADMIN.contains(&path) => Role::Admin,
        MODULES => Role::Admin,
        _ if safe => Role::Viewer,
        _ => Role::Operator,
    }
}

/// Lets a request pass, or refuses it.
pub(crate) async fn guard(
    State(plane): State<Arc<Plane>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let role = needed(request.method(), request.uri().path());
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if let Some(tokens) = plane.tokens() {
        let caller = authorized(&tokens, request.headers(), role)?;
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
    }
    if writes && !plane.admit_write() {
        let problem = Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_writes",
            "More writes than are taken per second; try again in a second",
        );
        return Err(problem.retry_after(Duration::from_secs(1)));
    }
    Ok(next.run(request).await)
}

fn authorized(tokens: &Tokens, headers: &HeaderMap, needed: Role) -> Result<Option<Caller>, Problem> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let Some(token) = given else {
        return if needed == Role::Viewer {
            Ok(None)
        } else {
            Err(Problem::unauthorized("A bearer token is needed"))
        };
    };
    let Some((name, role)) = tokens.who(token) else {
        return Err(Problem::unauthorized("The bearer token is not known"));
    };
    if role < needed {
        let title = format!(
            "The role {} is needed, {name} has the role {}",
            needed.word(),
            role.word()
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", title));
    }
    Ok(Some(Caller { name: name.to_owned() }))
}
