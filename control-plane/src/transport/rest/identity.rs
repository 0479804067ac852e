//! Who asks, and what they may do.
//!
//! Where tokens are configured, each route needs a role. Without any, everything is open, and `/health` says so.

use super::admission::Admission;
use super::problem::Problem;
use crate::credentials::{Role, Tokens};
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Who may use a route, where tokens are configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody.
    Open,
    /// Everybody, unless CLOSE_PROBES asks for a viewer.
    Probe,
    /// Whoever has this role, or a greater one.
    Needs(Role),
}

/// What is known of the sender of a request.
#[derive(Debug, Clone)]
struct Known {
    /// Without tokens nobody is asked for one.
    tokens: bool,
    close_probes: bool,
    caller: Option<(String, Role)>,
}

/// The token of a request, for answers that go on: they end when it is no longer in force.
#[derive(Clone)]
pub(crate) struct Credential {
    name: String,
    role: Role,
    token: Arc<str>,
}

impl Credential {
    /// Returns when it is no longer in force.
    async fn revoked(self, admission: Arc<Admission>) {
        admission.revoked(&self.name, self.role, &self.token).await;
    }
}

/// As long as the sender of a request may go on listening.
pub(crate) type Allowed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Returns when the sender of this request is no longer known; never where nobody is asked.
pub(crate) fn until_revoked(admission: &Arc<Admission>, credential: Option<Credential>) -> Allowed {
    match credential {
        Some(credential) => Box::pin(credential.revoked(Arc::clone(admission))),
        None => Box::pin(std::future::pending()),
    }
}

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
    let named = headers.get("x-author").and_then(|value| value.to_str().ok());
    named.map_or_else(
        || peer.map_or_else(String::new, |peer| peer.0.ip().to_string()),
        |text| text.chars().take(256).collect(),
    )
}

/// Finds out who sends a request, and refuses what comes too fast or with a token that is not known.
pub(super) async fn identify(
    State(admission): State<Arc<Admission>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let tokens = admission.tokens();
    let credential = match &tokens {
        Some(tokens) => whose(tokens, request.headers())?,
        None => None,
    };
    let caller = credential.as_ref().map(|known| (known.name.clone(), known.role));
    if let Some(credential) = credential {
        request.extensions_mut().insert(credential);
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    // Not what the caller says of itself.
    let counted = match &caller {
        Some((name, _)) => name.clone(),
        None => peer.map_or_else(String::new, |peer| peer.0.ip().to_string()),
    };
    if let Some((name, _)) = &caller {
        request.extensions_mut().insert(Caller { name: name.clone() });
    }
    request.extensions_mut().insert(Known {
        tokens: tokens.is_some(),
        close_probes: admission.close_probes,
        caller,
    });
    if writes && !admission.admit_write(&counted) {
        let problem = Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_writes",
            "More writes than are taken per second; try again in a second",
        );
        return Err(problem.retry_after(Duration::from_secs(1)));
    }
    Ok(next.run(request).await)
}

/// Lets a request reach its route, or refuses it. A sender that nobody has looked at is refused.
pub(super) async fn admit(State(access): State<Access>, request: Request, next: Next) -> Result<Response, Problem> {
    let known = request.extensions().get::<Known>();
    let known = known.ok_or_else(|| Problem::unauthorized("The sender is not known"))?;
    let needed = match access {
        Access::Needs(role) => Some(role),
        Access::Probe if known.close_probes => Some(Role::Viewer),
        Access::Open | Access::Probe => None,
    };
    if let Some(needed) = needed.filter(|_| known.tokens) {
        let (name, role) = known
            .caller
            .as_ref()
            .ok_or_else(|| Problem::unauthorized("A token is needed"))?;
        if *role < needed {
            let (needed, role) = (needed.as_str(), role.as_str());
            let title = format!("The role {needed} is needed, {name} has the role {role}");
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", title));
        }
    }
    Ok(next.run(request).await)
}

/// Whose token a request has; `None` without one.
fn whose(tokens: &Tokens, headers: &HeaderMap) -> Result<Option<Credential>, Problem> {
    let Some(given) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let token = given.to_str().ok().and_then(token);
    let known = token.as_deref().and_then(|token| tokens.who(token));
    let (name, role) = known.ok_or_else(|| Problem::unauthorized("The token is not known"))?;
    Ok(Some(Credential {
        name: name.to_owned(),
        role,
        token: token.as_deref().unwrap_or_default().into(),
    }))
}

/// The token of `Authorization: Bearer` (RFC 6750), or the password of `Basic` (RFC 7617), which is what curl sends from a netrc file.
fn token(credentials: &str) -> Option<Cow<'_, str>> {
    let (scheme, rest) = credentials.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().into());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
    Some(pair.split_once(':')?.1.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_by_bearer_and_as_a_password() {
        for (credentials, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            // ops:a:b
            ("Basic b3BzOmE6Yg==", Some("a:b")),
            ("Basic ???", None),
            ("Digest abc", None),
            ("abc", None),
        ] {
            assert_eq!(token(credentials).as_deref(), expected, "{credentials}");
        }
    }
}
