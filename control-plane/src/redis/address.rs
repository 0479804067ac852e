//! What `REDIS_URL` says.

use super::reason;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

const SENTINEL_PORT: &str = "26379";

/// Where Redis is.
#[derive(Debug, Clone)]
pub(super) enum Address {
    /// `redis://` or `rediss://`.
    Single(String),
    /// `redis+cluster://user:password@host:port,host:port`, with `rediss` for TLS; each host as a URL of its own.
    Cluster(Vec<String>),
    /// `redis+sentinel://user:password@host:port,host:port/service/db`, with `rediss` for TLS. The password is that of the
    /// servers.
    Sentinel {
        sentinels: Vec<(String, u16)>,
        service: String,
        user: Option<String>,
        password: Option<String>,
        db: i64,
        tls: bool,
    },
}

impl Address {
    /// Reads `REDIS_URL`.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("REDIS_URL: no scheme")?;
        match scheme {
            "redis" | "rediss" | "redis+unix" | "unix" => {
                info(url)?;
                Ok(Self::Single(url.to_owned()))
            }
            "redis+cluster" | "rediss+cluster" => cluster(scheme.trim_end_matches("+cluster"), rest),
            "redis+sentinel" => sentinel(rest, false),
            "rediss+sentinel" => sentinel(rest, true),
            _ => Err(
                "REDIS_URL: allowed schemes are redis, rediss, redis+cluster, rediss+cluster, redis+sentinel and \
                 rediss+sentinel"
                    .to_owned(),
            ),
        }
    }

    /// Whether connections are to be encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        match self {
            Self::Single(url) => url.starts_with("rediss:"),
            Self::Cluster(urls) => urls.iter().all(|url| url.starts_with("rediss:")),
            Self::Sentinel { tls, .. } => *tls,
        }
    }

    /// For operators, without credentials.
    pub(super) fn shown(&self) -> String {
        let bare = |url: &str| {
            let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{host}")
        };
        let list = |items: Vec<String>| items.join(", ");
        match self {
            Self::Single(url) => bare(url),
            Self::Cluster(urls) => format!("cluster of {}", list(urls.iter().map(|url| bare(url)).collect())),
            Self::Sentinel { sentinels, service, .. } => {
                let sentinels = sentinels.iter().map(|(host, port)| format!("{host}:{port}"));
                format!("{service} of sentinels {}", list(sentinels.collect()))
            }
        }
    }
}

fn info(url: &str) -> Result<ConnectionInfo, String> {
    url.into_connection_info()
        .map_err(|error| format!("REDIS_URL: {}", reason(&error)))
}

/// Credentials with their `@`, and what follows.
fn split(rest: &str) -> (&str, &str) {
    let at = rest.rfind('@').map_or(0, |at| at + 1);
    rest.split_at_checked(at).unwrap_or(("", rest))
}

fn cluster(scheme: &str, rest: &str) -> Result<Address, String> {
    let (credentials, hosts) = split(rest);
    let hosts = hosts.trim_end_matches('/').split(',');
    let urls: Vec<String> = hosts.map(|host| format!("{scheme}://{credentials}{host}")).collect();
    urls.iter().try_for_each(|url| info(url).map(drop))?;
    Ok(Address::Cluster(urls))
}

fn sentinel(rest: &str, tls: bool) -> Result<Address, String> {
    let (credentials, rest) = split(rest);
    let mut parts = rest.split('/');
    let hosts = parts.next().unwrap_or_default();
    let service = parts.next().filter(|service| !service.is_empty());
    let sentinels = hosts.split(',').map(host_and_port).collect::<Result<_, _>>()?;
    // Read as for a single server, so that the same characters may be written as %xx.
    let server = info(&format!(
        "redis://{credentials}server/{}",
        parts.next().unwrap_or_default()
    ))?;
    let server = server.redis_settings();
    Ok(Address::Sentinel {
        sentinels,
        service: service
            .ok_or("REDIS_URL: redis+sentinel://host:port,host:port/service names the service")?
            .to_owned(),
        user: server.username().map(str::to_owned),
        password: server.password().map(str::to_owned),
        db: server.db(),
        tls,
    })
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let after_host = text.rfind(']').map_or(0, |end| end + 1);
    let has_port = text.get(after_host..).is_some_and(|rest| rest.contains(':'));
    let port = if has_port {
        String::new()
    } else {
        format!(":{SENTINEL_PORT}")
    };
    match info(&format!("redis://{text}{port}"))?.addr() {
        ConnectionAddr::Tcp(host, port) => Ok((host.clone(), *port)),
        _ => Err("REDIS_URL: a sentinel is host:port".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_secrets() {
        for (url, shown, tls) in [
            ("redis://user:secret@cache:6379/2", "redis://cache:6379/2", false),
            ("rediss://:secret@cache", "rediss://cache", true),
            (
                "redis+cluster://user:secret@a:1,b:2",
                "cluster of redis://a:1, redis://b:2",
                false,
            ),
            ("rediss+cluster://a,b/", "cluster of rediss://a, rediss://b", true),
            (
                "redis+sentinel://:secret@a:1,b/main/3",
                "main of sentinels a:1, b:26379",
                false,
            ),
            (
                "rediss+sentinel://user:secret@[::1]/main",
                "main of sentinels ::1:26379",
                true,
            ),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!((address.shown(), address.is_encrypted()), (shown.to_owned(), tls));
        }
        for bad in [
            "cache:6379",
            "http://cache",
            "redis+cluster://a:x,b",
            "redis+sentinel://a:1",
            "redis+sentinel://a:1/s/x",
            "redis+sentinel://a:x/s",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn credentials_of_a_sentinel_url_are_decoded() {
        let Ok(Address::Sentinel { user, password, db, .. }) = Address::parse("redis+sentinel://me:p%40ss@a/main/2")
        else {
            unreachable!()
        };
        assert_eq!(
            (user.as_deref(), password.as_deref(), db),
            (Some("me"), Some("p@ss"), 2)
        );
    }
}
