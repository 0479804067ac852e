//! What is stored, counted by age, size and content type; and the keys that matter most.

use crate::cache::StoredView;
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::vm::Vm;
use crate::telemetry::{Measure, Ranked, TopKeys};
use optimizer_proto::v1::{InventoryCommand, InventoryStep, StoredClass, TopKey, TopKeys as RankedKeys};
use std::collections::BTreeMap;

/// Directory pages per step, an eighth of them: a few milliseconds with a full store.
const PAGES: u16 = 128;
/// Content types told apart.
const TYPES: usize = 64;
/// Keys listed per measure.
const LISTED: usize = 50;

/// Upper bounds of the classes of age, milliseconds, with their names; the last one has none.
const AGES: [(u64, &str); 7] = [
    (10_000, "under_10s"),
    (60_000, "under_1m"),
    (600_000, "under_10m"),
    (3_600_000, "under_1h"),
    (21_600_000, "under_6h"),
    (86_400_000, "under_1d"),
    (u64::MAX, "1d_and_more"),
];
/// Those of size, bytes.
const SIZES: [(u64, &str); 6] = [
    (1 << 10, "under_1KB"),
    (10 << 10, "under_10KB"),
    (100 << 10, "under_100KB"),
    (1 << 20, "under_1MB"),
    (10 << 20, "under_10MB"),
    (u64::MAX, "10MB_and_more"),
];

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    entries: u64,
    bytes: u64,
}

impl Counts {
    fn add(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Vm {
    /// The next step of an inventory; with the first one the top keys.
    pub(crate) fn inventory(&mut self, ctx: Ctx<'_, impl Host>, asked: &InventoryCommand) -> InventoryStep {
        let (mut ages, mut sizes) = ([Counts::default(); AGES.len()], [Counts::default(); SIZES.len()]);
        let mut types: BTreeMap<String, Counts> = BTreeMap::new();
        let page = u16::try_from(asked.page).unwrap_or(u16::MAX);
        let next = self.store.survey(
            ctx.host,
            (page, PAGES),
            u64::from(asked.stride.max(1)),
            ctx.now_ms,
            &mut |entry, value| {
                class(&AGES, &mut ages, entry.age_ms, entry.bytes);
                class(&SIZES, &mut sizes, entry.bytes, entry.bytes);
                let Some(mut kind) = value.and_then(content_type) else {
                    return;
                };
                if types.len() >= TYPES && !types.contains_key(&kind) {
                    "other".clone_into(&mut kind);
                }
                types.entry(kind).or_default().add(entry.bytes);
            },
        );
        let types = types.iter().map(|(kind, tally)| (kind.as_str(), *tally));
        InventoryStep {
            by_age: told(AGES.iter().map(|(_, name)| *name).zip(ages)),
            by_size: told(SIZES.iter().map(|(_, name)| *name).zip(sizes)),
            by_content_type: told(types),
            top: if page == 0 { self.top_keys(ctx) } else { Vec::new() },
            done: next.is_none(),
            next_page: next.map_or(0, u32::from),
        }
    }

    fn top_keys(&mut self, ctx: Ctx<'_, impl Host>) -> Vec<RankedKeys> {
        self.figures.top.hand_over(ctx.host, ctx.now_ms);
        let all = TopKeys::of_envoy(ctx.host);
        let ranked = |(measure, name): (Measure, &str)| RankedKeys {
            measure: name.to_owned(),
            keys: all.ranked(measure, LISTED).iter().map(listed).collect(),
        };
        Measure::ALL.map(ranked).to_vec()
    }
}

fn class(classes: &[(u64, &str)], tallies: &mut [Counts], value: u64, bytes: u64) {
    let at = classes.iter().position(|(bound, _)| value < *bound);
    if let Some(tally) = tallies.get_mut(at.unwrap_or(classes.len() - 1)) {
        tally.add(bytes);
    }
}

/// Without parameters, in lower case; `none` for a response without the field.
fn content_type(value: &[u8]) -> Option<String> {
    let view = StoredView::decode(value, false).ok()?;
    let field = view.get(b"content-type").unwrap_or(b"none");
    let kind = field.split(|byte| *byte == b';').next().unwrap_or_default();
    let kind = String::from_utf8_lossy(kind.trim_ascii()).to_ascii_lowercase();
    Some(kind.chars().take(64).collect())
}

fn listed(key: &Ranked) -> TopKey {
    TopKey {
        url: String::from_utf8_lossy(&key.url).into_owned(),
        count: key.count,
        error: key.error,
    }
}

fn told<'n>(classes: impl Iterator<Item = (&'n str, Counts)>) -> Vec<StoredClass> {
    let class = |(name, counts): (&str, Counts)| StoredClass {
        name: name.to_owned(),
        entries: counts.entries,
        bytes: counts.bytes,
    };
    classes.map(class).collect()
}
