//! What a stored response takes in Envoy's memory: its head with the whole key, its place in the directory, and the allocator's
//! rounding of it all.

use e2e::client::{Connection, Request};
use e2e::envoy::Envoy;
use e2e::{Failure, Result};

/// Responses stored; below the limit, so that none has to go.
const RESPONSES: usize = 9_000;
/// Stored before, so that what happens once is not counted.
const WARM: usize = 100;
/// Content of each, bytes.
const CONTENT: usize = 1_024;

/// Bytes of memory for a stored response beyond its content, by what Envoy's allocator has handed out.
pub(crate) fn bytes_beyond_content(envoy: &Envoy) -> Result<f64> {
    let mut connection = Connection::open(envoy.address())?;
    store(&mut connection, 0..WARM)?;
    let before = allocated(envoy)?;
    store(&mut connection, WARM..WARM + RESPONSES)?;
    let grown = allocated(envoy)? - before;
    Ok(grown / RESPONSES as f64 - CONTENT as f64)
}

fn store(connection: &mut Connection, numbers: std::ops::Range<usize>) -> Result<()> {
    for number in numbers {
        let response = connection.exchange(&Request::get(&format!("/{CONTENT}?number={number:07}")))?;
        if response.status != 200 || response.body.len() != CONTENT {
            return Err(Failure::new(format!("Envoy answered {}", response.status)));
        }
    }
    Ok(())
}

fn allocated(envoy: &Envoy) -> Result<f64> {
    let memory = Connection::open(envoy.admin_address())?
        .exchange(&Request::get("/memory"))?
        .json()?;
    let allocated = memory["allocated"].as_str().and_then(|text| text.parse().ok());
    allocated.ok_or_else(|| Failure::new("Envoy does not tell its memory"))
}
