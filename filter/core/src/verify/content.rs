//! What two responses are compared by: a keyed digest of status, some fields and the content without what is masked.

use crate::cache::KeySecret;
use crate::http::fields::Fields;
use memchr::memmem::Finder;

/// Largest content that is compared, bytes.
pub const MAX_CONTENT: usize = 256 << 10;
/// Most bytes between the two markers of a mask; beyond that the markers do not belong together.
pub const MAX_MASKED: usize = 4_096;

/// Fields that are compared.
const COMPARED: [&[u8]; 4] = [b"content-type", b"content-encoding", b"content-language", b"location"];

/// Size of a digest, bytes.
pub type Digest = [u8; 16];

/// What is left out of the content: all between two literal markers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Where it begins.
    pub start: Vec<u8>,
    /// Where it ends.
    pub end: Vec<u8>,
}

/// Digest of a response. Two have the same if, and only if, no client could tell them apart by what is compared.
#[must_use]
pub fn digest(secret: &KeySecret, status: u16, fields: &Fields<'_>, content: &[u8], masks: &[Mask]) -> Digest {
    let status = status.to_be_bytes();
    let mut parts: Vec<&[u8]> = vec![&status];
    for name in COMPARED {
        parts.push(name);
        parts.extend(fields.all(name));
    }
    parts.push(b"content");
    parts.extend(unmasked(content, masks));
    secret
        .digest(b"verified sharing", parts.into_iter())
        .unwrap_or_default()
}

/// The content without what is masked. The markers themselves stay.
fn unmasked<'c>(content: &'c [u8], masks: &[Mask]) -> Vec<&'c [u8]> {
    struct Sought<'m> {
        start: Finder<'m>,
        mask: &'m Mask,
        /// Where it begins next; `None`: nowhere any more.
        next: Option<usize>,
    }
    let find = |finder: &Finder<'_>, from: usize| {
        let rest = content.get(from..)?;
        finder.find(rest).map(|at| from + at)
    };
    let mut sought: Vec<Sought<'_>> = masks
        .iter()
        .filter(|mask| !mask.start.is_empty() && !mask.end.is_empty())
        .map(|mask| {
            let start = Finder::new(&mask.start);
            let next = find(&start, 0);
            Sought { start, mask, next }
        })
        .collect();
    let (mut unmasked, mut from, mut at) = (Vec::new(), 0, 0);
    loop {
        for one in &mut sought {
            if one.next.is_some_and(|next| next < at) {
                one.next = find(&one.start, at);
            }
        }
        let first = sought.iter().filter_map(|one| one.next.map(|next| (next, one.mask)));
        let Some((start, mask)) = first.min_by_key(|(next, _)| *next) else {
            break;
        };
        let masked = start + mask.start.len();
        let until = content.len().min(masked + MAX_MASKED + mask.end.len());
        let rest = content.get(masked..until).unwrap_or_default();
        at = match Finder::new(&mask.end).find(rest) {
            Some(length) => {
                unmasked.extend(content.get(from..masked));
                from = masked + length;
                from + mask.end.len()
            }
            None => start + 1,
        };
    }
    unmasked.extend(content.get(from..));
    unmasked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(pairs: &[(&str, &str)]) -> Vec<Mask> {
        let mask = |(start, end): &(&str, &str)| Mask {
            start: start.as_bytes().to_vec(),
            end: end.as_bytes().to_vec(),
        };
        pairs.iter().map(mask).collect()
    }

    #[test]
    fn what_is_between_markers_does_not_count() {
        let far = format!("<t>{}</t>b", "x".repeat(MAX_MASKED + 1));
        for (content, pairs, left) in [
            ("a<t>1</t>b", &[("<t>", "</t>")][..], "a<t></t>b"),
            ("a<t>1</t>b<t>2</t>", &[("<t>", "</t>")], "a<t></t>b<t></t>"),
            ("a<t></t>b", &[("<t>", "</t>")], "a<t></t>b"),
            ("a<t>1b", &[("<t>", "</t>")], "a<t>1b"),
            (
                "\"id\":\"7\",\"at\":9}",
                &[("\"at\":", "}"), ("\"id\":\"", "\"")],
                "\"id\":\"\",\"at\":}",
            ),
            ("<a>x<b>y</b>z</a>", &[("<b>", "</b>"), ("<a>", "</a>")], "<a></a>"),
            ("||1||2||", &[("||", "||")], "||||2||"),
            ("abc", &[("", "c"), ("a", "")], "abc"),
            ("", &[("a", "b")], ""),
            (&far, &[("<t>", "</t>")], &far),
        ] {
            let unmasked = unmasked(content.as_bytes(), &masks(pairs)).concat();
            assert_eq!(String::from_utf8_lossy(&unmasked), left, "{content}");
        }
    }

    #[test]
    fn a_digest_tells_apart_what_a_client_could_tell_apart() {
        let secret = KeySecret::derived(&[7; 16]).unwrap();
        let of = |status, fields: &[(&'static str, &'static str)], content: &str| {
            let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            digest(
                &secret,
                status,
                &fields.collect(),
                content.as_bytes(),
                &masks(&[("#", "#")]),
            )
        };
        let json = ("content-type", "application/json");
        let base = of(200, &[json], "a#1#");
        assert_eq!(base, of(200, &[json, ("date", "today"), ("etag", "\"1\"")], "a#2#"));
        for other in [
            of(203, &[json], "a#1#"),
            of(200, &[], "a#1#"),
            of(200, &[json, ("content-language", "de")], "a#1#"),
            of(200, &[json], "b#1#"),
            of(200, &[json], "a#1# "),
        ] {
            assert_ne!(base, other);
        }
        let foreign = KeySecret::derived(&[8; 16]).unwrap();
        assert_ne!(
            digest(&secret, 200, &Fields::default(), b"a", &[]),
            digest(&foreign, 200, &Fields::default(), b"a", &[])
        );
    }
}
