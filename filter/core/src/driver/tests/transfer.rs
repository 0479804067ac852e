//! Stored responses that leave this Envoy and come back.

use super::*;

/// Everything stored, page by page, as whole responses.
fn exported(envoy: &mut Envoy, max_bytes: u32) -> Vec<Vec<u8>> {
    let now_ms = envoy.host.now_ms.get();
    let mut ask = optimizer_proto::v1::ExportCommand {
        max_bytes,
        ..Default::default()
    };
    let mut found: Vec<Vec<u8>> = Vec::new();
    loop {
        let page = envoy.vm.export(Ctx::new(&envoy.host, now_ms), &ask);
        for item in page.items {
            match found.last_mut() {
                Some(last) if item.offset > 0 => last.extend_from_slice(&item.part),
                _ => found.push(item.part),
            }
        }
        if page.done {
            return found;
        }
        (ask.cursor, ask.offset) = (page.next_cursor, page.next_offset);
    }
}

#[test]
fn heads_tell_what_is_stored_and_where_its_content_is_the_next() {
    let mut from = Envoy::new("{}");
    for path in ["/a", "/b", "/c"] {
        let mut request = GET.to_vec();
        request.retain(|(name, _)| *name != ":path");
        request.push((":path", path));
        forwarded(from.ask(&request, "200", &FRESH, path.as_bytes()));
    }
    let now_ms = from.host.now_ms.get();
    let asked = |cursor, heads_only, max_bytes| optimizer_proto::v1::ExportCommand {
        cursor,
        heads_only,
        max_bytes,
        ..Default::default()
    };
    for max_bytes in [1, 1 << 20] {
        let (mut heads, mut cursor) = (Vec::new(), 0);
        loop {
            let page = from
                .vm
                .export(Ctx::new(&from.host, now_ms), &asked(cursor, true, max_bytes));
            assert!(max_bytes > 1 || page.items.len() <= 1);
            heads.extend(page.items);
            if page.done {
                break;
            }
            cursor = page.next_cursor;
        }
        assert_eq!(heads.len(), 3);
        for head in heads {
            assert!(head.part.is_empty() && head.total > 0 && head.key.starts_with("http://"));
            let page = from
                .vm
                .export(Ctx::new(&from.host, now_ms), &asked(head.cursor, false, 1 << 20));
            let item = &page.items[0];
            assert_eq!((item.identity, &item.key), (head.identity, &head.key));
            assert_eq!(item.part.len() as u64, head.total);
        }
    }
}

fn imported(envoy: &mut Envoy, record: &[u8]) -> String {
    let now_ms = envoy.host.now_ms.get();
    let mut answer = optimizer_proto::v1::Imported::default();
    for (at, part) in record.chunks(100).enumerate() {
        let part = optimizer_proto::v1::ImportCommand {
            part: part.to_vec(),
            offset: at as u64 * 100,
            total: record.len() as u64,
            ..Default::default()
        };
        answer = envoy.vm.import(Ctx::new(&envoy.host, now_ms), &part).unwrap();
    }
    answer.outcomes.remove(0)
}

#[test]
fn what_is_exported_in_parts_can_be_restored_elsewhere_with_its_age() {
    let mut from = Envoy::new("{}");
    let body = vec![b'x'; 5_000];
    forwarded(from.get(&[], "200", &FRESH, &body));
    for (chunk, pages) in [(100, true), (1 << 20, false)] {
        let found = exported(&mut from, chunk);
        assert_eq!(found.len(), 1, "{pages}");
        let mut to = Envoy::new("{}");
        to.wait(10_000);
        assert_eq!(imported(&mut to, &found[0]), "restored");
        let hit = replied(to.get(&[], "500", &[], b""));
        assert_eq!((hit.body.len(), hit.field("age")), (5_000, Some("10")));
        assert_eq!(imported(&mut to, &found[0]), "kept");
    }
}

#[test]
fn nothing_in_a_restored_response_is_believed() {
    let mut from = Envoy::new("{}");
    forwarded(from.get(&[], "200", &FRESH, b"content"));
    let record = exported(&mut from, 1 << 20).remove(0);
    let mut to = Envoy::new("{}");
    for at in 0..record.len() {
        let mut flipped = record.clone();
        flipped[at] ^= 0x10;
        let outcome = imported(&mut to, &flipped);
        assert!(
            !["restored", "kept", "expired"].contains(&outcome.as_str()),
            "byte {at}"
        );
    }
    assert_ne!(imported(&mut to, &record[..record.len() - 1]), "restored");
    to.wait(u64::MAX / 4);
    assert_eq!(imported(&mut to, &record), "expired");
    let mut past = Envoy::new("{}");
    past.host.now_ms.set(1_600_000_000_000);
    assert_eq!(imported(&mut past, &record), "from-the-future");
    let mut to = Envoy::new("{}");
    assert_eq!(
        imported(
            &mut to,
            &whole(b"http://api.example/a\0\x03api\0", b"a\r\nset-cookie: b")
        ),
        "header"
    );
    assert_eq!(imported(&mut to, &whole(b"not a url", b"a")), "key");
    assert_eq!(
        imported(&mut to, &whole(b"http://api.example/a", b"a")),
        "key-without-route"
    );
    assert_eq!(
        imported(&mut to, &whole(b"http://api.example/a\0\x03api\0", b"a")),
        "restored"
    );
}

/// A stored response with sound checksums, whatever is in it.
fn whole(key: &[u8], value: &[u8]) -> Vec<u8> {
    use crate::cache::{Encoder, Framing, FreshnessPolicy, storability};
    use crate::http::fields::Fields;
    let request = Fields::default();
    let response = Fields::from(vec![
        (&b":status"[..], &b"200"[..]),
        (b"cache-control", b"max-age=60"),
        (b"x-field", value),
    ]);
    let seen = storability::Exchange {
        method: crate::http::method::Method::Get,
        request: &request,
        status: 200,
        response: &response,
        request_time_ms: 1_700_000_000_000,
        response_time_ms: 1_700_000_000_000,
        framing: Framing::Empty,
        identity_in_key: false,
        stated_freshness_only: false,
        hidden_credentials: false,
    };
    let plan = storability::judge(&seen, &FreshnessPolicy::default(), 0).unwrap();
    Encoder::begin(key, &seen, &plan, 0, 32).unwrap().seal().unwrap()
}
