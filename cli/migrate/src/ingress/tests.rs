use super::*;
use crate::{Verdict, migrate_ingress};

const SHOP: &str = r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: ingress-nginx-controller
data:
  http-snippet: |
    proxy_cache_path /tmp/cache keys_zone=static:2m inactive=30m;
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  namespace: production
  annotations:
    nginx.ingress.kubernetes.io/proxy-connect-timeout: "3"
    nginx.ingress.kubernetes.io/limit-rps: "10"
    nginx.ingress.kubernetes.io/something-new: "x"
    nginx.ingress.kubernetes.io/configuration-snippet: |
      proxy_cache static;
      proxy_cache_valid any 5m;
      proxy_cache_key $scheme$host$request_uri;
spec:
  ingressClassName: nginx
  rules:
    - host: shop.example.com
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: shop
                port:
                  number: 8080
          - path: /api
            pathType: Prefix
            backend:
              service:
                name: api
                port:
                  number: 80
"#;

#[test]
fn an_ingress_becomes_routes_and_upstreams() {
    let migration = migrate_ingress("shop.yaml", SHOP, &Options::default()).unwrap();
    let routes = migration.settings["routes"].as_array().unwrap();
    let shop = routes.iter().find(|route| route["name"] == "shop-example-com").unwrap();
    assert_eq!(shop["default_ttl"], "5m");
    assert_eq!(shop["host"], "shop.example.com");
    assert_eq!(
        migration.settings["upstreams"][0]["endpoints"][0]["address"],
        "shop.production.svc.cluster.local:8080"
    );
    assert_eq!(migration.settings["upstreams"][0]["connect_timeout"], "3s");
    let last = routes.last().unwrap();
    assert_eq!(
        (last["cache"].as_bool(), last.get("host")),
        (Some(false), None),
        "hosts without a rule"
    );
    let place = |code: &str| {
        let found = migration
            .report
            .entries
            .iter()
            .find(|entry| entry.code == code)
            .unwrap();
        (found.place.line, found.place.column, found.verdict)
    };
    assert_eq!(place("ttl"), (20, 7, Verdict::TakenOver), "a line within the snippet");
    assert_eq!(place("unknown").2, Verdict::Impossible);
    assert_eq!(place("access").2, Verdict::Impossible);
}

#[test]
fn a_guard_keeps_a_path_from_caching() {
    for annotation in [
        "auth-url: https://auth/",
        "auth-type: basic",
        "whitelist-source-range: 10.0.0.0/8",
        "auth-tls-secret: a/b",
    ] {
        let guarded = SHOP.replace("something-new: \"x\"", annotation);
        let migration = migrate_ingress("shop.yaml", &guarded, &Options::default()).unwrap();
        let routes = migration.settings["routes"].as_array().unwrap();
        assert!(
            routes.iter().all(|route| route["cache"] == false),
            "{annotation}: {routes:?}"
        );
    }
}

#[test]
fn faults_are_named_by_line_and_column() {
    let broken = SHOP.replace("proxy_cache static;", "proxy_cache static };");
    let Err(Error::Syntax { place, .. }) = migrate_ingress("shop.yaml", &broken, &Options::default()) else {
        panic!("it was read");
    };
    assert_eq!((place.line, place.column), (19, 26));
    let Err(Error::Syntax { place, .. }) = migrate_ingress("x.yaml", "kind: Ingress\nspec: [", &Options::default())
    else {
        panic!("it was read");
    };
    assert!(place.line >= 2, "{place}");
}

#[test]
fn other_kinds_and_other_classes_are_left_out() {
    let other = "kind: Service\nspec:\n  rules: 7\n---\nkind: Ingress\nspec:\n  ingressClassName: traefik\n";
    let migration = migrate_ingress("x.yaml", other, &Options::default()).unwrap();
    assert!(migration.report.says("other_kind", "") && migration.report.says("other_class", ""));
    assert_eq!(migration.settings["routes"].as_array().unwrap().len(), 1);
}

proptest::proptest! {
    #[test]
    fn any_yaml_is_read_or_refused(text in "(kind: Ingress\n)?[a-z:|> \n\\-\\[\\]{}\"]{0,200}") {
        let _ = migrate_ingress("x.yaml", &text, &Options::default());
    }
}
