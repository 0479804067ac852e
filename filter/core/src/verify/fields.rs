//! What of a request is not in the key: cookies, fields and query parameters, each of which the origin may look at all the same. What the
//! origin refuses to answer without counts as looked at.

use crate::cache::{KeyPolicy, QueryPolicy, lenient};
use crate::http::fields::{Fields, is_alias};
use crate::http::head::is_of_the_hop;
use optimizer_proto::settings::MAX_DEPENDS_ON;
use std::fmt;

/// Parts that are told apart; the last one stands for all that are left.
pub const MAX_PARTS: usize = 16;
/// Longest name that is shown.
const MAX_NAME: usize = 64;

/// Fields that are no candidates. Credentials of `Authorization` are asked for by the origin whatever the content, and what the cache itself
/// obeys or the connection needs is no choice of content.
const NEVER: [&[u8]; 21] = [
    b"authorization",
    b"proxy-authorization",
    b"host",
    b"cache-control",
    b"pragma",
    b"connection",
    b"content-length",
    b"transfer-encoding",
    b"expect",
    b"te",
    b"upgrade",
    b"via",
    b"range",
    b"if-range",
    b"if-match",
    b"if-none-match",
    b"if-modified-since",
    b"if-unmodified-since",
    b"surrogate-capability",
    // In the key, see `Routing::claimed_scheme`.
    b"x-forwarded-proto",
    // Split into its cookies.
    b"cookie",
];

/// What an API asks its callers for, whatever it answers: as `Authorization`.
const KEYS: [&[u8]; 5] = [b"api-key", b"apikey", b"token", b"secret", b"signature"];
/// What stands in place of fields that every client sends: some origins refuse requests without them.
const SUBSTITUTES: [(&[u8], &[u8]); 2] = [(b"accept", b"*/*"), (b"accept-encoding", b"identity")];
const ON_A_DESK: &[u8] = b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
const ON_A_PHONE: &[u8] = b"Mozilla/5.0 (Android 14; Mobile; rv:128.0) Gecko/128.0 Firefox/128.0";

/// Something of a request that the key does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// A cookie.
    Cookie(Vec<u8>),
    /// A request field.
    Header(Vec<u8>),
    /// A parameter of the query.
    Query(Vec<u8>),
}

impl Field {
    /// Less is likelier to be what a response depends on.
    fn rank(&self) -> u8 {
        match self {
            Self::Cookie(_) => 0,
            Self::Query(_) => 2,
            Self::Header(name) => match name.as_slice() {
                b"accept-language" => 1,
                b"accept" | b"accept-encoding" | b"user-agent" => 3,
                name if name.starts_with(b"x-forwarded-") => 5,
                name if name.starts_with(b"x-") => 2,
                _ => 4,
            },
        }
    }
}

/// `cookie plan`, `header x-bucket`, `query lang`: never a value.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Self::Cookie(name) => ("cookie", name),
            Self::Header(name) => ("header", name),
            Self::Query(name) => ("query", name),
        };
        if name.is_empty() {
            return write!(f, "{kind} (without a name)");
        }
        let shown = name.iter().take(MAX_NAME).map(|byte| match byte {
            byte if byte.is_ascii_graphic() => char::from(*byte),
            _ => '?',
        });
        write!(f, "{kind} {}", shown.collect::<String>())
    }
}

/// As a finding names them; of more than settings may hold the last one says how many more there are.
#[must_use]
pub fn described(depends_on: &[Field]) -> Vec<String> {
    let fits = depends_on.len() <= MAX_DEPENDS_ON;
    let named = if fits { depends_on.len() } else { MAX_DEPENDS_ON - 1 };
    let mut described: Vec<String> = depends_on.iter().take(named).map(Field::to_string).collect();
    if !fits {
        described.push(format!("and {} more", depends_on.len() - named));
    }
    described
}

/// What of this request is not in the key, the likeliest first, in parts that are left out together. `selecting`: names by which the stored
/// response was selected.
#[must_use]
pub fn unkeyed(request: &Fields<'_>, policy: &KeyPolicy, selecting: &[&[u8]]) -> Vec<Vec<Field>> {
    let mut found: Vec<Field> = request
        .iter()
        .filter(|(name, _)| is_candidate(name, policy, selecting))
        .map(|(name, _)| Field::Header(name.to_vec()))
        .collect();
    if !selecting.contains(&&b"cookie"[..]) {
        let cookies = request
            .all(b"cookie")
            .flat_map(pairs)
            .filter(|pair| !is_keyed_cookie(pair, policy));
        found.extend(cookies.map(|pair| Field::Cookie(name_of_cookie(pair).to_vec())));
    }
    let path = request.get(b":path").unwrap_or_default();
    let dropped = parameters(path).filter(|parameter| !is_keyed_parameter(parameter, policy));
    found.extend(dropped.map(|parameter| Field::Query(name_of(parameter).to_vec())));
    found.sort_by(|one, other| (one.rank(), one).cmp(&(other.rank(), other)));
    found.dedup();
    let rest = found.split_off(found.len().min(MAX_PARTS - 1));
    let mut parts: Vec<Vec<Field>> = found.into_iter().map(|field| vec![field]).collect();
    if !rest.is_empty() {
        parts.push(rest);
    }
    parts
}

/// The request without some of that. Its trace stays out as well: an origin that repeats it would not repeat itself.
#[must_use]
pub fn without(request: &Fields<'_>, policy: &KeyPolicy, removed: &[Field]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let is_removed = |field: Field| removed.contains(&field);
    let mut lines = Vec::with_capacity(request.len());
    for (name, value) in request.iter() {
        let value = match name {
            b"cookie" => {
                let stays = |pair: &&[u8]| {
                    is_keyed_cookie(pair, policy) || !is_removed(Field::Cookie(name_of_cookie(pair).to_vec()))
                };
                let left: Vec<&[u8]> = pairs(value).filter(stays).collect();
                left.join(&b"; "[..])
            }
            b":path" => path_without(value, policy, removed),
            name if is_removed(Field::Header(name.to_vec())) => match substitute(name, value) {
                Some(substitute) => substitute.to_vec(),
                None => continue,
            },
            name if is_of_the_hop(name) && !name.starts_with(b":") => continue,
            _ => value.to_vec(),
        };
        if name != b"cookie" || !value.is_empty() {
            lines.push((name.to_vec(), value));
        }
    }
    lines
}

fn substitute(name: &[u8], value: &[u8]) -> Option<&'static [u8]> {
    if name == b"user-agent" {
        let on_a_phone = value.windows(6).any(|part| part.eq_ignore_ascii_case(b"mobile"));
        return Some(if on_a_phone { ON_A_DESK } else { ON_A_PHONE });
    }
    let known = SUBSTITUTES.iter().find(|(known, _)| *known == name);
    known.map(|(_, substitute)| *substitute)
}

fn is_candidate(name: &[u8], policy: &KeyPolicy, selecting: &[&[u8]]) -> bool {
    let is_named = |keyed: &[u8]| keyed == name || is_alias(name, keyed);
    !name.starts_with(b":")
        && !NEVER.contains(&name)
        && !KEYS.iter().any(|ending| name.ends_with(ending))
        && !is_of_the_hop(name)
        && !policy.headers.iter().any(|keyed| is_named(keyed))
        && !selecting.iter().any(|keyed| is_named(keyed))
}

fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.filter(|pair| !pair.is_empty())
}

/// Of a quoted string servers do not agree where it ends: it stays where it is.
fn is_keyed_cookie(pair: &[u8], policy: &KeyPolicy) -> bool {
    pair.contains(&b'"') || !policy.cookies.is_empty() && lenient::mentions(pair, b",;", &policy.cookies)
}

fn parameters(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let query = path.splitn(2, |byte| *byte == b'?').nth(1).unwrap_or_default();
    let parameters = query.split(|byte| *byte == b'&');
    parameters.filter(|parameter| !parameter.is_empty())
}

fn is_keyed_parameter(parameter: &[u8], policy: &KeyPolicy) -> bool {
    match &policy.query {
        QueryPolicy::All => true,
        QueryPolicy::None => false,
        QueryPolicy::Include(names) => lenient::mentions(parameter, b"&;", names),
        QueryPolicy::Exclude(names) => !lenient::is_exactly(parameter, names),
    }
}

fn path_without(path: &[u8], policy: &KeyPolicy, removed: &[Field]) -> Vec<u8> {
    if !removed.iter().any(|field| matches!(field, Field::Query(_))) {
        return path.to_vec();
    }
    let stays = |parameter: &&[u8]| {
        is_keyed_parameter(parameter, policy) || !removed.contains(&Field::Query(name_of(parameter).to_vec()))
    };
    let left: Vec<&[u8]> = parameters(path).filter(stays).collect();
    let mut out = path.split(|byte| *byte == b'?').next().unwrap_or_default().to_vec();
    if !left.is_empty() {
        out.push(b'?');
        out.extend(left.join(&b"&"[..]));
    }
    out
}

/// A cookie without `=` is a value without a name (RFC 6265bis section 5.6), and values are told to nobody.
fn name_of_cookie(pair: &[u8]) -> &[u8] {
    if pair.contains(&b'=') { name_of(pair) } else { &[] }
}

fn name_of(pair: &[u8]) -> &[u8] {
    pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[(&'static str, &'static str)]) -> Fields<'static> {
        lines
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect()
    }

    fn names(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    fn shown(parts: &[Vec<Field>]) -> Vec<String> {
        parts.iter().flatten().map(Field::to_string).collect()
    }

    const BROWSER: [(&str, &str); 11] = [
        (":method", "GET"),
        (":path", "/p?lang=de&utm=x"),
        ("cookie", "session=1; plan=gold"),
        ("authorization", "Bearer x"),
        ("x-api-key", "k"),
        ("accept-language", "de"),
        ("x-request-id", "7"),
        ("x-bucket", "b"),
        ("user-agent", "ua"),
        ("range", "bytes=0-1"),
        ("x-forwarded-for", "10.0.0.1"),
    ];

    #[test]
    fn the_likeliest_come_first_and_what_is_keyed_does_not_come() {
        let all = unkeyed(&request(&BROWSER), &KeyPolicy::default(), &[]);
        assert_eq!(
            shown(&all),
            [
                "cookie plan",
                "cookie session",
                "header accept-language",
                "header x-bucket",
                "header user-agent",
                "header x-forwarded-for"
            ]
        );
        let keyed = KeyPolicy {
            headers: names(&["x-bucket"]),
            cookies: names(&["plan"]),
            query: QueryPolicy::Exclude(names(&["utm"])),
            ..KeyPolicy::default()
        };
        let some = unkeyed(&request(&BROWSER), &keyed, &[b"accept-language", b"user-agent"]);
        assert_eq!(shown(&some), ["cookie session", "query utm", "header x-forwarded-for"]);
        let vary_cookie = unkeyed(&request(&[("cookie", "a=b")]), &KeyPolicy::default(), &[b"cookie"]);
        assert!(vary_cookie.is_empty());
        let quoted = unkeyed(&request(&[("cookie", "a=\"b; c=d")]), &KeyPolicy::default(), &[]);
        assert_eq!(shown(&quoted), ["cookie c"]);
    }

    #[test]
    fn more_than_can_be_told_apart_is_one_part() {
        let lines: Vec<(String, String)> = (0..40)
            .map(|number| (format!("x-{number:02}"), String::new()))
            .collect();
        let request: Fields<'_> = lines
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        let parts = unkeyed(&request, &KeyPolicy::default(), &[]);
        assert_eq!((parts.len(), parts.last().map(Vec::len)), (MAX_PARTS, Some(25)));
    }

    #[test]
    fn leaving_out_leaves_the_rest_as_it_came() {
        let policy = KeyPolicy {
            cookies: names(&["plan"]),
            query: QueryPolicy::Include(names(&["lang"])),
            ..KeyPolicy::default()
        };
        let of = |removed: &[Field]| -> Vec<String> {
            let lines = without(&request(&BROWSER), &policy, removed);
            lines
                .iter()
                .filter(|(name, _)| [&b":path"[..], b"cookie", b"x-bucket", b"x-request-id"].contains(&name.as_slice()))
                .map(|(name, value)| format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
                .collect()
        };
        assert_eq!(
            of(&[]),
            [":path=/p?lang=de&utm=x", "cookie=session=1; plan=gold", "x-bucket=b"]
        );
        let cookie = |name: &str| Field::Cookie(name.as_bytes().to_vec());
        let query = |name: &str| Field::Query(name.as_bytes().to_vec());
        assert_eq!(
            of(&[
                cookie("session"),
                cookie("plan"),
                query("utm"),
                query("lang"),
                Field::Header(b"x-bucket".to_vec())
            ]),
            [":path=/p?lang=de", "cookie=plan=gold"],
            "what is keyed stays"
        );
        let agent = without(&request(&BROWSER), &policy, &[Field::Header(b"user-agent".to_vec())]);
        assert!(
            agent.contains(&(b"user-agent".to_vec(), ON_A_PHONE.to_vec())),
            "another one, not none"
        );
        let bare = without(
            &request(&[("cookie", "a=1"), (":path", "/p?a")]),
            &KeyPolicy::default(),
            &[cookie("a")],
        );
        assert_eq!(bare, [(b":path".to_vec(), b"/p?a".to_vec())]);
    }

    #[test]
    fn no_more_is_told_than_settings_hold() {
        let fields: Vec<Field> = (0..60_u8).map(|number| Field::Cookie(vec![b'a', number])).collect();
        assert_eq!(described(&fields[..MAX_DEPENDS_ON]).len(), MAX_DEPENDS_ON);
        let all = described(&fields);
        assert_eq!(
            (all.len(), all.last().unwrap().as_str()),
            (MAX_DEPENDS_ON, "and 29 more")
        );
    }

    #[test]
    fn a_cookie_without_a_name_is_left_out_and_not_shown() {
        let lines = [(":path", "/p"), ("cookie", "s3cret; a=1; =other")];
        let request = request(&lines);
        let all = unkeyed(&request, &KeyPolicy::default(), &[]);
        assert_eq!(shown(&all), ["cookie (without a name)", "cookie a"]);
        let left = without(&request, &KeyPolicy::default(), &all[0]);
        assert!(left.contains(&(b"cookie".to_vec(), b"a=1".to_vec())), "{left:?}");
    }

    #[test]
    fn a_name_is_shown_short_and_harmless() {
        let long = Field::Cookie([b"a\r\nb".to_vec(), vec![b'x'; 200]].concat());
        assert_eq!(long.to_string(), format!("cookie a??b{}", "x".repeat(MAX_NAME - 4)));
    }
}
