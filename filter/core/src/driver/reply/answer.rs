//! Responses that the filter makes: from the cache, and of its own.

use crate::cache::ReuseReason;
use crate::cache::reply::Reply;
use crate::cache::sharing::is_client_state;
use crate::cache::{CacheStatus, ClientState, StoredView};
use crate::driver::exchange::sent::{self, Sent};
use crate::driver::exchange::{Exchange, Flow};
use crate::driver::host::header_map::{self, MapWriter};
use crate::driver::host::{Host, LocalReply};
use crate::driver::vm::Vm;
use crate::http::fields::Line;
use bytes::Bytes;
use optimizer_proto::v1::Outcome;

/// Room for the field lines of a usual response.
const FIELDS: usize = 24;
const FIELD_BYTES: usize = 768;

/// A stored response that is an answer.
#[derive(Debug)]
pub(crate) struct Served<'a> {
    pub(crate) view: &'a StoredView<'a>,
    pub(crate) reply: &'a Reply<'a>,
    pub(crate) status: CacheStatus<'a>,
    pub(crate) outcome: Outcome,
    /// Field lines that come on top.
    pub(crate) more: &'a [Line<'a>],
    /// The memory that it is a part of.
    pub(crate) memory: Option<&'a Bytes>,
}

impl Vm {
    /// Answers with a stored response. A host that refuses lets the request go on.
    pub(crate) fn answer(&mut self, host: &impl Host, exchange: &mut Exchange, served: &Served<'_>) -> Flow {
        let Served { view, reply, .. } = served;
        let mut writer = MapWriter::with_capacity(FIELDS, FIELD_BYTES);
        let shares_state = exchange
            .route
            .as_ref()
            .is_some_and(|route| route.freshness.sharing.client_state == ClientState::Share);
        // Envoy counts the content of a reply itself.
        let counted = !reply.body.is_empty() && exchange.phase.is_passing();
        let left_out = |name: &[u8]| !shares_state && is_client_state(name) || counted && name == b"content-length";
        if view.is_checked() {
            reply.for_each_field(view, &mut |name, value| {
                if !left_out(name) {
                    writer.push_sound(name, value);
                }
            });
        } else {
            reply.for_each_field(view, &mut |name, value| {
                if !left_out(name) {
                    writer.push(name, value);
                }
            });
        }
        let mut cache_status = Vec::with_capacity(64);
        served
            .status
            .write(view.get(b"cache-status").into_iter(), &mut cache_status);
        writer.push(b"cache-status", &cache_status);
        for (name, value) in served.more {
            writer.push(name, value);
        }
        let content_type = || {
            reply
                .content_type
                .clone()
                .or_else(|| view.get(b"content-type").map(<[u8]>::to_vec))
        };
        let mut fields = writer.finish();
        let mut body: &[u8] = &reply.body;
        if exchange.phase.is_judged() {
            let rules = self.learned.added_to(exchange, exchange.started_ns / 1_000_000);
            if !rules.is_empty() {
                fields = rewritten(&fields, &rules);
            }
            if body.is_empty() && reply.content_length.is_some_and(|length| length > 0) {
                // An answer to HEAD. Envoy takes its content off, and what describes it off one without.
                body = view.body();
            }
        }
        let bare = body.is_empty();
        let put_back = (
            reply.content_length.filter(|length| bare && *length > 0),
            if bare && reply.content_length.is_some_and(|length| length > 0) {
                content_type()
            } else {
                None
            },
        );
        let sent = host.reply(&LocalReply {
            status: reply.status,
            fields: &fields,
            body,
            memory: served.memory,
            details: "api_optimizer_cache",
        });
        if sent.is_err() {
            return Flow::Continue;
        }
        let size = reply.body.len() as u64;
        exchange.outcome = served.outcome;
        exchange.bytes = size;
        exchange.phase.answer(Some(Sent {
            fields,
            body: reply.body.len(),
            content_length: put_back.0,
            content_type: put_back.1,
        }));
        Flow::Pause
    }

    /// 504, the answer to `only-if-cached` when nothing stored does (RFC 9111 section 5.2.1.7).
    pub(crate) fn answer_timeout(&mut self, host: &impl Host, exchange: &mut Exchange) -> Flow {
        let status = CacheStatus {
            detail: Some(ReuseReason::OnlyIfCached.as_str()),
            ..CacheStatus::default()
        };
        self.recorder.reason(ReuseReason::OnlyIfCached);
        let problem = Problem {
            status: 504,
            code: "only_if_cached",
            title: "Nothing stored that may be used",
        };
        exchange.outcome = Outcome::Miss;
        answer_problem(host, exchange, &problem, &status, &[])
    }
}

/// A response of the filter's own, as problem+json (RFC 9457).
pub(crate) fn answer_problem(
    host: &impl Host,
    exchange: &mut Exchange,
    problem: &Problem,
    status: &CacheStatus<'_>,
    more: &[(&[u8], &[u8])],
) -> Flow {
    let mut writer = MapWriter::with_capacity(FIELDS, FIELD_BYTES);
    writer.push(b"content-type", b"application/problem+json");
    writer.push(b"cache-control", b"no-store");
    let mut cache_status = Vec::with_capacity(64);
    status.write(std::iter::empty(), &mut cache_status);
    writer.push(b"cache-status", &cache_status);
    for (name, value) in more {
        writer.push(name, value);
    }
    let body = format!(
        r#"{{"type":"urn:api-optimizer:problem:{code}","title":"{title}","status":{status},"code":"{code}"}}"#,
        code = problem.code,
        title = problem.title,
        status = problem.status
    );
    let reply = LocalReply {
        status: problem.status,
        fields: &writer.finish(),
        body: body.as_bytes(),
        memory: None,
        details: "api_optimizer_local",
    };
    if host.reply(&reply).is_err() {
        return Flow::Continue;
    }
    exchange.bytes = body.len() as u64;
    exchange.phase.answer(None);
    Flow::Pause
}

/// What the filter answers when it has nothing to serve.
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) title: &'static str,
}

/// A serialized reply without the lines that the rules of its route add.
fn rewritten(fields: &[u8], rules: &[Vec<u8>]) -> Vec<u8> {
    let lines = header_map::parse(fields);
    let mut writer = MapWriter::with_capacity(lines.len(), fields.len());
    for (name, value) in sent::without_added(&lines, rules) {
        writer.push_sound(name, value);
    }
    writer.finish()
}
