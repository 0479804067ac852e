//! Whether an answer is right: explained, byte by byte, by the origin's log.

use crate::content::{Resource, content, hash};
use crate::log::{Issued, Log};
use crate::origin::entity_tag;
use e2e::client::Response;
use std::time::{Duration, Instant};

/// What the check allows for clocks and for the time that an answer takes on a busy machine.
const SLACK: Duration = Duration::from_secs(1);
/// A failure of the origin is felt so long: the breaker stays open, what is stale stands in.
const FELT: Duration = Duration::from_secs(60);

/// A request of a client.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    pub(crate) resource: Resource,
    /// For whom it asks: the value of the field that tells users or languages apart.
    pub(crate) who: String,
    pub(crate) condition: Option<String>,
    pub(crate) range: Option<(usize, usize)>,
    /// The least version that may be the answer.
    pub(crate) floor: u64,
    pub(crate) at: Instant,
}

/// An answer that is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// Fresh, or validated.
    Whole,
    /// Past its time, in place of an error.
    InPlaceOfAnError,
    /// Part of it.
    Part,
    /// The client has it.
    NotModified,
    /// The origin confirmed, against the truth, that nothing has changed.
    ByALie,
    /// An error, for a reason that the origin's log gives.
    Refused(&'static str),
}

/// Judges a complete answer. The error is a sentence.
pub(crate) fn judge(log: &Log, asked: &Asked, answer: &Response) -> Result<Right, String> {
    match answer.status {
        204 if asked.method == "POST" => Ok(Right::Whole),
        200 if asked.method == "HEAD" => {
            let issued = by_tag(log, asked, answer)?;
            let length = content(issued.resource, &issued.who, issued.version).len();
            let told = answer
                .number("content-length")
                .and_then(|told| usize::try_from(told).ok());
            let known = |told: usize| told == length || told == length / 2;
            if told.is_some_and(|told| !known(told)) {
                return Err(format!("HEAD says {told:?} bytes of {length}"));
            }
            fits(log, asked, &issued)
        }
        200 => {
            let found = log.find(hash(&answer.body));
            let (issued, _) = found.ok_or_else(|| format!("content that was never issued: {}", begin(answer)))?;
            let tag = tag_of(&issued);
            if answer.header("etag").as_deref() != Some(tag.as_str()) {
                return Err(format!(
                    "the tag {:?} of other content, whose own is {tag}",
                    answer.header("etag")
                ));
            }
            fits(log, asked, &issued)
        }
        206 => {
            let issued = by_tag(log, asked, answer)?;
            part(log, asked, answer, &issued)?;
            let right = fits(log, asked, &issued)?;
            Ok(if right == Right::Whole { Right::Part } else { right })
        }
        304 => {
            if log.lied_since(asked.resource, asked.at.checked_sub(SLACK).unwrap_or(asked.at)) {
                return Ok(Right::ByALie);
            }
            let issued = by_tag(log, asked, answer)?;
            if asked.condition.as_deref() != Some(tag_of(&issued).as_str()) {
                return Err(format!(
                    "304 for {:?}, asked about {:?}",
                    tag_of(&issued),
                    asked.condition
                ));
            }
            let right = fits(log, asked, &issued)?;
            Ok(if right == Right::Whole {
                Right::NotModified
            } else {
                right
            })
        }
        500..=599 => refused(log, asked, answer),
        status => Err(format!("status {status}")),
    }
}

/// Judges that there was no complete answer.
pub(crate) fn judge_broken(log: &Log, asked: &Asked) -> Option<&'static str> {
    let since = asked.at.checked_sub(SLACK).unwrap_or(asked.at);
    log.trouble_since(asked.resource, since)
}

fn refused(log: &Log, asked: &Asked, answer: &Response) -> Result<Right, String> {
    let path = asked.resource.path();
    let text = answer.text();
    if let Some(other) = text.strip_prefix("failing ")
        && other.trim() != path
    {
        return Err(format!("the error of {}", other.trim()));
    }
    let felt = asked.at.checked_sub(FELT).unwrap_or(asked.at);
    if answer
        .header("cache-status")
        .is_some_and(|status| status.contains("breaker-open") || status.contains("breaker-half-open"))
    {
        return if log.failed_since(felt) {
            Ok(Right::Refused("breaker open"))
        } else {
            Err("refused by the breaker of an origin that did not fail".to_owned())
        };
    }
    match judge_broken(log, asked) {
        Some(trouble) => Ok(Right::Refused(trouble)),
        None => Err(format!("status {} without a cause: {}", answer.status, begin(answer))),
    }
}

/// What the answer's tag names.
fn by_tag(log: &Log, asked: &Asked, answer: &Response) -> Result<Issued, String> {
    let tag = answer.header("etag").unwrap_or_default();
    let hex = tag.trim_start_matches("W/").trim_matches('"');
    let found = u64::from_str_radix(hex, 16).ok().and_then(|hash| log.find(hash));
    match found {
        Some((issued, _)) => Ok(issued),
        None => Err(format!(
            "a tag that was never issued: {tag:?} to {} for <{}>",
            asked.method, asked.who
        )),
    }
}

fn tag_of(issued: &Issued) -> String {
    let whole = content(issued.resource, &issued.who, issued.version);
    entity_tag(issued.resource, hash(&whole))
}

/// Whether somebody who asks for this, then, may be given that.
fn fits(log: &Log, asked: &Asked, issued: &Issued) -> Result<Right, String> {
    let given = format!(
        "{} for <{}> version {}",
        issued.resource.path(),
        issued.who,
        issued.version
    );
    if issued.resource != asked.resource {
        return Err(format!("another resource: {given}"));
    }
    if issued.who != asked.who {
        return Err(format!("somebody else's: {given}"));
    }
    if log.lied_since(asked.resource, asked.at.checked_sub(SLACK).unwrap_or(asked.at)) {
        return Ok(Right::ByALie);
    }
    if issued.version < asked.floor {
        return Err(format!("purged: {given}, where {} is the least", asked.floor));
    }
    if asked.at <= issued.until + SLACK {
        return Ok(Right::Whole);
    }
    let late = asked.at.saturating_duration_since(issued.until);
    let felt = asked.at.checked_sub(FELT).unwrap_or(asked.at);
    if asked.at <= issued.if_error_until + SLACK && log.failed_since(felt) {
        return Ok(Right::InPlaceOfAnError);
    }
    Err(format!("stale for {} ms: {given}", late.as_millis()))
}

/// Whether a 206 brings the bytes that it names, and those that were asked for.
fn part(log: &Log, asked: &Asked, answer: &Response, issued: &Issued) -> Result<(), String> {
    let place = answer.header("content-range").unwrap_or_default();
    let (first, last, total) = read_place(&place).ok_or_else(|| format!("content-range {place:?}"))?;
    let whole = content(issued.resource, &issued.who, issued.version);
    if total != whole.len() && !log.announced(hash(&whole)).contains(&total) {
        return Err(format!("{place} of {} bytes", whole.len()));
    }
    if whole.get(first..=last) != Some(answer.body.as_slice()) {
        return Err(format!("other bytes than {place} of version {}", issued.version));
    }
    match asked.range {
        Some((wanted, until)) if wanted == first && until.min(total - 1) == last => Ok(()),
        wanted => Err(format!("{place}, asked for {wanted:?}")),
    }
}

fn read_place(place: &str) -> Option<(usize, usize, usize)> {
    let (range, total) = place.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = total.parse().ok().filter(|total| *total > 0)?;
    Some((first.parse().ok()?, last.parse().ok()?, total))
}

fn begin(answer: &Response) -> String {
    let text: String = answer.text().chars().take(80).collect();
    format!("{} bytes, {text:?}", answer.body.len())
}
