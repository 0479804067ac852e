//! Who may speak for whom, and the secrets by which that is proved.

mod key_secret;
mod peers;
mod proofs;
mod tokens;

pub(crate) use key_secret::KeySecret;
pub(crate) use peers::{Certificate, Peer, PeerAuthenticator};
pub(crate) use proofs::Proofs;
pub(crate) use tokens::{EnvoyTokens, Role, TokenFile, Tokens};
