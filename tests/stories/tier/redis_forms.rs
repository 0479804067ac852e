//! Redis in the forms in which it is run: with TLS and a user of few rights, as a cluster, and with Sentinels. Tier and replicas
//! work on each, and losing a server of it fails no request.

use super::{fleet, folder, healthy, in_force, replicas_agree, tier_works, under_load};
use e2e::certificates::Certificates;
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Reply};
use e2e::redis::{Cluster, Guarded, Redis};
use e2e::wait;
use serde_json::json;
use std::path::Path;

/// `p@ss` in a URL.
const WHO: &str = "optimizer:p%40ss";
/// What the product needs, as deploy/README.md says.
const RIGHTS: &str = "~api-optimizer:* -@all +get +set +mget +getrange +del +exists +eval +xadd +xrange +xrevrange +xread +xlen \
                      +rpush +lrange +ltrim +zadd +zrangebyscore +zremrangebyscore +time +info";

const MORE_ON_A_CLUSTER: &str = "+cluster|slots +cluster|info +readonly +ping";
const MORE_BEHIND_SENTINELS: &str = "+role";

/// A user of the server with these rights and no others.
fn user(more: &str) -> Vec<&str> {
    let rights = RIGHTS.split_whitespace().chain(more.split_whitespace());
    ["--user", "optimizer", "on", ">p@ss"]
        .into_iter()
        .chain(rights)
        .collect()
}

/// The server has refused nothing that was needed.
fn refused_nothing(redis: &Redis) {
    let denied = redis.ask(&["ACL", "LOG"]).unwrap();
    let lines: Vec<&str> = denied.lines().collect();
    // Newer servers know this one, by which the library introduces itself; it does without.
    let needed = |pair: &[&str]| pair[0] == "object" && !pair[1].contains("setinfo");
    assert!(!lines.windows(2).any(needed), "denied: {denied}");
}

fn encrypted(folder: &Path) -> (Redis, Certificates) {
    let certificates = Certificates::make(&folder.join("certificates")).unwrap();
    let redis = Redis::start_encrypted(folder, &certificates, &user("")).unwrap();
    (redis, certificates)
}

#[test]
fn tls_with_an_authority_of_ones_own_and_a_user_of_few_rights() {
    let folder = folder();
    let (mut redis, certificates) = encrypted(folder.path());
    assert_eq!(redis.ask(&["SET", "others", "x"]).unwrap(), "OK");
    let file = |name: &str| certificates.file(name);
    let (ca, certificate, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let url = format!("rediss://{WHO}@127.0.0.1:{}", redis.port());
    let files = [
        ("REDIS_TLS_CA_FILE", ca.as_str()),
        ("REDIS_TLS_CERT_FILE", certificate.as_str()),
        ("REDIS_TLS_KEY_FILE", key.as_str()),
    ];
    let fleet = fleet(&url, &files);
    tier_works(&fleet);
    replicas_agree(&fleet, 601);
    let backend = fleet.rest(0).document("/cache/tier").unwrap()["backend"].to_string();
    assert!(backend.contains("rediss://127.0.0.1") && !backend.contains("p@ss") && !backend.contains("p%40ss"));
    refused_nothing(&redis);
    assert_eq!(redis.ask(&["GET", "others"]).unwrap(), "x");

    under_load(&fleet, |fleet| {
        redis.kill();
        healthy(fleet, false);
        redis.restart().unwrap();
        healthy(fleet, true);
    });
    tier_works(&fleet);
    replicas_agree(&fleet, 602);

    // A server with a certificate of somebody else is not spoken to.
    let (other, _) = encrypted(&folder.path().join("other"));
    let url = format!("rediss://127.0.0.1:{}", other.port());
    let origin = Origin::start(|_| Reply::ok("x")).unwrap();
    let alone = Fleet::start_with(
        false,
        1,
        json!({}),
        origin,
        &[&[("REDIS_URL", url.as_str())], &files[..]].concat(),
    );
    let alone = alone.unwrap();
    wait::until("the foreign certificate told", || {
        let health = alone.rest(0).document("/health").ok()?;
        let reason = health["components"]["shared_tier"]["reason"].to_string();
        reason.contains("certificate").then_some(())
    })
    .unwrap();
}

#[test]
fn a_cluster_that_loses_a_node() {
    let folder = folder();
    let mut cluster = Cluster::start(folder.path(), 3, &user(MORE_ON_A_CLUSTER)).unwrap();
    let fleet = fleet(&cluster.url(WHO), &[]);
    tier_works(&fleet);
    replicas_agree(&fleet, 601);
    let purges = cluster.holder("api-optimizer:tier:{purges}").unwrap();
    let shared = cluster.holder("api-optimizer:{replicas}:settings").unwrap();
    for (node, size) in (0..3).zip(602..) {
        under_load(&fleet, |fleet| {
            cluster.nodes[node].kill();
            healthy(fleet, false);
            if node != purges {
                let before = fleet.tier_count("stores");
                wait::until("the tier serving its other parts", || {
                    (fleet.tier_count("stores") > before + 20).then_some(())
                })
                .unwrap();
            }
            if node != shared {
                replicas_agree(fleet, size + 10);
            }
            cluster.nodes[node].restart().unwrap();
            cluster.wait_whole().unwrap();
            healthy(fleet, true);
        });
        tier_works(&fleet);
        if node == shared {
            in_force(&fleet, if node == 0 { 601 } else { size + 9 });
        }
        replicas_agree(&fleet, size + 10);
        cluster.nodes.iter().for_each(refused_nothing);
    }
}

#[test]
fn sentinels_that_fail_over() {
    let folder = folder();
    let mut guarded = Guarded::start(folder.path(), &user(MORE_BEHIND_SENTINELS)).unwrap();
    let fleet = fleet(&guarded.url(WHO), &[]);
    tier_works(&fleet);
    replicas_agree(&fleet, 601);
    for (master, size) in [(0, 602), (1, 603)] {
        assert_eq!(guarded.master().unwrap(), master);
        under_load(&fleet, |fleet| {
            guarded.servers[master].kill();
            healthy(fleet, false);
            healthy(fleet, true);
            in_force(fleet, size - 1);
        });
        assert_eq!(guarded.master().unwrap(), 1 - master);
        refused_nothing(&guarded.servers[1 - master]);
        tier_works(&fleet);
        replicas_agree(&fleet, size);
        guarded.servers[master].restart().unwrap();
        wait::until("the former master a replica", || {
            let state = guarded.servers[master].ask(&["INFO", "replication"]).ok()?;
            (state.contains("role:slave") && state.contains("master_link_status:up")).then_some(())
        })
        .unwrap();
    }
}
