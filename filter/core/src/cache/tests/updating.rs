//! RFC 9111 sections 3.2, 4.3.4 and 4.3.5: a 304 or an answer to HEAD and what is stored.

use super::{NOW, exchange, fields, stored};
use crate::cache::StoredView;
use crate::cache::policy::FreshnessPolicy;
use crate::cache::storability::Exchange;
use crate::cache::validation::{Freshened, HeadEffect, conditional, freshen, head};
use crate::http::method::Method;

const STORED: &str =
    "cache-control: max-age=60 | etag: \"v1\" | x-a: old | x-b: kept | content-encoding: gzip | content-type: a/b";

fn told(bytes: &[u8]) -> String {
    let view = StoredView::decode(bytes, true).expect("what was freshened");
    assert_eq!(view.body(), b"0123456789");
    assert_eq!(view.get(b"content-digest"), None, "it is of a message without content");
    let shown = |name: &str| {
        view.get(name.as_bytes())
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .unwrap_or_default()
    };
    format!(
        "{} {} {} {}",
        view.lifetime_ms() / 1_000,
        shown("x-a"),
        shown("x-b"),
        shown("content-encoding")
    )
}

fn at_304<'a>(
    request: &'a crate::http::fields::Fields<'a>,
    response: &'a crate::http::fields::Fields<'a>,
) -> Exchange<'a> {
    Exchange {
        request_time_ms: NOW + 100_000,
        response_time_ms: NOW + 100_000,
        ..exchange(request, 304, response)
    }
}

#[test]
fn what_a_304_makes_of_it() {
    let policy = FreshnessPolicy::default();
    let bytes = stored("", 200, STORED, &policy);
    let view = StoredView::decode(&bytes, true).expect("what was stored");
    for (response, expected) in [
        ("etag: \"v1\" | cache-control: max-age=5", "stored 5 old kept gzip"),
        ("etag: W/\"v1\" | x-a: new", "stored 60 new kept gzip"),
        (
            "x-a: new | content-encoding: br | content-length: 3 | content-digest: of-nothing",
            "stored 60 new kept gzip",
        ),
        ("connection: x-a | x-a: hop", "stored 60 old kept gzip"),
        ("cache-control: no-store", "served once"),
        ("cache-control: private", "served once"),
        ("etag: \"v2\"", "another"),
    ] {
        let (request, response_fields) = (fields(""), fields(response));
        let found = match freshen(&view, &at_304(&request, &response_fields), &policy, 0, 0) {
            Freshened::Store { bytes, .. } => format!("stored {}", told(&bytes)),
            Freshened::ServeOnly { .. } => "served once".to_owned(),
            Freshened::Clients => "the client's".to_owned(),
            Freshened::Other => "another".to_owned(),
        };
        assert_eq!(found, expected, "{response}");
    }
}

#[test]
fn whose_answer_a_304_is() {
    let policy = FreshnessPolicy::default();
    for (stored_tag, asked, told, expected) in [
        ("\"a\"", "", "etag: \"a\"", "stored \"a\""),
        ("\"a\"", "", "x: y", "stored \"a\""),
        ("\"a\"", "", "etag: W/\"a\"", "stored W/\"a\""),
        ("\"a--gzip\"", "", "etag: \"a\"", "stored \"a--gzip\""),
        ("\"a\"", "", "etag: \"a-gzip\"", "stored \"a\""),
        ("\"a;gzip\"", "", "etag: \"a\"", "stored \"a;gzip\""),
        ("W/\"a-br\"", "", "etag: \"a\"", "stored W/\"a-br\""),
        ("\"a\"", "", "etag: a", "stored \"a\""),
        ("\"a\"", "", "etag: \"b\"", "another"),
        ("\"a-gzip\"", "", "etag: \"b-gzip\"", "another"),
        ("\"a\"", "if-none-match: \"b\"", "etag: \"b\"", "the client's"),
        ("\"a\"", "if-none-match: \"c\", \"b\"", "etag: \"b\"", "the client's"),
        ("\"a\"", "if-none-match: \"b\"", "etag: \"a\"", "stored \"a\""),
        ("\"a\"", "if-none-match: \"b\"", "etag: \"c\"", "another"),
        // Which of the two it speaks of, nobody knows.
        ("\"a\"", "if-none-match: \"b\"", "x: y", "another"),
        ("\"a\"", "if-none-match: *", "x: y", "stored \"a\""),
        ("\"a\"", "if-none-match: \"a\", \"b\"", "x: y", "stored \"a\""),
    ] {
        let bytes = stored(
            "",
            200,
            &format!("cache-control: max-age=60 | etag: {stored_tag}"),
            &policy,
        );
        let view = StoredView::decode(&bytes, true).expect("what was stored");
        let (request, response) = (fields(asked), fields(told));
        let found = match freshen(&view, &at_304(&request, &response), &policy, 0, 0) {
            Freshened::Store { bytes, .. } => {
                let fresh = StoredView::decode(&bytes, true).expect("what was freshened");
                format!(
                    "stored {}",
                    String::from_utf8_lossy(fresh.get(b"etag").unwrap_or_default())
                )
            }
            Freshened::ServeOnly { .. } => "served once".to_owned(),
            Freshened::Clients => "the client's".to_owned(),
            Freshened::Other => "another".to_owned(),
        };
        assert_eq!(found, expected, "{stored_tag} / {asked} / {told}");
    }
}

#[test]
fn tags_of_the_client_go_along() {
    let policy = FreshnessPolicy::default();
    let long = format!("if-none-match: \"{}\"", "x".repeat(2_000));
    for (asked, sent) in [
        ("", "\"a\""),
        ("if-none-match: \"b\"", "\"a\", \"b\""),
        ("if-none-match: W/\"b\", \"c\"", "\"a\", W/\"b\", \"c\""),
        ("if-none-match: \"a\"", "\"a\""),
        ("if-none-match: \"b\", W/\"a\"", "\"a\""),
        ("if-none-match: *", "\"a\""),
        (long.as_str(), "\"a\""),
    ] {
        let bytes = stored("", 200, "cache-control: max-age=60 | etag: \"a\"", &policy);
        let view = StoredView::decode(&bytes, true).expect("what was stored");
        let found = conditional(&view, &fields(asked));
        assert_eq!(found.if_none_match.as_deref(), Some(sent.as_bytes()), "{asked}");
    }
}

#[test]
fn a_304_without_date_is_of_when_it_came() {
    let policy = FreshnessPolicy::default();
    let response = format!("{STORED} | date: Tue, 14 Nov 2023 22:13:20 GMT");
    let bytes = stored("", 200, &response, &policy);
    let view = StoredView::decode(&bytes, true).expect("what was stored");
    for told in ["x: y", "date: soon", "etag: \"v1\""] {
        let (request, response) = (fields(""), fields(told));
        let Freshened::Store { bytes, .. } = freshen(&view, &at_304(&request, &response), &policy, 0, 0) else {
            panic!("not stored: {told}");
        };
        let fresh = StoredView::decode(&bytes, true).expect("what was freshened");
        assert_eq!(fresh.age_ms(NOW + 101_000), 1_000, "{told}");
        assert_eq!(
            fresh.get(b"date"),
            Some(&b"Tue, 14 Nov 2023 22:15:00 GMT"[..]),
            "{told}"
        );
    }
}

#[test]
fn a_304_may_name_more_selecting_fields() {
    let policy = FreshnessPolicy::default();
    let bytes = stored("accept: a/b", 200, &format!("{STORED} | vary: accept"), &policy);
    let view = StoredView::decode(&bytes, true).expect("what was stored");
    for (request, told, expected) in [
        ("accept: a/b | x-t: 1", "vary: accept, x-t", "accept=a/b x-t=1"),
        ("accept: a/b | x-t: 1", "vary: x-t", "accept=a/b x-t=1"),
        (
            "accept: a/b | origin: https://a.example",
            "access-control-allow-origin: https://a.example",
            "accept=a/b origin=https://a.example",
        ),
    ] {
        let (asked, response) = (fields(request), fields(told));
        let Freshened::Store { bytes, .. } = freshen(&view, &at_304(&asked, &response), &policy, 0, 0) else {
            panic!("not stored: {told}");
        };
        let fresh = StoredView::decode(&bytes, true).expect("what was freshened");
        let shown: Vec<String> = fresh
            .selecting()
            .map(|(name, value)| {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                format!("{}={}", text(name), text(value.unwrap_or_default()))
            })
            .collect();
        assert_eq!(shown.join(" "), expected, "{told}");
    }
}

#[test]
fn tags_and_targeted_freshness_survive_a_304() {
    let policy = FreshnessPolicy::default();
    let response = format!("{STORED} | surrogate-key: t1 t2 | surrogate-control: max-age=600");
    let bytes = stored("", 200, &response, &policy);
    let view = StoredView::decode(&bytes, true).expect("what was stored");
    let (request, told) = (fields(""), fields("etag: \"v1\""));
    let Freshened::Store { bytes, .. } = freshen(&view, &at_304(&request, &told), &policy, 0, 0) else {
        panic!("not stored");
    };
    let fresh = StoredView::decode(&bytes, true).expect("what was freshened");
    assert_eq!(fresh.tags().collect::<Vec<_>>(), [&b"t1"[..], b"t2"]);
    assert_eq!(fresh.lifetime_ms(), 600_000);
}

#[test]
fn a_freshened_response_is_as_young_as_the_304() {
    let policy = FreshnessPolicy::default();
    let bytes = stored(
        "",
        200,
        &format!("{STORED} | date: Tue, 14 Nov 2023 22:13:20 GMT"),
        &policy,
    );
    let view = StoredView::decode(&bytes, true).expect("what was stored");
    let (request, response) = (fields(""), fields("date: Tue, 14 Nov 2023 22:15:00 GMT | age: 3"));
    let Freshened::Store { bytes, .. } = freshen(&view, &at_304(&request, &response), &policy, 0, 0) else {
        panic!("not stored");
    };
    let fresh = StoredView::decode(&bytes, true).expect("what was freshened");
    assert_eq!(fresh.age_ms(NOW + 101_000), 4_000);
}

#[test]
fn what_an_answer_to_head_makes_of_it() {
    let policy = FreshnessPolicy::default();
    let bytes = stored("", 200, STORED, &policy);
    let view = StoredView::decode(&bytes, true).expect("what was stored");
    for (status, response, expected) in [
        (
            200,
            "etag: \"v1\" | content-length: 10 | x-a: new | cache-control: max-age=9",
            "stored 9 new kept gzip",
        ),
        (200, "x-a: new", "stored 60 new kept gzip"),
        (200, "etag: \"v2\"", "invalidated"),
        (200, "content-length: 11", "invalidated"),
        (200, "cache-control: no-store", "invalidated"),
        (410, "etag: \"v2\"", "nothing"),
    ] {
        let (request, response_fields) = (fields(""), fields(response));
        let seen = Exchange {
            method: Method::Head,
            status,
            ..at_304(&request, &response_fields)
        };
        let found = match head(&view, &seen, &policy, 0, 0) {
            HeadEffect::Store { bytes, .. } => format!("stored {}", told(&bytes)),
            HeadEffect::Invalidate => "invalidated".to_owned(),
            HeadEffect::Nothing => "nothing".to_owned(),
        };
        assert_eq!(found, expected, "{status} {response}");
    }
}

#[test]
fn a_304_of_another_time_of_modification_does_not_freshen_what_has_no_tag() {
    let policy = FreshnessPolicy::default();
    let (old, new) = ("Tue, 14 Nov 2023 20:00:00 GMT", "Tue, 14 Nov 2023 21:00:00 GMT");
    let older = "Tue, 14 Nov 2023 19:00:00 GMT";
    for (tag, asked, answered, expected) in [
        ("", "", old, "stored"),
        ("", "", "Tuesday, 14-Nov-23 20:00:00 GMT", "stored"),
        ("", "", new, "another"),
        ("", "", older, "another"),
        ("", "", "yesterday", "another"),
        ("", new, new, "the client's"),
        ("", old, new, "another"),
        // The tag has decided.
        (" | etag: \"v1\"", "", new, "stored"),
    ] {
        let response = format!("cache-control: max-age=60 | last-modified: {old}{tag}");
        let bytes = stored("", 200, &response, &policy);
        let view = StoredView::decode(&bytes, true).expect("what was stored");
        let asked = match asked {
            "" => String::new(),
            date => format!("if-modified-since: {date}"),
        };
        let answered = format!("last-modified: {answered}");
        let (request, response) = (fields(&asked), fields(&answered));
        let found = match freshen(&view, &at_304(&request, &response), &policy, 0, 0) {
            Freshened::Store { .. } => "stored",
            Freshened::ServeOnly { .. } => "served once",
            Freshened::Clients => "the client's",
            Freshened::Other => "another",
        };
        assert_eq!(found, expected, "{tag} {asked} {answered}");
    }
}

#[test]
fn every_validator_there_is_goes_into_the_request() {
    let policy = FreshnessPolicy::default();
    for (response, tag, date) in [
        (
            "etag: \"v1\" | last-modified: Tue, 14 Nov 2023 20:00:00 GMT",
            true,
            true,
        ),
        ("etag: W/\"v1\"", true, false),
        ("last-modified: Tue, 14 Nov 2023 20:00:00 GMT", false, true),
        ("etag: ", false, false),
    ] {
        let bytes = stored("", 200, &format!("cache-control: max-age=60 | {response}"), &policy);
        let view = StoredView::decode(&bytes, true).expect("what was stored");
        let found = conditional(&view, &fields(""));
        assert_eq!(
            (found.if_none_match.is_some(), found.if_modified_since.is_some()),
            (tag, date),
            "{response}"
        );
        assert_eq!(found.is_empty(), !tag && !date);
    }
}
