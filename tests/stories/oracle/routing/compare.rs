//! Whether two responses are the same to a client, but for what a cache may add.

use e2e::client::Response;
use e2e::{Failure, Result};
use serde_json::Value;
use std::collections::BTreeSet;

/// Fields of time, of the hop and of framing. `Content-Length` and `Transfer-Encoding` are told apart by the content.
const OWN: [&str; 7] = [
    "date",
    "age",
    "cache-status",
    "x-envoy-upstream-service-time",
    "content-length",
    "transfer-encoding",
    "connection",
];

/// What differs between the response that was served and the right one; `None` = nothing.
pub(super) fn difference(served: &Result<Response>, right: &Result<Response>) -> Option<String> {
    let (served, right) = match (served, right) {
        (Ok(served), Ok(right)) => (served, right),
        (Err(_), Err(_)) => return None,
        (Err(failure), Ok(_)) => return Some(format!("no response: {}", whole(failure))),
        (Ok(_), Err(failure)) => return Some(format!("a response where Envoy has none: {}", whole(failure))),
    };
    let mut differing = Vec::new();
    if served.status != right.status {
        differing.push(format!("status {} for {}", served.status, right.status));
    }
    differing.extend(content(served, right));
    // The tag is made of the content.
    let told = !differing.is_empty();
    differing.extend(fields(served, right).into_iter().filter(|name| !told || name != "etag"));
    (!differing.is_empty()).then(|| differing.join(", "))
}

fn whole(failure: &Failure) -> String {
    failure.to_string()
}

fn fields(served: &Response, right: &Response) -> BTreeSet<String> {
    let lines = |response: &Response| {
        let lines = response.fields.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
        let mut lines: Vec<_> = lines.cloned().collect();
        lines.sort();
        lines
    };
    let (served, right) = (lines(served), lines(right));
    if served == right {
        return BTreeSet::new();
    }
    let names = served.iter().chain(&right).map(|(name, _)| name.clone());
    let of = |lines: &[(String, Vec<u8>)], name: &str| {
        let values = lines.iter().filter(|line| line.0 == name);
        values.map(|line| line.1.clone()).collect::<Vec<_>>()
    };
    names.filter(|name| of(&served, name) != of(&right, name)).collect()
}

fn content(served: &Response, right: &Response) -> Vec<String> {
    if served.body == right.body {
        return Vec::new();
    }
    let (Ok(Value::Object(one)), Ok(Value::Object(other))) = (served.json(), right.json()) else {
        return vec!["content".to_owned()];
    };
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differing = keys.into_iter().filter(|key| one.get(*key) != other.get(*key));
    differing.map(|key| format!("content's {key}")).collect()
}
