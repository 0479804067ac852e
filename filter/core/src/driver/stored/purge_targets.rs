//! What a purge names as keys have it, and how many stored responses it means.

use crate::Millis;
use crate::cache::{CacheKey, StoredView};
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::vm::Vm;
use crate::http::fields::Fields;
use crate::http::target::Target;
use crate::store::{Cursor, Exported, Verdict};
use optimizer_proto::purge::{PurgeTarget, Stored};
use optimizer_proto::url;
use optimizer_proto::v1::purge_command::Kind;
use optimizer_proto::v1::{CountCommand, PurgeCommand, PurgeCount};
use std::rc::Rc;

/// Stored responses looked at per step, and most bytes of them: a few milliseconds of one worker.
const SLICE: (usize, u64) = (512, 4 << 20);
/// Targets of one purge.
const MAX_TARGETS: usize = 64;
/// Keys listed that have the same URL in another spelling.
const MAX_LISTED: usize = 16;

impl Vm {
    /// What a command names. One URL may be two targets, if its spelling decides which route it falls to.
    pub(super) fn purge_targets(&self, command: &PurgeCommand) -> Result<Vec<PurgeTarget>, String> {
        if command.kind() != Kind::Url {
            return Ok(vec![PurgeTarget::of(command)?]);
        }
        let (authority, path) = url::split(command.value.as_bytes()).ok_or("a URL is absolute, with http or https")?;
        let as_spelt = path.split(|byte| *byte == b'#').next().unwrap_or_default();
        let as_spelt = if as_spelt.first() == Some(&b'/') {
            as_spelt.to_vec()
        } else {
            [b"/", as_spelt].concat()
        };
        let mut targets = vec![self.url_target(authority, &as_spelt)];
        let canonical = self.url_target(authority, &url::path(path));
        if !targets.contains(&canonical) {
            targets.push(canonical);
        }
        Ok(targets)
    }

    /// The URL with what its route's policy leaves of the query.
    fn url_target(&self, authority: &[u8], path: &[u8]) -> PurgeTarget {
        let route = Rc::clone(self.policies.route(authority, path));
        let target = Target {
            scheme: b"http",
            authority,
            path,
        };
        let key = CacheKey::new(&route.key, &target, &Fields::from(Vec::new()), &self.key_secret.secret);
        PurgeTarget::url(authority, key.path())
    }

    /// Counts what a purge will make unusable, as far as one step goes. `None` when it is not to be counted.
    pub(crate) fn count_before(&mut self, ctx: Ctx<'_, impl Host>, counted: &[PurgeCommand]) -> Option<PurgeCount> {
        if counted.is_empty() || counted.len() > MAX_TARGETS || !self.counts.admits(ctx.now_ms) {
            return None;
        }
        let targets = self.targets_of(counted)?;
        let mut count = PurgeCount::default();
        // What others have purged is not counted as there.
        self.invalidation_log.refresh(ctx.host, ctx.now_ms);
        let next = self.visit_meant(ctx.host, &targets, 0, ctx.now_ms, &mut |_, verdict| {
            count.matched += u64::from(verdict != Verdict::Purged);
        });
        Some(finished(count, next))
    }

    /// Goes on counting what a purge in force has matched, and removes what it has made unusable, so that it is counted once.
    pub(crate) fn count_after(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        command: &CountCommand,
    ) -> Result<PurgeCount, String> {
        let targets = self.targets_of(&command.targets).ok_or("a target cannot be read")?;
        let (mut count, mut gone) = (PurgeCount::default(), Vec::new());
        self.invalidation_log.refresh(ctx.host, ctx.now_ms);
        let next = self.visit_meant(ctx.host, &targets, command.cursor, ctx.now_ms, &mut |entry, verdict| {
            if entry.purge_generation.number() >= command.stamp {
                count.newer += 1;
            } else {
                count.matched += 1;
            }
            if verdict == Verdict::Purged {
                gone.push(entry.id);
            }
        });
        for id in gone {
            self.store.discard(ctx.host, id);
        }
        count.stamp = command.stamp;
        Ok(finished(count, next))
    }

    /// Keys under which responses of the same URL are stored, as a purge of it would find them; and whether all were looked at.
    pub(crate) fn same_url(&self, ctx: Ctx<'_, impl Host>, key: &CacheKey) -> (Vec<String>, bool) {
        let targets = [PurgeTarget::url(key.host(), key.path())];
        let mut keys: Vec<String> = Vec::new();
        let next = self.visit_meant(ctx.host, &targets, 0, ctx.now_ms, &mut |entry, verdict| {
            let Ok(view) = StoredView::decode(&entry.value, false) else {
                return;
            };
            let found = String::from_utf8_lossy(view.key()).into_owned();
            if verdict != Verdict::Purged && keys.len() < MAX_LISTED && !keys.contains(&found) {
                keys.push(found);
            }
        });
        (keys, next.is_none())
    }

    /// The key of a response that is stored for some head of this key's requests.
    pub(crate) fn stored_of_any_head(&self, ctx: Ctx<'_, impl Host>, key: &CacheKey) -> Option<CacheKey> {
        let targets = [PurgeTarget::url(key.host(), key.path())];
        let mut found = None;
        self.visit_meant(ctx.host, &targets, 0, ctx.now_ms, &mut |entry, verdict| {
            if let Ok(view) = StoredView::decode(&entry.value, false)
                && verdict != Verdict::Purged
                && found.is_none()
            {
                found = key.with_head_of(view.key());
            }
        });
        found
    }

    fn targets_of(&self, commands: &[PurgeCommand]) -> Option<Vec<PurgeTarget>> {
        let targets = commands.iter().map(|command| self.purge_targets(command).ok());
        Some(targets.collect::<Option<Vec<_>>>()?.concat())
    }

    /// One step over what is stored: shows `visit` the responses that one of the targets means, each with what the purges so far
    /// mean for it.
    fn visit_meant(
        &self,
        host: &impl Host,
        targets: &[PurgeTarget],
        cursor: u64,
        now_ms: Millis,
        visit: &mut dyn FnMut(&Exported, Verdict),
    ) -> Option<u64> {
        let cursor = Cursor::from_number(cursor);
        let next = self.store.scan(host, cursor, SLICE, now_ms, &mut |entry| {
            let Ok(view) = StoredView::decode(&entry.value, false) else {
                return;
            };
            let parts = CacheKey::parts(view.key());
            let stored = Stored::new(parts.host, parts.path);
            if targets.iter().any(|target| target.matches(&stored, view.tags())) {
                visit(entry, self.verdict(entry.purge_generation, &view));
            }
        });
        next.map(Cursor::number)
    }
}

fn finished(mut count: PurgeCount, next: Option<u64>) -> PurgeCount {
    count.done = next.is_none();
    count.next_cursor = next.unwrap_or_default();
    count
}
