//! What settings and report come of nginx's configuration.

use optimizer_migrate::{Error, Files, Migration, NoFiles, Options, Verdict, migrate};
use serde_json::{Value, json};

fn options() -> Options {
    Options::default()
}

/// A server with a cache, and what is in it.
fn server(inside: &str) -> String {
    format!(
        "http {{ proxy_cache_path /c keys_zone=c:1m; upstream up {{ server 192.0.2.1:80; }}
        server {{ proxy_cache c; {inside} }} }}"
    )
}

fn of(text: &str) -> Migration {
    migrate("t", text, &NoFiles, &options()).unwrap()
}

/// The route of a name.
fn route(migration: &Migration, name: &str) -> Value {
    let routes = migration.settings["routes"].as_array().unwrap();
    let found = routes.iter().find(|route| route["name"] == name);
    found.cloned().unwrap_or(Value::Null)
}

fn cached(migration: &Migration, name: &str) -> bool {
    let route = route(migration, name);
    assert!(!route.is_null(), "no route {name} in {:#}", migration.settings);
    route["cache"] != json!(false)
}

#[test]
fn a_location_caches_only_if_all_that_belongs_to_it_can_be_said() {
    for (inside, expected) in [
        ("", true),
        ("proxy_cache off;", false),
        ("proxy_cache $zone;", false),
        ("proxy_cache_key $remote_addr$request_uri;", false),
        ("proxy_cache_key $host$request_uri$http_x_a;", true),
        ("proxy_cache_bypass $cookie_a;", false),
        ("proxy_no_cache $http_pragma;", false),
        ("proxy_cache_bypass $arg_fresh;", false),
        ("proxy_cache_bypass 0;", true),
        ("proxy_cache_bypass 1;", false),
        ("proxy_no_cache $upstream_http_set_cookie;", true),
        ("proxy_no_cache $upstream_http_x_a;", false),
        (
            "set $skip 0; if ($request_method = POST) { set $skip 1; } proxy_cache_bypass $skip;",
            true,
        ),
        (
            "set $skip 0; if ($http_x_a) { set $skip 1; } proxy_cache_bypass $skip;",
            false,
        ),
        ("auth_basic on;", false),
        ("auth_basic off;", true),
        ("auth_request /auth;", false),
        ("allow 10.0.0.0/8; deny all;", false),
        ("allow all;", true),
        ("deny all;", false),
        ("limit_except GET { deny all; }", false),
        ("if ($http_x_a) { proxy_pass http://other; }", false),
        ("if ($http_x_a) { return 403; }", true),
        ("rewrite ^/a /b last;", false),
        ("rewrite ^/a /b;", false),
        ("rewrite ^/a /b break;", true),
        ("rewrite ^/a https://b.example/ permanent;", true),
        ("proxy_ignore_headers Cache-Control;", false),
        ("proxy_ignore_headers Cache-Control; proxy_cache_valid 200 1m;", false),
        (
            "proxy_ignore_headers Cache-Control Expires; proxy_cache_valid any 1m;",
            true,
        ),
        ("ssl_verify_client on;", false),
        ("ssl_verify_client off;", true),
        ("access_by_lua_block { ngx.exit(403) }", false),
    ] {
        let migration = of(&server(&format!("location / {{ proxy_pass http://up; {inside} }}")));
        assert_eq!(cached(&migration, "all"), expected, "{inside}");
        if !expected && inside != "proxy_cache off;" {
            let says = migration.report.entries.iter().any(|entry| {
                entry.verdict != Verdict::NotRelevant && entry.says.contains("does not cache") || entry.code == "access"
            });
            assert!(says, "{inside}: {}", migration.report.to_text());
        }
    }
}

#[test]
fn an_upstream_that_a_client_chooses_keeps_from_caching() {
    for (target, expected) in [
        ("http://$host", true),
        ("http://up$request_uri", true),
        ("http://$cookie_up", false),
        ("http://$x", false),
    ] {
        let migration = of(&server(&format!("location / {{ proxy_pass {target}; }}")));
        assert_eq!(cached(&migration, "all"), expected, "{target}");
    }
}

#[test]
fn lifetimes_are_never_longer_than_nginx_gave() {
    let strict = options();
    let one_ttl = Options {
        one_ttl: true,
        ..options()
    };
    for (valid, by_default, assumed) in [
        ("proxy_cache_valid any 1m;", json!("1m"), json!("1m")),
        (
            "proxy_cache_valid 200 10m; proxy_cache_valid any 1m;",
            json!("1m"),
            json!("10m"),
        ),
        (
            "proxy_cache_valid any 1m; proxy_cache_valid 200 10m;",
            json!("1m"),
            json!("1m"),
        ),
        ("proxy_cache_valid 200 302 10m;", Value::Null, json!("10m")),
        ("proxy_cache_valid 10m;", Value::Null, json!("10m")),
        ("proxy_cache_valid 404 10m;", Value::Null, Value::Null),
        ("proxy_cache_valid any 5y;", json!("720h"), json!("720h")),
        ("proxy_cache_valid any soon;", Value::Null, Value::Null),
        ("", Value::Null, Value::Null),
    ] {
        let text = server(&format!("location / {{ proxy_pass http://up; {valid} }}"));
        for (options, expected) in [(&strict, by_default), (&one_ttl, assumed)] {
            let migration = migrate("t", &text, &NoFiles, options).unwrap();
            assert_eq!(route(&migration, "all")["default_ttl"], expected, "{valid} {options:?}");
        }
    }
}

#[test]
fn stale_windows_are_never_wider_than_nginx_had() {
    let all = "error timeout http_500 http_502 http_503 http_504";
    let null = Value::Null;
    for (given, outage, error, revalidate) in [
        (all, json!("10m"), json!("10m"), null.clone()),
        ("error timeout", json!("10m"), null.clone(), null.clone()),
        ("error timeout http_503", json!("10m"), null.clone(), null.clone()),
        ("error", null.clone(), null.clone(), null.clone()),
        ("updating", null.clone(), null.clone(), json!("10m")),
        ("off", null.clone(), null.clone(), null.clone()),
    ] {
        let inside = format!(
            "location / {{ proxy_pass http://up; proxy_cache_background_update on; proxy_cache_use_stale {given}; }}"
        );
        let route = route(&of(&server(&inside)), "all");
        let found = ["max_stale_on_outage", "stale_if_error", "stale_while_revalidate"].map(|name| route[name].clone());
        assert_eq!(found, [outage, error, revalidate], "{given}");
    }
    let never = of(&server(
        "location / { proxy_pass http://up; proxy_cache_use_stale updating; }",
    ));
    assert!(route(&never, "all")["stale_while_revalidate"].is_null());
    assert_eq!(never.settings["freshness"]["max_stale_on_outage"], "0s");
}

#[test]
fn locations_are_chosen_as_by_nginx_or_not_cached() {
    let on = "proxy_pass http://up;";
    let off = "proxy_pass http://up; proxy_cache off;";
    for (inside, expected) in [
        (
            format!("location / {{ {on} }} location /a {{ {off} }}"),
            vec![("all", true), ("a", false)],
        ),
        (
            format!("location / {{ {off} }} location /a {{ {on} }}"),
            vec![("all", false), ("a", true)],
        ),
        // An expression may fit anything.
        (
            format!("location / {{ {on} }} location ~ \\.php$ {{ {off} }}"),
            vec![("all", false)],
        ),
        (
            format!("location ^~ /a {{ {on} }} location ~ \\.php$ {{ {off} }}"),
            vec![("a", true)],
        ),
        (
            format!("location / {{ {on} }} location ~ ^/a/.*\\.php {{ {off} }}"),
            vec![("all", true), ("a", false)],
        ),
        (
            format!("location / {{ {on} }} location ~ ^/a/ {{ {off} }}"),
            vec![("all", true), ("a", false)],
        ),
        (
            format!("location / {{ {off} }} location ~ ^/a/ {{ {on} }}"),
            vec![("all", false), ("a", true)],
        ),
        (
            format!("location / {{ {off} }} location ~ \\.css$ {{ {on} }}"),
            vec![("all", false)],
        ),
        (
            format!("location / {{ {on} }} location ~ \\.css$ {{ {on} }}"),
            vec![("all", true)],
        ),
        (
            format!("location / {{ {on} }} location ~ \\.css$ {{ root /srv; }}"),
            vec![("all", true)],
        ),
        (
            format!("location / {{ {on} }} location ~ /\\. {{ deny all; }}"),
            vec![("all", true)],
        ),
        (
            format!("location / {{ {on} }} location ~ \\.php$ {{ fastcgi_pass x; }}"),
            vec![("all", false)],
        ),
        (
            format!("location / {{ {on} }} location = /a {{ {off} }}"),
            vec![("all", true), ("a", false)],
        ),
        (
            format!("location / {{ {on} }} location = / {{ {off} }}"),
            vec![("all", false)],
        ),
        (
            format!("location / {{ {on} }} location \"/a b\" {{ {off} }}"),
            vec![("all", true), ("a", false)],
        ),
        (
            format!("location / {{ {on} location /a {{ {off} }} }}"),
            vec![("all", true), ("a", false)],
        ),
        (
            format!("location / {{ try_files $uri @up; }} location @up {{ {on} }}"),
            vec![("all", true)],
        ),
        (
            format!("location / {{ try_files $uri /index.php; }} location /a {{ {on} }}"),
            vec![("all", false)],
        ),
    ] {
        let migration = of(&server(&inside));
        for (name, cache) in expected {
            assert_eq!(cached(&migration, name), cache, "{inside}\n{:#}", migration.settings);
        }
    }
}

#[test]
fn hosts_are_chosen_as_by_nginx() {
    let text = "http { proxy_cache_path /c keys_zone=c:1m; proxy_cache c;
        server { server_name a.example; location /x { proxy_pass http://192.0.2.1; } }
        server { server_name *.example; location / { proxy_pass http://192.0.2.2; } }
        server { listen 80 default_server; server_name _; location / { proxy_pass http://192.0.2.3; proxy_cache off; } } }";
    let migration = of(text);
    let routes = migration.settings["routes"].as_array().unwrap();
    let shown: Vec<(Option<&str>, Option<&str>, bool)> = routes
        .iter()
        .map(|route| {
            (
                route["host"].as_str(),
                route["path_prefix"].as_str(),
                route["cache"] != json!(false),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (Some("a.example"), Some("/x"), true),
            // What the server has no location for is not given to the next server.
            (Some("a.example"), None, false),
            (Some("*.example"), None, true),
            (None, None, false),
        ]
    );
}

#[test]
fn servers_of_one_host_at_two_ports_agree_or_do_not_cache() {
    let two = |one: &str, other: &str| {
        format!(
            "http {{ proxy_cache_path /c keys_zone=c:1m; proxy_cache c;
            server {{ listen 80; server_name a.example; {one} }}
            server {{ listen 443 ssl; server_name a.example; {other} }} }}"
        )
    };
    let pass = "location / { proxy_pass http://192.0.2.1; }";
    let off = "location / { proxy_pass http://192.0.2.1; proxy_cache off; }";
    assert!(cached(&of(&two(pass, pass)), "all"));
    assert!(cached(&of(&two("return 301 https://$host$request_uri;", pass)), "all"));
    assert!(!cached(&of(&two(pass, off)), "all"));
}

#[test]
fn fields_that_nginx_kept_from_the_origin_are_in_the_key() {
    let text = server(
        "location / { proxy_pass http://up; proxy_set_header Cookie \"\"; proxy_set_header Authorization \"\"; proxy_set_header X-A $http_x_a;
        proxy_set_header Connection \"\"; }",
    );
    let route = route(&of(&text), "all");
    assert_eq!(route["key_headers"], json!(["cookie"]));
    assert_eq!(route["isolate_authorization"], true);
}

#[test]
fn upstreams_have_the_endpoints_that_can_be_said() {
    let text = "http { upstream shop { least_conn; server a.example:81 weight=3 max_fails=0; server b.example max_fails=0 down;
        server c.example max_fails=0 backup; server unix:/x max_fails=0; }
        server { proxy_connect_timeout 2s; location / { proxy_pass http://shop; } location /v { proxy_pass http://$up; }
        location /s { proxy_pass https://d.example/other/; } } }";
    let migration = of(text);
    assert_eq!(
        migration.settings["upstreams"],
        json!([
            {"name": "shop", "endpoints": [{"address": "a.example:81", "weight": 3}], "connect_timeout": "2s", "outlier_detection": false},
            {"name": "d-example", "endpoints": [{"address": "d.example:443"}], "tls": true, "connect_timeout": "2s"},
        ])
    );
    for code in [
        "balancing",
        "backup",
        "endpoint_down",
        "endpoint",
        "upstream",
        "path_rewrite",
        "upstream_tls",
        "host",
    ] {
        assert!(
            migration.report.entries.iter().any(|entry| entry.code == code),
            "{code}"
        );
    }
}

#[test]
fn every_directive_has_a_line_in_the_report() {
    let text = "user x;\nhttp {\n  gzip on;\n  server {\n    frobnicate 1;\n    location / {\n      proxy_pass http://192.0.2.1;\n    }\n  }\n}\nstream { server { listen 1; } }\n";
    let report = of(text).report;
    let lines: Vec<u32> = report.entries.iter().map(|entry| entry.place.line).collect();
    for line in [1, 2, 3, 4, 5, 6, 7, 11] {
        assert!(lines.contains(&line), "line {line}");
    }
    let unknown = report.entries.iter().find(|entry| entry.code == "unknown").unwrap();
    assert_eq!((unknown.place.line, unknown.directive.as_str()), (5, "frobnicate 1"));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["entries"][0]["file"], "t");
    assert_eq!(json["entries"][0]["verdict"], "not_relevant");
}

#[test]
fn a_route_that_does_not_cache_is_not_said_to_have_a_lifetime() {
    let text = server("proxy_cache_valid any 1m; location / { proxy_pass http://up; auth_basic on; }");
    let report = of(&text).report;
    assert!(
        !report
            .entries
            .iter()
            .any(|entry| ["ttl", "credentials", "cache"].contains(&entry.code))
    );
}

#[test]
fn limits_by_a_servers_name_are_limits_for_all() {
    let text = "http { limit_conn_zone $server_name zone=all:1m; limit_conn_zone $binary_remote_addr zone=each:1m;
        server { limit_conn all 50; limit_conn each 5; location / { proxy_pass http://192.0.2.1; } } }";
    let migration = of(text);
    assert_eq!(migration.settings["max_connections"], 50);
    let verdicts: Vec<Verdict> = {
        let limits = migration
            .report
            .entries
            .iter()
            .filter(|entry| entry.directive.starts_with("limit_conn "));
        limits.map(|entry| entry.verdict).collect()
    };
    assert_eq!(verdicts, [Verdict::Changed, Verdict::Impossible]);
}

#[test]
fn what_the_settings_have_no_room_for_is_an_error() {
    use std::fmt::Write;
    let many = |count: usize| {
        let mut inside = String::new();
        for number in 0..count {
            let _ = write!(inside, "location /{number}/ {{ proxy_pass http://up; }} ");
        }
        server(&inside)
    };
    assert_eq!(of(&many(255)).settings["routes"].as_array().unwrap().len(), 256);
    let refused = migrate("t", &many(256), &NoFiles, &options()).unwrap_err();
    assert!(
        matches!(refused, Error::Settings(_)) && refused.exit_code() == 3,
        "{refused}"
    );
    assert!(matches!(
        migrate("t", &many(1_001), &NoFiles, &options()),
        Err(Error::TooLarge { .. })
    ));
}

struct Missing;

impl Files for Missing {
    fn matching(&self, pattern: &str) -> Result<Vec<(String, String)>, String> {
        Err(format!("{pattern} is not there"))
    }
}

#[test]
fn a_missing_include_is_an_error_unless_it_may_be_missing() {
    let text = "http {\n include a.conf;\n include /etc/nginx/mime.types; }";
    let refused = migrate("t", text, &Missing, &options()).unwrap_err();
    assert_eq!(
        (refused.to_string().as_str(), refused.exit_code()),
        ("t:2:2: a.conf is not there", 2)
    );
    let allowed = Options {
        missing_includes: true,
        ..options()
    };
    let report = migrate("t", text, &Missing, &allowed).unwrap().report;
    assert!(report.says("missing_include", ""));
}

/// Directives in any order and at any place.
fn any_directive() -> impl proptest::strategy::Strategy<Value = String> {
    proptest::sample::select(vec![
        "http {",
        "server {",
        "location / {",
        "location /a {",
        "location ~ ^/a|b {",
        "location = /a {",
        "location ^~ /c {",
        "if ($a) {",
        "}",
        "upstream u {",
        "server a:1;",
        "proxy_pass http://u;",
        "proxy_pass http://$a/;",
        "proxy_cache c;",
        "proxy_cache_valid any 1m;",
        "proxy_cache_valid;",
        "proxy_cache_key $uri$a$b;",
        "set $a $b;",
        "set $b $a;",
        "map $a $b {",
        "$x 1;",
        "return 301;",
        "proxy_cache_path x keys_zone=c:1m;",
        "proxy_cache_bypass $a;",
        "proxy_set_header;",
        "proxy_set_header \"a b\" \"\";",
        "server_name a .b *.c;",
        "listen 80;",
        "limit_conn a 1;",
        "limit_conn_zone $server_name zone=a:1;",
        "proxy_ignore_headers Expires;",
        "try_files @x;",
        "location @x {",
        "rewrite;",
        "allow;",
        "deny;",
        "proxy_cache_use_stale error timeout;",
        "proxy_connect_timeout 0;",
    ])
    .prop_map(str::to_owned)
}

use proptest::strategy::Strategy;

proptest::proptest! {
    /// Whatever stands where, it ends without a panic, and the settings pass the control plane's check.
    #[test]
    fn any_order_of_directives_is_migrated_or_refused(words in proptest::collection::vec(any_directive(), 0..60)) {
        match migrate("t", &words.join(" "), &NoFiles, &options()) {
            Ok(migration) => {
                let size = migration.settings.to_string().len() + migration.report.to_text().len();
                proptest::prop_assert!(size < 1 << 20);
            }
            Err(Error::Settings(refused)) => proptest::prop_assert!(false, "{}", refused),
            Err(_) => {}
        }
    }

    /// The same within a sound configuration.
    #[test]
    fn any_directives_in_a_location_are_migrated(words in proptest::collection::vec(any_directive(), 0..20)) {
        let plain: Vec<String> = words.into_iter().filter(|word| word.ends_with(';')).collect();
        let text = server(&format!("location / {{ proxy_pass http://up; {} }}", plain.join(" ")));
        let migrated = migrate("t", &text, &NoFiles, &options());
        proptest::prop_assert!(migrated.is_ok(), "{:?}", migrated.err());
    }
}
