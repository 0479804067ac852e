//! The cases.

use super::case::{Case, FRESH, STALE_WINDOW, Step, controlled, told, ways_to_be_fresh};
use super::more_cases;
use e2e::origin::{Received, Reply};
use serde_json::json;

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(by_freshness());
    cases.extend(by_vary());
    cases.extend(by_directive());
    cases.extend(by_status());
    cases.extend(updated());
    cases.extend(in_parts());
    cases.extend(more_cases::by_request());
    cases.extend(more_cases::by_field());
    cases
}

/// Every way to be fresh with everything that says whose an answer is.
fn by_freshness() -> Vec<Case> {
    let mut cases = Vec::new();
    for (way, fresh, route) in ways_to_be_fresh() {
        let before = cases.len();
        let plain = move |who: &str| fresh(told(200, who));
        let cookie = move |who: &str| plain(who).header("set-cookie", format!("sid={who}"));
        let case = |name: &str| Case::new(format!("{name}, {way}"), move |_, who| plain(who)).routed(route.clone());
        cases.push(Case::new(format!("Set-Cookie, {way}"), move |_, who| cookie(who)).routed(route.clone()));
        let replayed = move |_: &Received, who: &str| {
            fresh(Reply::ok("the same for all")).header("set-cookie", format!("sid={who}"))
        };
        cases.push(Case::new(format!("Set-Cookie alone, {way}"), replayed).routed(route.clone()));
        cases.push(case("Cookie").each_with("cookie", "s=1", "s=2"));
        cases.push(case("first with Cookie").first_with("cookie", "s=1"));
        cases.push(case("Authorization").each_with("authorization", "Bearer 1", "Bearer 2"));
        cases.push(case("first with Authorization").first_with("authorization", "Basic YTpi"));
        cases.push(case("X-Api-Key").each_with("x-api-key", "1", "2"));
        cases.push(case("Proxy-Authorization").each_with("proxy-authorization", "Basic YTpi", "Basic Yzpk"));
        if way == STALE_WINDOW {
            let of_this = cases.split_off(before);
            cases.extend(of_this.into_iter().map(|case: Case| case.later(2)));
        }
    }
    for control in [
        "public",
        "s-maxage=60",
        "must-revalidate, max-age=60",
        "proxy-revalidate, max-age=60",
        "no-cache=\"x\", max-age=60",
    ] {
        let case = Case::new(format!("Authorization, {control}"), move |_, who| {
            controlled(200, who, control)
        });
        cases.push(case.each_with("authorization", "Bearer 1", "Bearer 2"));
    }
    cases
}

fn by_vary() -> Vec<Case> {
    let mut cases = Vec::new();
    for (vary, field) in [
        ("Cookie", "cookie"),
        ("*", "x-any"),
        ("Accept-Language", "accept-language"),
        ("Authorization", "authorization"),
        ("X-A, X-B", "x-b"),
        ("Accept-Encoding, *", "x-any"),
        ("x-a , x-b,,", "x-a"),
        ("User-Agent", "user-agent"),
        ("X-Forwarded-For", "x-forwarded-for"),
        ("Host", "x-any"),
    ] {
        let case = Case::new(format!("Vary: {vary}"), move |_, who| {
            controlled(200, who, FRESH).header("vary", vary)
        });
        let case = case.each_with(field, "1", "2");
        cases.push(if field == "x-any" && vary == "Host" {
            case
        } else {
            case.never()
        });
    }
    let two = |_: &Received, who: &str| controlled(200, who, FRESH).header("vary", "x-a").header("vary", "x-b");
    cases.push(Case::new("Vary in two lines", two).each_with("x-b", "1", "2").never());
    let none = |_: &Received, who: &str| controlled(200, who, FRESH).header("vary", "x-a");
    cases.push(
        Case::new("Vary: first with the field", none)
            .first_with("x-a", "1")
            .never(),
    );
    cases
}

/// `Cache-Control` and the fields that say less.
fn by_directive() -> Vec<Case> {
    let mut cases = Vec::new();
    for control in [
        "private",
        "private, max-age=60",
        "max-age=60, private",
        "MAX-AGE=60, PRIVATE",
        "public, private, max-age=60",
        "no-store",
        "max-age=60, no-store",
        "no-store, public, max-age=60",
        "no-cache",
        "max-age=60, no-cache",
        "max-age=0",
        "max-age=0, must-revalidate",
        "s-maxage=0, max-age=60",
        "max-age=0, s-maxage=60",
        "max-age=60, max-age=0",
        "max-age=0, max-age=60",
        "max-age=-1",
        "max-age=abc",
        "max-age = 60",
        "max-age=60.5",
        "max-age",
        "proxy-revalidate",
        "no-transform",
    ] {
        cases.push(Case::new(format!("Cache-Control: {control}"), move |_, who| {
            controlled(200, who, control)
        }));
    }
    for (control, field) in [
        ("private=\"x-for\", max-age=60", "x-for"),
        ("private=\"set-cookie\", max-age=60", "set-cookie"),
        ("no-cache=\"x-for\", max-age=60", "x-for"),
        ("no-cache=\"set-cookie\", max-age=60", "set-cookie"),
    ] {
        let answer = move |_: &Received, who: &str| {
            Reply::ok("the same for all")
                .header(field, format!("sid={who}"))
                .header("cache-control", control)
        };
        cases.push(Case::new(format!("Cache-Control: {control}"), answer).never());
    }
    for (control, section) in [
        ("max-age=\"60\"", "RFC 9111 section 5.2"),
        ("must-understand, no-store, max-age=60", "RFC 9111 section 5.2.2.3"),
    ] {
        let case = Case::new(format!("Cache-Control: {control}"), move |_, who| {
            controlled(200, who, control)
        });
        cases.push(case.by_standard(section));
    }
    let targeted = |_: &Received, who: &str| controlled(200, who, "private").header("cdn-cache-control", "max-age=60");
    cases.push(Case::new("CDN-Cache-Control, private", targeted).by_standard("RFC 9213 section 2.1"));
    let with: [(&str, &[(&str, &str)]); 17] = [
        (
            "private in a second line",
            &[("cache-control", "max-age=60"), ("cache-control", "private")],
        ),
        (
            "no-store in a second line",
            &[("cache-control", "max-age=60"), ("cache-control", "no-store")],
        ),
        ("Expires: 0", &[("expires", "0")]),
        ("Expires in the past", &[("expires", "Mon, 01 Jan 2024 00:00:00 GMT")]),
        (
            "Expires twice",
            &[("expires", "0"), ("expires", "Fri, 01 Jan 2100 00:00:00 GMT")],
        ),
        (
            "Expires, no-store",
            &[
                ("expires", "Fri, 01 Jan 2100 00:00:00 GMT"),
                ("cache-control", "no-store"),
            ],
        ),
        ("max-age, Expires: 0", &[("cache-control", FRESH), ("expires", "0")]),
        ("Pragma: no-cache", &[("pragma", "no-cache")]),
        (
            "Pragma, Last-Modified",
            &[
                ("pragma", "no-cache"),
                ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
            ],
        ),
        ("Pragma, max-age", &[("pragma", "no-cache"), ("cache-control", FRESH)]),
        ("Age over max-age", &[("age", "100"), ("cache-control", FRESH)]),
        ("Age that is none", &[("age", "-5"), ("cache-control", FRESH)]),
        (
            "Surrogate-Control: no-store",
            &[("surrogate-control", "no-store"), ("cache-control", FRESH)],
        ),
        (
            "Surrogate-Control: private",
            &[("surrogate-control", "private"), ("cache-control", FRESH)],
        ),
        ("Surrogate-Control alone", &[("surrogate-control", "max-age=60")]),
        (
            "Surrogate-Control, private",
            &[("surrogate-control", "max-age=60"), ("cache-control", "private")],
        ),
        (
            "CDN-Cache-Control: no-store",
            &[("cdn-cache-control", "no-store"), ("cache-control", FRESH)],
        ),
    ];
    for (name, fields) in with {
        let answer = move |_: &Received, who: &str| {
            fields
                .iter()
                .fold(told(200, who), |reply, (name, value)| reply.header(name, value))
        };
        cases.push(Case::new(name, answer));
    }
    cases
}

/// Explicit freshness on each status, provoked by one client.
fn by_status() -> Vec<Case> {
    let statuses = [
        201, 202, 203, 204, 205, 206, 207, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407,
        408, 409, 410, 412, 413, 414, 415, 416, 417, 421, 422, 425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504,
        511, 599,
    ];
    let cases = statuses.into_iter().map(|status| {
        let case = Case::new(format!("status {status}, max-age"), move |_, who| {
            controlled(if who == "alice" { status } else { 200 }, who, FRESH)
        });
        // RFC 6585 sections 3 to 6; answers to conditions, ranges and expectations of one request.
        let one_request = [206, 304, 412, 416, 417, 428, 429, 431, 511];
        if one_request.contains(&status) {
            case.never()
        } else {
            case
        }
    });
    let mut cases: Vec<Case> = cases.collect();
    for status in [302, 404, 500, 503] {
        let case = Case::new(format!("status {status}, default_ttl"), move |_, who| {
            told(if who == "alice" { status } else { 200 }, who)
        });
        cases.push(case.routed(json!({"default_ttl": "60s"})));
        let case = Case::new(format!("status {status}, ttl_override"), move |_, who| {
            told(if who == "alice" { status } else { 200 }, who)
        });
        cases.push(case.routed(json!({"ttl_override": "60s"})));
    }
    cases
}

/// What a 304 or a HEAD brings for one client must not reach the next.
fn updated() -> Vec<Case> {
    let answer = |control: &'static str| {
        move |request: &Received, who: &str| {
            let reply = if request.header("if-none-match").is_some() {
                Reply::new(304)
            } else {
                Reply::ok("the same for all")
            };
            let reply = reply.header("etag", "\"1\"").header("cache-control", control);
            if who == "alice" {
                reply.header("set-cookie", "sid=alice")
            } else {
                reply
            }
        }
    };
    let then = |method| {
        vec![
            Step::get("nobody"),
            Step::new(method, "alice").after(2),
            Step::get("bob"),
        ]
    };
    let conditional = vec![
        Step::get("nobody"),
        Step::get("alice").with("if-none-match", "\"1\"").after(2),
        Step::get("bob"),
    ];
    vec![
        Case::new("304 with Set-Cookie", answer("max-age=1")).asked(then("GET")),
        Case::new("304 with Set-Cookie, always validated", answer("no-cache")).asked(then("GET")),
        Case::new(
            "304 with Set-Cookie in a stale window",
            answer("max-age=1, stale-while-revalidate=60"),
        )
        .asked(then("GET")),
        Case::new("304 with Set-Cookie to a client's condition", answer("max-age=1")).asked(conditional),
        Case::new("HEAD with Set-Cookie", answer("max-age=60"))
            .asked(vec![Step::new("HEAD", "alice"), Step::get("bob")]),
        Case::new("HEAD with Set-Cookie on a stale one", answer("max-age=1")).asked(then("HEAD")),
        Case::new("HEAD, then GET", |_, who| controlled(200, who, FRESH))
            .asked(vec![Step::new("HEAD", "alice"), Step::get("bob")])
            .never(),
    ]
}

fn in_parts() -> Vec<Case> {
    let part = |request: &Received, who: &str| {
        if request.header("range").is_some() {
            controlled(206, who, FRESH)
                .header("content-range", "bytes 0-8/9")
                .header("etag", "\"1\"")
        } else {
            controlled(200, who, FRESH).header("etag", "\"1\"")
        }
    };
    let refused = |request: &Received, who: &str| {
        let status = if request.header("range").is_some() { 416 } else { 200 };
        controlled(status, who, FRESH).header("content-range", "bytes */9")
    };
    let failed = |request: &Received, who: &str| {
        controlled(if request.header("if-match").is_some() { 412 } else { 200 }, who, FRESH)
    };
    let not_modified = |request: &Received, who: &str| {
        controlled(
            if request.header("if-none-match").is_some() {
                304
            } else {
                200
            },
            who,
            FRESH,
        )
    };
    vec![
        Case::new("a part as the whole", part)
            .first_with("range", "bytes=0-8")
            .never(),
        Case::new("416 to one range", refused)
            .first_with("range", "bytes=9-")
            .never(),
        Case::new("412 to one condition", failed)
            .first_with("if-match", "\"z\"")
            .never(),
        Case::new("304 to one condition", not_modified)
            .first_with("if-none-match", "\"z\"")
            .never(),
    ]
}
