//! Purges: recorded for all workers, and as clients of the data path ask for them.

use crate::cache::{CacheKey, CacheStatus, groups};
use crate::driver::exchange::{Exchange, Flow};
use crate::driver::fetches::tier_offer;
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::reply::answer::{Problem, answer_problem};
use crate::driver::shared::registry;
use crate::driver::shared::wake::Wake;
use crate::driver::vm::Vm;
use crate::engine::CacheRequest;
use optimizer_proto::codes::InvalidationCause;
use optimizer_proto::purge::has_wildcard;
use optimizer_proto::url;
use optimizer_proto::v1::purge_command::Kind;
use optimizer_proto::v1::{ClientPurge, PurgeCommand};

/// Tags of one `PURGE`.
const MAX_TAGS: usize = 64;
/// Bytes of what one `PURGE` names.
const MAX_NAMED: usize = 8_192;

impl Vm {
    /// Records a purge and tells the other VMs; answers its number.
    pub(crate) fn purge(&mut self, ctx: Ctx<'_, impl Host>, purge: &PurgeCommand) -> Result<u32, String> {
        let mut number = 0;
        for target in self.purge_targets(purge)? {
            let purge_generation = self
                .invalidation_log
                .purge(ctx.host, &target, purge.soft, ctx.now_ms)
                .map_err(|error| format!("the purge could not be recorded: {error:?}"))?;
            number = purge_generation.number();
        }
        self.recorder.invalidated(purge_cause(purge.kind()));
        self.beat(ctx);
        let mut item = vec![Wake::InvalidationLog.byte()];
        item.extend_from_slice(&self.queue.to_le_bytes());
        for vm in registry::vms(ctx.host, ctx.steady_ms())
            .iter()
            .filter(|vm| vm.uid != self.uid)
        {
            // One that cannot be woken sees the purge at its next tick.
            let _ = ctx.host.enqueue(vm.queue, &item);
        }
        Ok(number)
    }

    /// `PURGE` on the data path, where settings allow it: the URL of the request, or with one of the fields that carry tags the
    /// responses with those. The answer's `x-purge-matched` says how many stored responses were meant, if all were counted.
    pub(crate) fn purge_by_request(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        request: &CacheRequest<'_>,
    ) -> Flow {
        let address = ctx.host.property(b"source\0address").unwrap_or_default();
        let source = match self.purging_source(&address) {
            Ok(source) => source,
            Err(problem) => {
                let retry: &[(&[u8], &[u8])] = &[(b"retry-after", b"1")];
                let more = if problem.status == 429 { retry } else { &[] };
                return answer_problem(ctx.host, exchange, &problem, &CacheStatus::default(), more);
            }
        };
        let soft = request
            .fields
            .get(b"x-purge")
            .is_some_and(|how| how.eq_ignore_ascii_case(b"soft"));
        let command = |kind: Kind, value: &[u8]| PurgeCommand {
            kind: kind.into(),
            value: String::from_utf8_lossy(value).into_owned(),
            soft,
            ..PurgeCommand::default()
        };
        let by_tags = groups::FIELDS.iter().any(|field| request.fields.has(field));
        let tags = groups::tags(&request.fields).filter(|tags| tags.len() <= MAX_TAGS);
        let unclear = match &tags {
            None => Some((
                "too_many_tags",
                "A purge names 64 tags at most, of 1,024 bytes each; nothing was purged",
            )),
            Some(tags) if by_tags && tags.is_empty() => Some(("no_tag_named", "The field names no tag")),
            Some(_) if !by_tags && has_wildcard(request.target.path) => Some((
                "wildcard",
                "A purge takes no wildcards: use the prefix of POST /cache/purge at the control plane, or %2A for an asterisk; nothing was purged",
            )),
            Some(_) => None,
        };
        let tags = tags.unwrap_or_default();
        if let Some((code, title)) = unclear {
            let problem = Problem {
                status: 400,
                code,
                title,
            };
            return answer_problem(ctx.host, exchange, &problem, &CacheStatus::default(), &[]);
        }
        let target = &request.target;
        // In canonical form, which is text whatever the client has sent.
        let url = [
            target.scheme,
            b"://",
            &url::host(target.authority),
            &url::path(target.path),
        ]
        .concat();
        if url.len() + tags.iter().map(Vec::len).sum::<usize>() > MAX_NAMED {
            let problem = Problem {
                status: 414,
                code: "purge_too_long",
                title: "A purge names 8 KiB at most",
            };
            return answer_problem(ctx.host, exchange, &problem, &CacheStatus::default(), &[]);
        }
        let commands: Vec<PurgeCommand> = if tags.is_empty() {
            vec![command(Kind::Url, &url)]
        } else {
            tags.iter().map(|tag| command(Kind::Tag, tag)).collect()
        };
        let count = self.count_before(ctx, &commands);
        let matched = count.filter(|count| count.done).map(|count| count.matched);
        let done = commands
            .iter()
            .try_for_each(|command| self.purge(ctx, command).map(drop));
        if done.is_ok() {
            self.purge_in_tier(ctx, request, &tags);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            self.recorder.client_purge(ClientPurge {
                source,
                url: if tags.is_empty() { text(&url) } else { String::new() },
                tags: tags.iter().map(|tag| text(tag)).collect(),
                soft,
                at_ms: ctx.now_ms,
                matched,
            });
        }
        let matched = matched.filter(|_| done.is_ok()).map(|matched| matched.to_string());
        let matched: Vec<(&[u8], &[u8])> = matched
            .iter()
            .map(|number| (&b"x-purge-matched"[..], number.as_bytes()))
            .collect();
        let problem = match done {
            Ok(()) => Problem {
                status: 200,
                code: "purged",
                title: "Purged on this Envoy; the control plane tells the others",
            },
            Err(_) => Problem {
                status: 503,
                code: "purge_not_recorded",
                title: "The purge could not be recorded; nothing was purged",
            },
        };
        answer_problem(ctx.host, exchange, &problem, &CacheStatus::default(), &matched)
    }

    fn purge_in_tier(&mut self, ctx: Ctx<'_, impl Host>, request: &CacheRequest<'_>, tags: &[Vec<u8>]) {
        if tags.is_empty() {
            let route = std::rc::Rc::clone(self.policies.route(request.target.authority, request.target.path));
            let key = CacheKey::new(&route.key, &request.target, &request.fields, &self.key_secret.secret);
            self.invalidate_in_tier(ctx, tier_offer::url_subject(&key));
        }
        for tag in tags {
            self.invalidate_in_tier(ctx, tier_offer::tag_subject(b"", tag));
        }
    }

    /// `address` as Envoy writes it: `10.0.0.1:1234` or `[::1]:1234`.
    fn purging_source(&self, address: &[u8]) -> Result<String, Problem> {
        let address = std::str::from_utf8(address)
            .ok()
            .and_then(|text| text.parse::<std::net::SocketAddr>().ok());
        let sources = &self.policies.settings.purge_sources;
        let listed = address.filter(|address| sources.iter().any(|range| range.contains(address.ip())));
        let Some(listed) = listed else {
            return Err(Problem {
                status: 403,
                code: "purge_not_allowed",
                title: "Purges are taken from other addresses only",
            });
        };
        if self.recorder.admits_purge() {
            Ok(listed.ip().to_string())
        } else {
            Err(Problem {
                status: 429,
                code: "too_many_purges",
                title: "More purges than are taken per second; a tag reaches many at once",
            })
        }
    }
}

fn purge_cause(kind: Kind) -> InvalidationCause {
    match kind {
        Kind::All => InvalidationCause::PurgeAll,
        Kind::Host => InvalidationCause::PurgeHost,
        Kind::Prefix => InvalidationCause::PurgePrefix,
        Kind::Tag => InvalidationCause::PurgeTag,
        Kind::Url | Kind::Unspecified => InvalidationCause::PurgeUrl,
    }
}
