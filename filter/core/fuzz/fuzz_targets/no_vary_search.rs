//! `No-Vary-Search` and queries: forms are equal only where another reader of queries finds the same parameters that matter.
#![no_main]

use filter_core::cache::Variance;
use filter_core::http::fields::Fields;
use libfuzzer_sys::fuzz_target;

type Parameters = Vec<(String, String)>;

fn read(query: &[u8]) -> Parameters {
    form_urlencoded::parse(query).into_owned().collect()
}

/// The parameters that matter, by what the variance says of itself.
fn relevant(text: &[u8], query: &[u8]) -> Parameters {
    let (ordered, only) = (text[0] == b'o', text[1] == b'+');
    let names: Vec<String> = text[2..]
        .split(|byte| *byte == b',')
        .filter(|name| !name.is_empty())
        .flat_map(|name| read(name).into_iter().map(|(name, _)| name))
        .collect();
    let mut kept = read(query);
    // An empty name is not told from the end of the list there.
    kept.retain(|(name, _)| name.is_empty() || names.contains(name) == only);
    if !ordered {
        kept.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    kept.retain(|(name, _)| !name.is_empty());
    kept
}

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (said, one, other) = (next(), next(), next());
    let lines = said.split(|byte| *byte == 0).map(|line| (&b"no-vary-search"[..], line));
    let Some(variance) = Variance::of(&lines.collect::<Fields<'_>>()) else { return };
    let text = variance.text();
    assert_eq!(Variance::read(&text).as_ref(), Some(&variance));
    assert!(text.len() <= 512 && text.iter().all(u8::is_ascii_graphic));
    let forms = [one, other].map(|query| variance.form(query));
    for (query, form) in [one, other].into_iter().zip(&forms) {
        let Some(form) = form else { continue };
        assert!(form.is_empty() || form.starts_with(b"?"));
        assert!(form.len() <= 3 * query.len() + 1 + 2 * query.len());
        assert_eq!(variance.form(form.strip_prefix(b"?").unwrap_or(form)).as_ref(), Some(form), "its own form");
        assert_eq!(relevant(&text, form.strip_prefix(b"?").unwrap_or(form)), relevant(&text, query));
    }
    if let [Some(a), Some(b)] = &forms
        && a == b
    {
        assert_eq!(relevant(&text, one), relevant(&text, other));
    }
});
