//! Whether an answer is the one without the filter, or one that RFC 9111 allows: by what the origin sent, not by what the filter says.

use super::ask::{Ask, Content, Manner};
use super::breaker_rule::Farthest;
use super::habits::Life;
use super::history::{Entry, History};
use super::seen::{End, Seen};
use std::collections::BTreeSet;
use std::time::Duration;

/// Fields of time, of the hop and of framing, and the number of what was sent.
const OWN: [&str; 8] = [
    "date",
    "age",
    "cache-status",
    "content-length",
    "transfer-encoding",
    "connection",
    "via",
    "x-serial",
];

/// Lifetimes are counted in whole seconds.
const ROUNDED: Duration = Duration::from_secs(1);
/// Between a client's clock reading and the origin's.
const BETWEEN: Duration = Duration::from_millis(1);

fn is_own(name: &str) -> bool {
    OWN.contains(&name) || name.starts_with("x-envoy-")
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// What the origin sent for it.
    Fetch,
    /// What the origin sent for another request.
    Reuse,
    /// Envoy, with or without the filter.
    Envoy,
}

/// What is wrong with an answer.
pub(super) fn judge(history: &History, ask: &Ask, id: &str, seen: &Seen, twin: &Seen) -> Result<From, String> {
    if ask.manner == Manner::Leave(0) {
        return Ok(From::Envoy);
    }
    if seen.end == End::Silent && twin.end != End::Silent {
        return Err("never answered".to_owned());
    }
    let times = history.asked(id);
    let most = match ask.method {
        "GET" | "HEAD" if ask.habit().life != Life::Own => 2,
        _ => 1,
    };
    if times > most {
        return Err(format!("sent to the origin {times} times"));
    }
    let Some(entry) = seen.serial().and_then(|serial| history.sent(serial)) else {
        return envoys_own(history, ask, seen, twin);
    };
    if entry.path != ask.path {
        return Err(format!("an answer for {}", entry.path));
    }
    if entry.ask == id {
        if seen.says("hit") {
            return Err("says hit of an answer of its own".to_owned());
        }
        if comparable(history, ask, seen, twin) {
            same(ask, seen, twin)?;
        }
        return Ok(From::Fetch);
    }
    reusable(history, ask, seen, &entry)
        .and_then(|()| as_sent(ask, seen, &entry))
        .map(|()| From::Reuse)
}

/// Whether the origins answered both alike: those that fail at times did not change between the two.
fn comparable(history: &History, ask: &Ask, seen: &Seen, twin: &Seen) -> bool {
    if !ask.habit().is_failing() {
        return true;
    }
    let (begun, ended) = (
        seen.asked.min(twin.asked),
        (seen.asked + seen.took).max(twin.asked + twin.took),
    );
    let (_, left) = history.phase(ask.habit(), begun);
    begun + left > ended
}

/// Whether the breaker answers in the upstream's place.
pub(super) fn is_refusal(seen: &Seen) -> bool {
    seen.status == 503 && seen.cache_status().contains("; detail=breaker-")
}

/// An answer that no origin sent.
fn envoys_own(history: &History, ask: &Ask, seen: &Seen, twin: &Seen) -> Result<From, String> {
    if is_refusal(seen) {
        let at = seen.asked + seen.took;
        let least = if seen.says("detail=breaker-half-open") {
            Farthest::HalfOpen
        } else {
            Farthest::Open
        };
        return if history.farthest(ask.habit(), at) >= least {
            Ok(From::Envoy)
        } else {
            let told = history.counted(ask.habit(), at);
            Err(format!("refused ({}): {told}", seen.cache_status()))
        };
    }
    if !comparable(history, ask, seen, twin) {
        return Ok(From::Envoy);
    }
    let only_stored = ask
        .header("cache-control")
        .is_some_and(|value| value == "only-if-cached");
    if seen.status == 504 && only_stored && seen.says("detail=only-if-cached") {
        return Ok(From::Envoy);
    }
    // Those who waited for a fetch that fails share its status.
    if seen.says("detail=collapsed-failure") && matches!(ask.manner, Manner::Crowd(_)) && ask.habit().is_failing() {
        return Ok(From::Envoy);
    }
    // Of a condition or a range that fails nothing but the validators is sent.
    if matches!(seen.status, 304 | 416) && twin.status == seen.status && seen.header("etag") == twin.header("etag") {
        return Ok(From::Reuse);
    }
    if is_beyond_the_end(ask, seen) {
        return Ok(From::Reuse);
    }
    // What Envoy says in place of an upstream that fails, the filter says in its own words.
    if twin.serial().is_none() && seen.status == twin.status && seen.status >= 500 {
        return Ok(From::Envoy);
    }
    same(ask, seen, twin).map(|()| From::Envoy)
}

/// Whether both are the same to a client.
fn same(ask: &Ask, seen: &Seen, twin: &Seen) -> Result<(), String> {
    // Only the filter gives several ranges of what it has, and says that there is no such range; the origin gives the whole.
    if is_several_ranges(ask, seen) || is_beyond_the_end(ask, seen) {
        return Ok(());
    }
    let mut differing = Vec::new();
    if seen.status != twin.status {
        differing.push(format!("status {} for {}", seen.status, twin.status));
    }
    if seen.interim != twin.interim {
        differing.push(format!("interim responses {:?} for {:?}", seen.interim, twin.interim));
    }
    if seen.end != twin.end {
        differing.push(format!("end {:?} for {:?}", seen.end, twin.end));
    }
    let whole = seen.end == End::Whole && ask.manner != Manner::Leave(0);
    let common = if whole {
        usize::MAX
    } else {
        seen.body.len().min(twin.body.len())
    };
    let part = |seen: &Seen| {
        seen.body
            .get(..common.min(seen.body.len()))
            .unwrap_or_default()
            .to_vec()
    };
    if part(seen) != part(twin) {
        differing.push("content".to_owned());
    }
    if seen.trailers != twin.trailers {
        differing.push("trailers".to_owned());
    }
    let length = |seen: &Seen| seen.header("content-length");
    if ask.method == "HEAD" && length(seen) != length(twin) {
        differing.push(format!("content-length {:?} for {:?}", length(seen), length(twin)));
    }
    let mut right = twin.fields.clone();
    if seen.status == 304 {
        // What describes the content may be left out (RFC 9110 section 15.4.5).
        right.retain(|(name, _)| name != "content-type" || seen.header(name).is_some());
    }
    differing.extend(fields(&seen.fields, &right));
    if differing.is_empty() {
        Ok(())
    } else {
        Err(differing.join(", "))
    }
}

fn is_several_ranges(ask: &Ask, seen: &Seen) -> bool {
    let several = ask.header("range").is_some_and(|range| range.contains(','));
    seen.status == 206 && several && seen.header("content-range").is_none()
}

/// A range that begins beyond the end of the content (RFC 9110 section 15.5.17).
fn is_beyond_the_end(ask: &Ask, seen: &Seen) -> bool {
    let size = ask.habit().size;
    seen.status == 416
        && ask.header("range").is_some_and(|range| range == "bytes=90000-")
        && seen.header("content-range") == Some(format!("bytes */{size}"))
}

/// The names of fields that differ. Envoy joins the lines of lists.
fn fields(one: &[(String, String)], other: &[(String, String)]) -> BTreeSet<String> {
    let of = |lines: &[(String, String)], name: &str| {
        let values: Vec<&str> = lines
            .iter()
            .filter(|line| line.0 == name)
            .map(|line| line.1.as_str())
            .collect();
        if name == "set-cookie" {
            values.join("\n")
        } else {
            values.join(",")
        }
    };
    let names = one
        .iter()
        .chain(other)
        .map(|(name, _)| name.as_str())
        .filter(|name| !is_own(name));
    names
        .filter(|name| of(one, name) != of(other, name))
        .map(str::to_owned)
        .collect()
}

/// Whether what was sent for another request may answer this one.
fn reusable(history: &History, ask: &Ask, seen: &Seen, entry: &Entry) -> Result<(), String> {
    let habit = ask.habit();
    let wrong = |what: &str| Err(format!("reused {what}"));
    if !matches!(ask.method, "GET" | "HEAD") || ask.manner == Manner::WebSocket || ask.content != Content::None {
        return wrong("for a request that is never answered so");
    }
    if !matches!(entry.method.as_str(), "GET" | "HEAD") || entry.failed && entry.status >= 400 {
        return wrong("what only its own request gets");
    }
    if entry.authorized {
        return wrong("what was sent to somebody with credentials");
    }
    if habit.variant(|name| ask.header(name)) != entry.variant {
        return wrong("another variant");
    }
    if history.is_outdated(entry, seen.asked) {
        return wrong("what had been changed");
    }
    let status = seen.cache_status();
    let words = ["; hit", "; collapsed", "; fwd-status=304", "; detail=stale-if-error"];
    if !words.iter().any(|word| status.contains(word)) {
        return Err(format!("reused and does not say so: {status}"));
    }
    if entry.at + BETWEEN >= seen.asked {
        // It came after the request had been sent.
        return if habit.life == Life::Own {
            wrong("what is for one alone")
        } else {
            Ok(())
        };
    }
    let age = seen.asked - entry.at;
    let asked = ask.header("cache-control").unwrap_or_default();
    let lifetime = match habit.life {
        Life::Own => return wrong("what is for one alone"),
        Life::Seconds(fresh, more) => Duration::from_secs(fresh + more),
        Life::Validated => Duration::ZERO,
    };
    let strict = habit
        .fields
        .iter()
        .any(|(_, value)| value.contains("no-cache") || value.contains("must-revalidate"));
    // With the upstream away what is stored may serve for longer (RFC 5861 section 4), unless it or the client forbids it.
    let away = |at| history.phase(habit, at).0 || history.farthest(habit, at) == Farthest::Open;
    let forbidden = strict || asked == "no-cache";
    if habit.is_failing() && !forbidden && [seen.asked, seen.asked + seen.took].into_iter().any(away) {
        return Ok(());
    }
    let required = match asked.as_str() {
        "no-cache" | "max-age=0" => return wrong("for one who wants a fresh one"),
        "min-fresh=30" => Duration::from_secs(30),
        _ => Duration::ZERO,
    };
    if asked == "max-stale=100" && !strict {
        return Ok(());
    }
    let allowed = if lifetime.is_zero() {
        lifetime
    } else {
        lifetime + ROUNDED
    };
    if age + required > allowed {
        return Err(format!("reused after {} ms", age.as_millis()));
    }
    Ok(())
}

/// Whether a reused answer is what the origin sent.
fn as_sent(ask: &Ask, seen: &Seen, entry: &Entry) -> Result<(), String> {
    let habit = ask.habit();
    let content = habit.content(&ask.path, entry.version, &entry.variant);
    let tag = habit.entity_tag(entry.version, &entry.variant);
    let named = ask.header("if-none-match").is_some_and(|asked| {
        habit.tag && (asked == "*" || asked.split(", ").any(|one| one.trim_start_matches("W/") == tag))
    });
    // Whatever is stored is named by a star, with a tag or without (RFC 9111 section 4.3.2).
    let starred = habit.status == 200 && ask.header("if-none-match").is_some_and(|asked| asked == "*");
    let given = seen.header("content-range").unwrap_or_default();
    match seen.status {
        304 if named || starred => return Ok(()),
        _ if named && habit.status == 200 => return Err(format!("reused: {} where 304 is due", seen.status)),
        416 if is_beyond_the_end(ask, seen) => return Ok(()),
        206 if is_several_ranges(ask, seen) => return Ok(()),
        206 => {
            let range = given
                .strip_prefix("bytes ")
                .and_then(|range| range.split_once('/')?.0.split_once('-'));
            let bounds =
                range.and_then(|(first, last)| Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?)));
            let part = bounds.and_then(|(first, last)| content.get(first..=last));
            let left = seen.end == End::Left;
            if part.is_none_or(|part| part != seen.body && !(left && part.starts_with(&seen.body))) {
                return Err(format!("reused: part {given} is not of the content"));
            }
        }
        status if status == habit.status => {
            let expected = if ask.method == "HEAD" { &[][..] } else { &content };
            let left = seen.end == End::Left;
            if !(seen.body == expected || left && expected.starts_with(&seen.body)) {
                return Err("reused: other content".to_owned());
            }
        }
        status => return Err(format!("reused: status {status}")),
    }
    let mut lines = entry.fields.clone();
    lines.retain(|(name, _)| name != "content-range");
    let mut shown = seen.fields.clone();
    // With the upstream away, why what is stored is served.
    shown.retain(|(name, _)| name != "content-range" && name != "proxy-status");
    let differing = fields(&shown, &lines);
    if differing.is_empty() {
        Ok(())
    } else {
        Err(format!("reused: fields {differing:?}"))
    }
}
