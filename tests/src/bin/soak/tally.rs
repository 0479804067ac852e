//! What came of the requests.

use crate::judge::Right;
use e2e::client::Response;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Wrong answers that are told in full.
const TOLD: usize = 40;

#[derive(Debug, Default)]
struct Counts {
    requests: u64,
    repeated: u64,
    hits: u64,
    from_tier: u64,
    right: BTreeMap<&'static str, u64>,
    refused: BTreeMap<&'static str, u64>,
    broken: BTreeMap<&'static str, u64>,
    wrong: u64,
    told: Vec<String>,
}

/// The counts of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    began: Instant,
    counts: Mutex<Counts>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            counts: Mutex::default(),
        }
    }

    pub(crate) fn count_request(&self) {
        self.lock().requests += 1;
    }

    /// A request was sent again, on a new connection.
    pub(crate) fn repeated(&self) {
        self.lock().repeated += 1;
    }

    pub(crate) fn right(&self, right: Right, answer: &Response) {
        let status = answer.header("cache-status").unwrap_or_default();
        let mut counts = self.lock();
        counts.hits += u64::from(answer.is_hit());
        counts.from_tier += u64::from(status.contains("api-optimizer-tier; hit"));
        let name = match right {
            Right::Whole => "whole",
            Right::InPlaceOfAnError => "stale in place of an error",
            Right::Part => "part",
            Right::NotModified => "not modified",
            Right::ByALie => "by a wrong 304 of the origin",
            Right::Refused(cause) => {
                *counts.refused.entry(cause).or_default() += 1;
                return;
            }
        };
        *counts.right.entry(name).or_default() += 1;
    }

    /// No complete answer, for a known cause.
    pub(crate) fn failed(&self, cause: &'static str) {
        *self.lock().broken.entry(cause).or_default() += 1;
    }

    pub(crate) fn wrong(&self, sentence: String) {
        let sentence = format!("at {:.1} s: {sentence}", self.began.elapsed().as_secs_f64());
        eprintln!("WRONG {sentence}");
        let mut counts = self.lock();
        counts.wrong += 1;
        if counts.told.len() < TOLD {
            counts.told.push(sentence);
        }
    }

    /// Requests, hits, wrong answers so far.
    pub(crate) fn so_far(&self) -> (u64, u64, u64) {
        let counts = self.lock();
        (counts.requests, counts.hits, counts.wrong)
    }

    pub(crate) fn report(&self) -> Value {
        let counts = self.lock();
        json!({
            "requests": counts.requests,
            "hits": counts.hits,
            "from_shared_tier": counts.from_tier,
            "repeated_on_a_new_connection": counts.repeated,
            "right": counts.right,
            "refused_by_cause": counts.refused,
            "broken_by_cause": counts.broken,
            "wrong": counts.wrong,
            "wrong_answers": counts.told,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
