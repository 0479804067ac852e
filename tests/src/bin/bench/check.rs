//! What is to be measured is what happens: hits are hits, and the others are none. Warms the caches.

use crate::contenders::{Lineup, SIZES};
use crate::target::Peer;
use e2e::client::{Connection, Request, Response};
use e2e::envoy::Envoy;
use e2e::{Failure, Result};

/// Asks every server for everything twice. `time` names this check: what is new is so once.
pub(crate) fn everything(lineup: &Lineup, time: &str) -> Result<()> {
    for size in SIZES {
        for envoy in [
            &lineup.ours,
            &lineup.two_workers,
            &lineup.no_copies,
            &lineup.module,
            &lineup.module_two_workers,
        ] {
            ours(envoy, size, time)?;
        }
        for path in ["/direct", "/no-store"] {
            let answer = lineup
                .pass_through
                .get(&format!("{path}/{size}"))
                .map_err(|error| error.during("asking the idle filter"))?;
            demand(
                "the idle filter",
                &answer,
                size,
                answer.header("cache-status").is_none(),
            )?;
        }
        let path = format!("/{size}");
        lineup.native.get(&path)?;
        let answer = lineup
            .native
            .get(&path)
            .map_err(|error| error.during("asking Envoy's own cache filter"))?;
        demand(
            "Envoy's own cache filter",
            &answer,
            size,
            answer.header("age").is_some(),
        )?;
        if let Some(nginx) = &lineup.nginx {
            let answer = second(nginx, &path).map_err(|error| error.during("asking nginx"))?;
            let hit = answer.header("x-cache").is_some_and(|state| state == "HIT");
            demand("nginx", &answer, size, hit)?;
        }
        if let Some(varnish) = &lineup.varnish {
            let answer = second(varnish, &path).map_err(|error| error.during("asking Varnish"))?;
            // The number of the request that fetched it follows its own.
            let hit = answer.header("x-varnish").is_some_and(|numbers| numbers.contains(' '));
            demand("Varnish", &answer, size, hit)?;
        }
    }
    Ok(())
}

fn ours(envoy: &Envoy, size: usize, time: &str) -> Result<()> {
    for path in ["", "/no-store", "/plain/no-store", "/direct", "/slow/no-store"] {
        let whole = format!("{path}/{size}");
        let ask = || {
            envoy
                .get(&whole)
                .map_err(|error| error.during(&format!("asking ours for {whole}")))
        };
        ask()?;
        let answer = ask()?;
        demand(
            &format!("{whole} of ours"),
            &answer,
            size,
            answer.is_hit() == path.is_empty(),
        )?;
    }
    let answer = envoy
        .get(&format!("/{size}?new={time}"))
        .map_err(|error| error.during("asking ours for a new URL"))?;
    let stored = answer.cache_status().contains("stored");
    demand("a new URL of ours", &answer, size, stored)
}

fn second(peer: &Peer, path: &str) -> Result<Response> {
    let get = || Connection::open(peer.target.address)?.exchange(&Request::get(path));
    get()?;
    get()
}

fn demand(who: &str, answer: &Response, size: usize, as_wanted: bool) -> Result<()> {
    if answer.status == 200 && answer.body.len() == size && as_wanted {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{who} answered {} with {} bytes, Cache-Status {:?}, Age {:?}: not what is to be measured",
        answer.status,
        answer.body.len(),
        answer.header("cache-status"),
        answer.header("age"),
    )))
}
