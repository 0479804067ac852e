//! On which addresses the ports listen: one that asks for no credentials is reached from this machine alone.

use super::config::Config;
use control_domain::health::Access;
use std::net::{IpAddr, Ipv4Addr};

/// Where to listen.
#[derive(Debug)]
pub(crate) struct Addresses {
    pub(crate) rest: IpAddr,
    pub(crate) grpc: IpAddr,
    pub(crate) access: Access,
}

impl Addresses {
    /// # Errors
    /// A port without credentials is to be reached from other machines, and nobody has said that this is meant.
    pub(crate) fn of(config: &Config) -> Result<Self, String> {
        let rest = config.auth_tokens_file.is_some() || config.rest_tls_client_ca_file.is_some();
        let grpc = config.grpc_tokens_file.is_some() || config.grpc_tls_client_ca_file.is_some();
        let ports = [
            ("REST", rest, "AUTH_TOKENS_FILE or REST_TLS_CLIENT_CA_FILE"),
            ("gRPC", grpc, "GRPC_TOKENS_FILE or GRPC_TLS_CLIENT_CA_FILE"),
        ];
        let open = ports.iter().filter(|(_, guarded, _)| !guarded);
        let exposed = config.address.is_some_and(|address| !address.is_loopback());
        if let Some((name, _, ways)) = open.clone().next().filter(|_| exposed && !config.allow_unauthenticated) {
            return Err(format!(
                "the {name} port would be open to everyone who reaches this machine: set {ways}, or leave LISTEN_ADDRESS out to listen on loopback"
            ));
        }
        let open: Vec<&'static str> = open.map(|(name, ..)| *name).collect();
        if !open.is_empty() {
            tracing::warn!(ports = open.join(" and "), exposed, "no credentials are asked for");
        }
        let at = |guarded| match config.address {
            Some(address) => address,
            None if guarded => Ipv4Addr::UNSPECIFIED.into(),
            None => Ipv4Addr::LOCALHOST.into(),
        };
        Ok(Self {
            rest: at(rest),
            grpc: at(grpc),
            access: Access {
                open,
                exposed,
                refused: 0,
                requests_refused: 0,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn addresses(arguments: &[&str]) -> Result<(String, String, Vec<&'static str>), String> {
        let config = Config::try_parse_from([&["control-plane"], arguments].concat()).unwrap();
        Addresses::of(&config).map(|addresses| {
            (
                addresses.rest.to_string(),
                addresses.grpc.to_string(),
                addresses.access.open,
            )
        })
    }

    #[test]
    fn without_credentials_a_port_is_reached_from_this_machine_alone() {
        let (all, own) = ("0.0.0.0".to_owned(), "127.0.0.1".to_owned());
        assert_eq!(addresses(&[]), Ok((own.clone(), own.clone(), vec!["REST", "gRPC"])));
        let rest = ["--auth-tokens-file", "t"];
        let grpc = ["--grpc-tokens-file", "t"];
        assert_eq!(addresses(&rest), Ok((all.clone(), own, vec!["gRPC"])));
        assert_eq!(
            addresses(&[rest, grpc].concat()),
            Ok((all.clone(), all.clone(), vec![]))
        );
        let open = ["--address", "0.0.0.0"];
        for some in [&open[..], &[open, rest].concat(), &[open, grpc].concat()] {
            let refused = addresses(some).unwrap_err();
            assert!(
                refused.contains("_FILE") && refused.contains("LISTEN_ADDRESS"),
                "{refused}"
            );
        }
        assert!(addresses(&[open, rest, grpc].concat()).is_ok());
        assert!(addresses(&[&open[..], &["--allow-unauthenticated"]].concat()).is_ok());
        assert!(addresses(&["--address", "::1"]).is_ok());
    }
}
