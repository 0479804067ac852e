//! Requests that are told apart by their content: QUERY (RFC 10008), and POST where a route says that it reads. In both forms of the filter.

use e2e::artefacts::Shell;
use e2e::bootstrap::Part;
use e2e::client::{Connection, Request, Response};
use e2e::origin::{Gate, Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The origin answers with what it was asked.
fn stack(shell: Shell, gate: Option<Gate>) -> Stack {
    stack_of(shell, gate, "4KiB", BTreeMap::new())
}

fn stack_of(shell: Shell, gate: Option<Gate>, max_size: &str, parts: BTreeMap<Part, String>) -> Stack {
    let origin = Origin::start(move |request| {
        let method = request.method.clone();
        let reply = Reply::ok([method.as_bytes(), b" ", &request.body].concat()).max_age(60);
        match &gate {
            Some(gate) if request.path == "/crowd" => reply.behind(gate),
            _ => reply,
        }
    });
    let plan = Plan {
        shell: Some(shell),
        parts,
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin.unwrap()).unwrap();
    let graphql = json!({"methods": ["POST"], "reads": "graphql", "operations": ["Product"]});
    let reads = json!({"methods": ["QUERY", "POST"], "max_size": max_size});
    let routes = json!({"routes": [
        {"name": "graphql", "path_prefix": "/graphql", "key_body": graphql},
        {"name": "reads", "path_prefix": "/", "key_body": reads},
    ]});
    stack.change_settings(&routes).unwrap();
    stack
}

fn asked(method: &str, path: &str, content: impl Into<Vec<u8>>) -> Request {
    Request::new(method, path)
        .header("content-type", "application/json")
        .body(content)
}

fn graphql(query: &str) -> Request {
    asked("POST", "/graphql", json!({ "query": query }).to_string())
}

/// Asks twice: the first answer was stored, the second one is it.
fn is_kept(stack: &Stack, request: &Request) -> Response {
    let first = stack.envoy.fetch(request).unwrap();
    assert!(first.cache_status().contains("stored"), "{}", first.cache_status());
    let second = stack.envoy.fetch(request).unwrap();
    assert!(second.is_hit(), "{}", second.cache_status());
    assert_eq!((second.status, &second.body), (200, &first.body));
    second
}

fn told(stack: &Stack, request: &Request) -> String {
    let answer = stack.envoy.fetch(request).unwrap();
    assert_eq!(answer.status, 200);
    answer.cache_status()
}

fn each(test: impl Fn(Shell)) {
    test(Shell::Wasm);
    test(Shell::Native);
}

#[test]
fn each_content_is_stored_for_itself_and_reaches_the_origin_whole() {
    each(|shell| {
        let stack = stack(shell, None);
        for content in ["one", "two", ""] {
            let answer = is_kept(&stack, &asked("QUERY", "/q", content));
            assert_eq!(answer.text(), format!("QUERY {content}"));
        }
        assert_eq!(is_kept(&stack, &asked("POST", "/q", "one")).text(), "POST one");
        assert_eq!(stack.envoy.get("/q").unwrap().text(), "GET ");
        let seen: Vec<_> = stack
            .origin
            .received()
            .into_iter()
            .map(|request| request.body)
            .collect();
        assert_eq!(seen, [&b"one"[..], b"two", b"", b"one", b""]);
        // The same in chunks is the same content.
        let chunked = b"QUERY /q HTTP/1.1\r\nhost: api.example\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
            1\r\no\r\n2\r\nne\r\n0\r\n\r\n";
        let mut connection = Connection::open(stack.envoy.address()).unwrap();
        connection.send(chunked).unwrap();
        let answer = connection.response("QUERY").unwrap();
        assert!(answer.is_hit() && answer.text() == "QUERY one", "{answer:?}");
        // A purge of the URL takes all of them.
        let purge =
            Request::new("POST", "/cache/purge?wait=all&timeout=10s").body(r#"{"url": "http://api.example/q"}"#);
        let receipt = stack.rest().send(&purge).unwrap();
        assert_eq!(receipt.json().unwrap()["complete"], true, "{}", receipt.text());
        for request in [
            asked("QUERY", "/q", "one"),
            asked("QUERY", "/q", ""),
            asked("POST", "/q", "one"),
            Request::get("/q"),
        ] {
            assert!(!stack.envoy.fetch(&request).unwrap().is_hit());
        }
    });
}

#[test]
fn what_makes_no_key_passes_whole_and_says_why() {
    each(|shell| {
        let stack = stack(shell, None);
        let large = vec![b'a'; 3 << 20];
        let read = asked("POST", "/big", "a");
        is_kept(&stack, &read);
        for (request, reason) in [
            (asked("POST", "/big", large.clone()), "content-too-large"),
            (
                asked("QUERY", "/range", "a").header("range", "bytes=0-1"),
                "content-conditions",
            ),
            (
                asked("POST", "/expect", "a").header("expect", "100-continue"),
                "content-expected",
            ),
            (
                asked("POST", "/put", "a").header("x-http-method-override", "PUT"),
                "content-method",
            ),
        ] {
            for _ in 0..2 {
                let status = told(&stack, &request);
                assert_eq!(status, format!("fwd=method; detail={reason}"));
            }
        }
        assert!(stack.origin.received().iter().any(|request| request.body == large));
        // It is a read all the same: it has made nothing invalid.
        assert!(stack.envoy.fetch(&read).unwrap().is_hit());
        // Of unknown length, it grows above the bound: what has come is passed on with the rest.
        let mut connection = Connection::open(stack.envoy.address()).unwrap();
        connection
            .send(b"POST /grows HTTP/1.1\r\nhost: a\r\ncontent-type: a/b\r\ntransfer-encoding: chunked\r\n\r\n")
            .unwrap();
        for _ in 0..300 {
            connection
                .send(&[b"400\r\n", &[b'x'; 1024][..], b"\r\n"].concat())
                .unwrap();
        }
        connection.send(b"0\r\n\r\n").unwrap();
        let answer = connection.response("POST").unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, "POST ".len() + 300 * 1024));
        assert!(
            answer.cache_status().contains("detail=content-too-large"),
            "{}",
            answer.cache_status()
        );
        // With trailers behind it.
        connection
            .send(b"POST /trailers HTTP/1.1\r\nhost: a\r\ncontent-type: a/b\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n")
            .unwrap();
        let answer = connection.response("POST").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "POST x"));
        // Without a type Envoy itself refuses a QUERY.
        let untyped = stack.envoy.fetch(&Request::new("QUERY", "/untyped").body("a")).unwrap();
        assert_eq!(untyped.status, 400);
    });
}

#[test]
fn a_client_that_sends_slowly_is_neither_cut_off_nor_waited_for() {
    each(|shell| {
        let stack = stack(shell, None);
        let mut connection = Connection::open(stack.envoy.address()).unwrap();
        connection
            .send(b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-type: a/b\r\ncontent-length: 6\r\n\r\nabc")
            .unwrap();
        wait::until("the head at the origin", || {
            (stack.envoy.stat("cluster.origin.upstream_rq_active") == 1).then_some(())
        })
        .unwrap();
        connection.send(b"def").unwrap();
        let answer = connection.response("POST").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "POST abcdef"));
        assert!(
            answer.cache_status().contains("detail=content-slow"),
            "{}",
            answer.cache_status()
        );
        // Who leaves meanwhile leaves nothing behind.
        for _ in 0..20 {
            let mut connection = Connection::open(stack.envoy.address()).unwrap();
            connection
                .send(b"POST /left HTTP/1.1\r\nhost: a\r\ncontent-type: a/b\r\ncontent-length: 6\r\n\r\nabc")
                .unwrap();
        }
        is_kept(&stack, &asked("QUERY", "/after", "a"));
    });
}

#[test]
fn a_listener_that_keeps_less_than_a_read_may_have_passes_it_on_as_without_the_filter() {
    each(|shell| {
        let small = "per_connection_buffer_limit_bytes: 16384";
        let parts = BTreeMap::from([(Part::ConnectionBuffer, small.to_owned())]);
        let stack = stack_of(shell, None, "64KiB", parts);
        let without = stack.envoy_with_part("bare", Part::Filter, "").unwrap();
        is_kept(&stack, &asked("QUERY", "/small", vec![b'a'; 8 << 10]));
        for size in [24 << 10, 60 << 10, 64 << 10, 200 << 10] {
            let content = vec![b'a'; size];
            for method in ["QUERY", "POST"] {
                let request = asked(method, "/large", content.clone());
                let (seen, bare) = (stack.envoy.fetch(&request).unwrap(), without.fetch(&request).unwrap());
                assert_eq!((seen.status, &seen.body), (bare.status, &bare.body), "{method} {size}");
                assert_eq!((seen.status, seen.body.len()), (200, method.len() + 1 + size));
            }
            // Of unknown length.
            let mut connection = Connection::open(stack.envoy.address()).unwrap();
            connection
                .send(b"POST /chunks HTTP/1.1\r\nhost: a\r\ncontent-type: a/b\r\ntransfer-encoding: chunked\r\n\r\n")
                .unwrap();
            for chunk in content.chunks(1_024) {
                let head = format!("{:x}\r\n", chunk.len());
                connection.send(&[head.as_bytes(), chunk, b"\r\n"].concat()).unwrap();
            }
            connection.send(b"0\r\n\r\n").unwrap();
            let answer = connection.response("POST").unwrap();
            assert_eq!(
                (answer.status, answer.body.len()),
                (200, 5 + size),
                "{}",
                answer.cache_status()
            );
        }
    });
}

#[test]
fn a_crowd_with_one_content_costs_one_fetch() {
    each(|shell| {
        let gate = Gate::default();
        let stack = stack(shell, Some(gate.clone()));
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..20)
                .map(|number| {
                    let content = if number % 2 == 0 { "even" } else { "odd" };
                    let envoy = &stack.envoy;
                    let ask = move || envoy.fetch(&asked("QUERY", "/crowd", content)).unwrap();
                    (content, scope.spawn(ask))
                })
                .collect();
            stack.envoy.wait_for_requests(clients.len()).unwrap();
            gate.open();
            for (content, client) in clients {
                assert_eq!(client.join().unwrap().text(), format!("QUERY {content}"));
            }
        });
        assert_eq!(stack.origin.count("/crowd"), 2);
    });
}

#[test]
fn named_graphql_queries_are_stored_and_a_mutation_makes_them_invalid() {
    each(|shell| {
        let stack = stack(shell, None);
        let product = graphql("query Product($id: ID!) { product(id: $id) { name } }");
        is_kept(&stack, &product);
        for (request, reason) in [
            (graphql("query Other { a }"), "graphql-not-allowed"),
            (graphql("query Product { a } mutation Product { b }"), "graphql-unclear"),
            (asked("POST", "/graphql", "[]"), "graphql-batch"),
        ] {
            assert!(told(&stack, &request).contains(&format!("detail={reason}")), "{reason}");
        }
        is_kept(&stack, &product);
        let status = told(&stack, &graphql("mutation Product { rename }"));
        assert!(status.contains("fwd=method; detail=graphql-no-query"), "{status}");
        is_kept(&stack, &product);
    });
}

#[test]
fn over_http_2_it_is_the_same() {
    each(|shell| {
        let stack = stack(shell, None);
        is_kept(&stack, &asked("QUERY", "/q", "one two"));
        let address = stack.envoy.address();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let ask = |pieces: &'static [&'static str], trailers: bool| -> (String, Value) {
            runtime.block_on(async move {
                let stream = tokio::net::TcpStream::connect(address).await.unwrap();
                let (send, connection) = h2::client::handshake(stream).await.unwrap();
                tokio::spawn(connection);
                let mut send = send.ready().await.unwrap();
                let request = axum::http::Request::builder()
                    .method("QUERY")
                    .uri("http://api.example/q")
                    .header("content-type", "application/json")
                    .body(())
                    .unwrap();
                let (response, mut body) = send.send_request(request, false).unwrap();
                for (number, piece) in pieces.iter().enumerate() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    let last = number + 1 == pieces.len() && !trailers;
                    body.send_data(axum::body::Bytes::from_static(piece.as_bytes()), last)
                        .unwrap();
                }
                if trailers {
                    let fields = [("x-sum".parse().unwrap(), "1".parse().unwrap())];
                    body.send_trailers(fields.into_iter().collect()).unwrap();
                }
                let response = response.await.unwrap();
                let told = response.headers()["cache-status"].to_str().unwrap().to_owned();
                let mut content = Vec::new();
                let mut rest = response.into_body();
                while let Some(piece) = rest.data().await {
                    content.extend_from_slice(&piece.unwrap());
                }
                (told, json!(String::from_utf8(content).unwrap()))
            })
        };
        let (told, content) = ask(&["one", " ", "two"], false);
        assert!(told.starts_with("api-optimizer; hit"), "{told}");
        assert_eq!(content, "QUERY one two");
        let (told, content) = ask(&["one", " two"], true);
        assert!(told.contains("fwd=method; detail=content-trailers"), "{told}");
        assert_eq!(content, "QUERY one two");
    });
}
