//! Who is at the other end: an Envoy is known by its certificate or its token, never by what a message claims.

use super::tokens::{EnvoyTokens, TokenFile};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tonic::{Extensions, Request, Status};

/// What a connection has shown.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    names: Option<Arc<[String]>>,
}

impl Certificate {
    pub(crate) fn of(names: Option<Vec<String>>) -> Self {
        Self {
            names: names.map(Into::into),
        }
    }
}

/// For whom a caller may speak.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Speaks {
    /// Any Envoy: the port asks for no credentials, or those are the whole fleet's.
    ForAny,
    /// The Envoys of these node ids.
    For(Arc<[String]>),
}

/// A caller.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    speaks: Speaks,
    token: Option<Token>,
}

/// The token that was shown, and the file that it is from.
#[derive(Clone)]
struct Token {
    file: Arc<TokenFile<EnvoyTokens>>,
    text: Arc<str>,
}

impl fmt::Debug for Token {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Peer {
    /// The sender of an admitted request.
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        Self::among(request.extensions())
    }

    /// The sender of an admitted request with these extensions.
    pub(crate) fn among(extensions: &Extensions) -> Self {
        // Nobody else puts one in; without one it may speak for nobody.
        let known = extensions.get::<Self>().cloned();
        known.unwrap_or_else(|| Self {
            speaks: Speaks::For(Arc::default()),
            token: None,
        })
    }

    /// Returns when its token is no longer one of those in force, or no longer for the same Envoys; never for a certificate, which
    /// counts as long as its connection. A stream ends then.
    pub(crate) async fn revoked(&self) -> Status {
        let Some(Token { file, text }) = &self.token else {
            return std::future::pending().await;
        };
        let nodes = |tokens: &EnvoyTokens| tokens.whose(text).map(|node| node.map(str::to_owned));
        let before = nodes(&file.tokens());
        file.until_not(|tokens| before.is_some() && nodes(tokens) == before)
            .await;
        Status::unauthenticated("the token is no longer in force")
    }

    /// # Errors
    /// The caller may not speak for this node.
    pub(crate) fn speaks_for(&self, node: &str) -> Result<(), Status> {
        match &self.speaks {
            Speaks::For(nodes) if !nodes.iter().any(|known| known == node) => {
                let known: Vec<&str> = nodes.iter().take(4).map(String::as_str).collect();
                Err(Status::permission_denied(format!(
                    "the credential names {}, not the node id of this Envoy; one that is shared by a fleet belongs into GRPC_FLEET_NAMES",
                    known.join(", ")
                )))
            }
            _ => Ok(()),
        }
    }
}

/// What is asked of who calls.
#[derive(Debug)]
pub(crate) struct PeerAuthenticator {
    tokens: Option<Arc<TokenFile<EnvoyTokens>>>,
    fleet_names: Vec<String>,
    refused: Arc<AtomicU64>,
}

impl PeerAuthenticator {
    /// With `tokens` a call needs one. Certificates are asked for by the listener; those with one of `fleet_names` speak for any Envoy.
    pub(crate) fn new(
        tokens: Option<Arc<TokenFile<EnvoyTokens>>>,
        fleet_names: Vec<String>,
        refused: Arc<AtomicU64>,
    ) -> Self {
        Self {
            tokens,
            fleet_names,
            refused,
        }
    }

    /// Lets a call pass with who it comes from, or refuses it.
    pub(crate) fn admit(&self, mut request: Request<()>) -> Result<Request<()>, Status> {
        match self.peer(&request) {
            Ok(peer) => {
                request.extensions_mut().insert(peer);
                Ok(request)
            }
            Err(refused) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(refused)
            }
        }
    }

    fn peer(&self, request: &Request<()>) -> Result<Peer, Status> {
        let certificate = request.extensions().get::<Certificate>();
        let shown = certificate.and_then(|certificate| certificate.names.clone());
        let by_certificate = match shown {
            Some(names) if !names.iter().any(|name| self.fleet_names.contains(name)) => Speaks::For(names),
            _ => Speaks::ForAny,
        };
        let Some(file) = &self.tokens else {
            return Ok(Peer {
                speaks: by_certificate,
                token: None,
            });
        };
        let given = request.metadata().get("authorization");
        let given = given.and_then(|value| value.to_str().ok());
        let token = given.and_then(|text| text.strip_prefix("Bearer ")).map(str::trim);
        let token = token.ok_or_else(|| Status::unauthenticated("Envoys need a token of GRPC_TOKENS_FILE"))?;
        let tokens = file.tokens();
        let node = tokens.whose(token);
        let speaks = match node.ok_or_else(|| Status::unauthenticated("the token is not known"))? {
            Some(node) => Speaks::For([node.to_owned()].into()),
            // One that the fleet shares says no more than the certificate.
            None => by_certificate,
        };
        let token = Token {
            file: Arc::clone(file),
            text: token.into(),
        };
        Ok(Peer {
            speaks,
            token: Some(token),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authenticator(tokens: Option<&str>) -> PeerAuthenticator {
        let directory = tempfile::tempdir().unwrap();
        let tokens = tokens.map(|text| {
            let path = directory.path().join("tokens");
            std::fs::write(&path, text).unwrap();
            Arc::new(TokenFile::open_for_envoys(path).unwrap())
        });
        PeerAuthenticator::new(tokens, vec!["spiffe://fleet".to_owned()], Arc::default())
    }

    fn call(names: Option<&[&str]>, token: Option<&str>) -> Request<()> {
        let mut request = Request::new(());
        let names = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        request.extensions_mut().insert(Certificate::of(names));
        if let Some(token) = token {
            let bearer = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", bearer);
        }
        request
    }

    fn speaks(authenticator: &PeerAuthenticator, request: Request<()>, node: &str) -> bool {
        authenticator
            .admit(request)
            .and_then(|request| Peer::of(&request).speaks_for(node))
            .is_ok()
    }

    #[test]
    fn a_certificate_speaks_for_its_node_alone() {
        let authenticator = authenticator(None);
        assert!(
            speaks(&authenticator, call(None, None), "a"),
            "a port without credentials"
        );
        assert!(speaks(&authenticator, call(Some(&["a", "b"]), None), "b"));
        assert!(speaks(&authenticator, call(Some(&["spiffe://fleet"]), None), "c"));
        for (names, node) in [
            (&["a"][..], "b"),
            (&["a"], ""),
            (&[], "a"),
            (&["a"], "a.example"),
            (&["envoy"], "envoy-b"),
        ] {
            assert!(
                !speaks(&authenticator, call(Some(names), None), node),
                "{names:?} {node}"
            );
        }
        assert!(Peer::of(&call(None, None)).speaks_for("a").is_err(), "not admitted");
    }

    #[test]
    fn a_token_is_asked_for_where_there_are_some() {
        let fleet = authenticator(Some("0123456789abcdef"));
        for wrong in [None, Some(""), Some("0123456789abcde"), Some("0123456789abcdef0")] {
            assert!(!speaks(&fleet, call(None, wrong), "a"), "{wrong:?}");
        }
        assert!(speaks(&fleet, call(None, Some("0123456789abcdef")), "a"));
        assert!(!speaks(&fleet, call(Some(&["a"]), Some("0123456789abcdef")), "b"));
        assert_eq!(fleet.refused.load(Ordering::Relaxed), 4);
        let own = authenticator(Some(r#"[{"node": "a", "token": "0123456789abcdef"}]"#));
        assert!(speaks(&own, call(None, Some("0123456789abcdef")), "a"));
        assert!(!speaks(&own, call(None, Some("0123456789abcdef")), "b"));
    }
}
