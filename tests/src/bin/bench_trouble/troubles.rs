//! What goes wrong, or is done to the product, while requests come.

use e2e::client::Request;
use e2e::origin::Origin;
use e2e::stack::Stack;
use e2e::{Failure, Result};
use serde_json::json;
use std::thread::sleep;
use std::time::Duration;

/// One trouble. It begins with the load and is over before the load is.
pub(crate) struct Trouble {
    pub(crate) name: &'static str,
    /// What the load asks for.
    pub(crate) path: &'static str,
    /// Needs the filter that traps when asked.
    pub(crate) trap: bool,
    /// Means something without the filter as well.
    pub(crate) without_filter: bool,
    pub(crate) outage: bool,
    pub(crate) make: fn(&mut Stack) -> Result<()>,
}

const QUIET: Trouble = Trouble {
    name: "none: steady hits",
    path: "/long/",
    trap: false,
    without_filter: true,
    outage: false,
    make: |_| Ok(()),
};

pub(crate) const TROUBLES: [Trouble; 6] = [
    QUIET,
    Trouble {
        name: "everything purged, three times",
        without_filter: false,
        make: purges,
        ..QUIET
    },
    Trouble {
        name: "origin away for 2 s, 1 s freshness",
        path: "/short/",
        outage: true,
        make: |stack| outage(&mut stack.origin),
        ..QUIET
    },
    Trouble {
        name: "settings changed each 100 ms",
        without_filter: false,
        make: changes,
        ..QUIET
    },
    Trouble {
        name: "snapshot and restore",
        without_filter: false,
        make: snapshots,
        ..QUIET
    },
    Trouble {
        name: "a worker's VM traps, twice",
        trap: true,
        without_filter: false,
        make: traps,
        ..QUIET
    },
];

fn purges(stack: &mut Stack) -> Result<()> {
    for _ in 0..3 {
        sleep(Duration::from_millis(1_200));
        accepted(
            stack,
            &Request::new("POST", "/cache/purge").body(json!({"all": true}).to_string()),
        )?;
    }
    Ok(())
}

/// Away from the first second to the third.
pub(crate) fn outage(origin: &mut Origin) -> Result<()> {
    sleep(Duration::from_millis(1_500));
    origin.die();
    sleep(Duration::from_secs(2));
    origin.revive()
}

fn changes(stack: &mut Stack) -> Result<()> {
    for number in 0..50 {
        sleep(Duration::from_millis(100));
        let answer = stack
            .rest()
            .merge_patch("/settings", &json!({"cache_size": 1_000 + number}))?;
        if answer.status != 200 {
            return Err(Failure::new(format!("a change was answered {}", answer.status)));
        }
    }
    Ok(())
}

fn snapshots(stack: &mut Stack) -> Result<()> {
    for _ in 0..2 {
        sleep(Duration::from_millis(800));
        let copy = accepted(stack, &Request::new("POST", "/cache/snapshot"))?;
        let restore = Request::new("POST", "/cache/restore").header("content-type", "application/json");
        accepted(stack, &restore.body(copy))?;
    }
    Ok(())
}

fn traps(stack: &mut Stack) -> Result<()> {
    for _ in 0..2 {
        sleep(Duration::from_millis(1_500));
        let trigger = Request::get("/long/0").header("x-optimizer-trap", "1");
        // The connection of the trapped worker may break, or answer 503.
        let _ = stack.envoy.fetch(&trigger);
    }
    Ok(())
}

fn accepted(stack: &Stack, request: &Request) -> Result<Vec<u8>> {
    let answer = stack.rest().send(request)?;
    if answer.status < 300 {
        return Ok(answer.body);
    }
    Err(Failure::new(format!(
        "an operation was answered {}: {}",
        answer.status,
        answer.text()
    )))
}
