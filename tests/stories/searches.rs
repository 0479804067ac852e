//! Queries that make no difference (`No-Vary-Search`). In both forms of the filter.

use e2e::artefacts::Shell;
use e2e::client::Request;
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;

#[test]
fn all_spellings_share_one_answer_until_one_of_them_is_purged() {
    for shell in [Shell::Wasm, Shell::Native] {
        let origin = Origin::start(|request| {
            let reply = Reply::ok(request.path.clone()).max_age(60);
            reply.header("no-vary-search", "key-order, params=(\"utm_source\" \"utm_medium\")")
        });
        let plan = Plan {
            shell: Some(shell),
            ..Plan::default()
        };
        let stack = Stack::start(&plan, origin.unwrap()).unwrap();
        // The first such response of an Envoy is stored for its own query; then every worker knows.
        let mut pages = 0;
        let known = wait::until("a hit by another query", || {
            pages += 1;
            let page = format!("/page/{pages}");
            stack.envoy.get(&format!("{page}?id=7&lang=de")).ok()?;
            let other = stack.envoy.get(&format!("{page}?lang=de&utm_source=mail&id=7")).ok()?;
            other.is_hit().then_some(page)
        })
        .unwrap();
        let mut workers = stack.envoy.connection_per_worker().unwrap();
        for worker in &mut workers {
            wait::until("each worker knows", || {
                pages += 1;
                // A query that nobody has asked for: only who knows what the responses say has an answer to it.
                let path = format!("{known}?lang=de&utm_source={pages}&id=7");
                worker.exchange(&Request::get(&path)).ok()?.is_hit().then_some(())
            })
            .unwrap();
        }
        let page = "/page/all";
        stack.envoy.get(&format!("{page}?id=7&lang=de")).unwrap();
        let spelt = [
            "?id=7&lang=de",
            "?lang=de&id=7",
            "?id=%37&lang=de&utm_medium=a&utm_source=b",
            "?utm_source&lang=d%65&id=7",
        ];
        for worker in &mut workers {
            for query in spelt {
                let hit = worker.exchange(&Request::get(&format!("{page}{query}"))).unwrap();
                assert!(hit.is_hit(), "{query}: {}", hit.cache_status());
                assert_eq!(hit.text(), format!("{page}?id=7&lang=de"), "{query}");
            }
            for query in ["?id=8&lang=de", "?id=7", "?id=7&lang=de;utm_source=a", ""] {
                let path = format!("{page}{query}");
                let other = worker.exchange(&Request::get(&path)).unwrap();
                assert_eq!(other.text(), path);
            }
        }
        assert_eq!(stack.origin.count(&format!("{page}?id=7&lang=de")), 1);

        let url = format!("http://api.example{page}?utm_source=elsewhere&id=7&lang=de");
        let purge = Request::new("POST", "/cache/purge?wait=all&timeout=10s").body(format!(r#"{{"url": "{url}"}}"#));
        let receipt = stack.rest().send(&purge).unwrap().json().unwrap();
        assert_eq!(receipt["complete"], true, "{receipt}");
        assert!(
            receipt["matched"].as_u64().is_some_and(|matched| matched >= 1),
            "{receipt}"
        );
        let again = format!("{page}?lang=de&id=7");
        assert_eq!(stack.envoy.get(&again).unwrap().text(), again, "{receipt}");
    }
}
