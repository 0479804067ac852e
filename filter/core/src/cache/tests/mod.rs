//! Tables: request, what is stored, a clock, and what follows. A case is a line.

mod answering;
mod refusing;
mod reusing;
mod sharing;
mod storing;
mod updating;

use super::not_stored::NotStored;
use super::policy::FreshnessPolicy;
use super::storability::{self, Exchange, Framing, Plan};
use super::{CacheKey, Encoder, KeyPolicy, KeySecret};
use crate::Millis;
use crate::http::fields::{Fields, Line};
use crate::http::method::Method;
use crate::http::target::Target;

/// Tue, 14 Nov 2023 22:13:20 GMT: when responses arrive here.
const NOW: Millis = 1_700_000_000_000;
const TARGET: Target<'static> = Target {
    scheme: b"http",
    authority: b"api.example",
    path: b"/a",
};

/// Field lines, `name: value | name: value`.
fn lines(text: &str) -> Vec<Line<'_>> {
    text.split(" | ")
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect()
}

fn fields(text: &str) -> Fields<'_> {
    Fields::from(lines(text))
}

fn exchange<'a>(request: &'a Fields<'a>, status: u16, response: &'a Fields<'a>) -> Exchange<'a> {
    Exchange {
        method: Method::Get,
        request,
        status,
        response,
        request_time_ms: NOW,
        response_time_ms: NOW,
        framing: Framing::Length(10),
        identity_in_key: false,
        stated_freshness_only: false,
        hidden_credentials: false,
    }
}

fn judged(request: &str, status: u16, response: &str, policy: &FreshnessPolicy) -> Result<Plan, NotStored> {
    let (request, response) = (fields(request), fields(response));
    storability::judge(&exchange(&request, status, &response), policy, 0)
}

/// The bytes stored of a response with the body `0123456789`.
fn stored(request: &str, status: u16, response: &str, policy: &FreshnessPolicy) -> Vec<u8> {
    let (request, response) = (fields(request), fields(response));
    let exchange = exchange(&request, status, &response);
    let plan = storability::judge(&exchange, policy, 0).expect("a response that may be stored");
    let key = CacheKey::new(&KeyPolicy::default(), &TARGET, &request, &KeySecret::unset());
    let mut encoder = Encoder::begin(key.as_bytes(), &exchange, &plan, 10, 0).expect("a small head");
    encoder.append(b"0123456789");
    encoder.seal().expect("a whole body")
}
