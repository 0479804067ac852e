//! Choosing by language (RFC 9111 section 4.1, RFC 9110 section 12.5.4).
//!
//! An origin that varies by `Accept-Language`, labels its answer with one `Content-Language`, and has just given a client the
//! language it likes best, follows the weights. Whoever else likes that language best would get the same answer, whatever
//! comes after it in his list: `fr;q=0.5, de` and `de, en;q=0.8` both ask for German. Such a response is selected by
//! whether its language is among the best liked, instead of by the whole list. An origin that makes finer differences gets
//! `Accept-Language` into the cache key by its route (`key_headers`).

use crate::http::fields::{Fields, trim};
use crate::http::list::members;

/// Stands, with the language behind it, among the selecting fields in place of `accept-language`. No field can have that name.
const CHOSEN: &[u8] = b"accept-language=";
/// Longest language tag taken into account.
const MAX_TAG: usize = 35;
/// The value of the selecting field where the language is among the best liked.
const BEST: &[u8] = b"1";

/// Puts the chosen language in place of `accept-language` among selecting fields, where the origin has followed the weights.
pub fn refine(vary: &mut [Vec<u8>], request: &Fields<'_>, response: &Fields<'_>) {
    let Some(place) = vary.iter_mut().find(|name| *name == b"accept-language") else {
        return;
    };
    let mut languages = response.all(b"content-language").flat_map(members);
    let (Some(tag), None) = (languages.next(), languages.next()) else {
        return;
    };
    let tag = tag.to_ascii_lowercase();
    if is_tag(&tag) && is_best(&tag, request) {
        *place = [CHOSEN, &tag].concat();
    }
}

/// The request's value of a selecting field that [`refine`] made; `None` for any other name.
#[must_use]
pub fn value(name: &[u8], request: &Fields<'_>) -> Option<Option<Vec<u8>>> {
    let tag = name.strip_prefix(CHOSEN)?;
    Some(is_best(tag, request).then(|| BEST.to_vec()))
}

/// A field line with which a request gives that selecting field the value it was stored with.
#[must_use]
pub fn example(name: &[u8]) -> Option<(&'static [u8], &[u8])> {
    name.strip_prefix(CHOSEN).map(|tag| (&b"accept-language"[..], tag))
}

/// Whether no language is liked better than this one.
fn is_best(tag: &[u8], request: &Fields<'_>) -> bool {
    // For a CGI application this is the same field.
    if request.has(b"accept_language") {
        return false;
    }
    let mut best = 0;
    let mut own = 0;
    for range in request.all(b"accept-language").flat_map(members) {
        let name = range.split(|byte| *byte == b';').next().unwrap_or_default();
        let weight = weight(range);
        best = best.max(weight);
        if trim(name).eq_ignore_ascii_case(tag) {
            own = own.max(weight);
        }
    }
    own > 0 && own == best
}

fn is_tag(tag: &[u8]) -> bool {
    !tag.is_empty() && tag.len() <= MAX_TAG && tag.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// The weight of a member in thousandths (RFC 9110 section 12.4.2); 1000 without one.
#[must_use]
pub fn weight(member: &[u8]) -> u32 {
    let parameter = member
        .split(|byte| *byte == b';')
        .skip(1)
        .map(trim)
        .find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
    let read = parameter.and_then(|text| std::str::from_utf8(text).ok()?.parse::<f32>().ok());
    // Weights lie between 0 and 1; anything else is no weight.
    read.filter(|weight| (0.0..=1.0).contains(weight))
        .map_or(1_000, |weight| (weight * 1_000.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refined(accept: &str, content: &str) -> Vec<u8> {
        let request = Fields::from(vec![(&b"accept-language"[..], accept.as_bytes())]);
        let response = Fields::from(vec![(&b"content-language"[..], content.as_bytes())]);
        let mut vary = vec![b"accept-language".to_vec()];
        refine(&mut vary, &request, &response);
        vary.remove(0)
    }

    #[test]
    fn only_an_origin_that_follows_the_weights_is_taken_at_its_word() {
        for (accept, content, chosen) in [
            ("en, de", "de", true),
            ("de;q=0.5", "DE", true),
            ("en, de;q=0.9", "de", false),
            ("en-GB, en;q=0.9", "en", false),
            ("de", "de, en", false),
            ("*", "de", false),
            ("de;q=0", "de", false),
            ("", "de", false),
            ("de", "", false),
            ("de", "d,e", false),
        ] {
            assert_eq!(
                refined(accept, content).starts_with(CHOSEN),
                chosen,
                "{accept} -> {content}"
            );
        }
    }

    #[test]
    fn whoever_likes_another_language_better_is_not_given_this_one() {
        for (accept, same) in [
            ("fr;q=0.5, de;q=1.0", true),
            ("DE", true),
            ("de, fr", true),
            ("fr, de;q=0.9", false),
            ("de-AT, de;q=0.9", false),
            ("fr", false),
            ("*", false),
            ("de;q=0", false),
        ] {
            let request = Fields::from(vec![(&b"accept-language"[..], accept.as_bytes())]);
            let read = value(b"accept-language=de", &request).unwrap();
            assert_eq!(read.is_some(), same, "{accept}");
        }
        assert_eq!(value(b"accept-language=de", &Fields::default()), Some(None));
        assert_eq!(value(b"accept-language", &Fields::default()), None);
    }
}
