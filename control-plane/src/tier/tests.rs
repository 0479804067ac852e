use super::*;
use optimizer_proto::v1::Fence as WireFence;

fn embedded() -> Tier {
    Tier::new(Setup {
        redis: None,
        key_prefix: "test".to_owned(),
        memory_bytes: 1 << 20,
        keys: None,
        compress: true,
    })
}

fn ask(key: &str) -> TierGet {
    TierGet {
        key: key.into(),
        ..TierGet::default()
    }
}

fn offer(key: &str, fence: Option<WireFence>) -> TierPut {
    TierPut {
        key: key.into(),
        value: b"response".to_vec(),
        fence,
        host: "a".to_owned(),
        path: format!("/{key}"),
        usable_until_ms: now_ms() + 60_000,
        now_ms: now_ms(),
        ..TierPut::default()
    }
}

async fn result(tier: &Tier, request: &TierGet) -> Found {
    tier.get(request).await.unwrap().result()
}

#[tokio::test]
async fn what_is_offered_is_found_and_nothing_else() {
    let tier = embedded();
    let missed = tier.get(&ask("k")).await.unwrap();
    assert_eq!(missed.result(), Found::Miss);
    assert_eq!(tier.put(offer("k", missed.fence)).await, Ok(None));
    assert_eq!(tier.get(&ask("k")).await.unwrap().value, b"response");
    assert_eq!(result(&tier, &ask("other")).await, Found::Miss);
    assert_eq!(tier.put(offer("k", None)).await, Ok(Some("no-fence")));
    let mut late = offer("k", missed.fence);
    late.usable_until_ms = late.now_ms;
    assert_eq!(tier.put(late).await, Ok(Some("expired")));
}

#[tokio::test]
async fn a_late_write_does_not_undo_a_purge() {
    let tier = embedded();
    let fence = tier.get(&ask("k")).await.unwrap().fence;
    tier.put(offer("k", fence)).await.unwrap();
    let all_of_a = [Subject::Host { host: "a".to_owned() }];
    tier.purge(&all_of_a).await.unwrap();
    assert_eq!(result(&tier, &ask("k")).await, Found::Miss);
    assert_eq!(tier.put(offer("k", fence)).await, Ok(Some("purged")));
    let fence = tier.get(&ask("k")).await.unwrap().fence;
    assert_eq!(tier.put(offer("k", fence)).await, Ok(None));
    assert_eq!(result(&tier, &ask("k")).await, Found::Hit);
}

#[tokio::test]
async fn variants_are_found_in_two_steps() {
    let tier = embedded();
    let fence = tier.get(&ask("k")).await.unwrap().fence;
    let names = vec![b"accept-language".to_vec()];
    let german = TierPut {
        variant: 7,
        vary: names.clone(),
        ..offer("k", fence)
    };
    tier.put(german).await.unwrap();
    let first = tier.get(&ask("k")).await.unwrap();
    assert_eq!((first.result(), &first.vary), (Found::Vary, &names));
    let with = |variant| TierGet {
        variant,
        vary: names.clone(),
        ..ask("k")
    };
    assert_eq!(result(&tier, &with(7)).await, Found::Hit);
    assert_eq!(result(&tier, &with(8)).await, Found::Miss);
}

#[tokio::test]
async fn one_fetches_and_the_others_wait_or_are_told() {
    let tier = embedded();
    let want = |holder, wait_ms| TierGet {
        lease_ms: 5_000,
        holder,
        wait_ms,
        ..ask("k")
    };
    let fence = tier.get(&want(1, 0)).await.unwrap().fence;
    assert_eq!(result(&tier, &want(2, 0)).await, Found::Leased);
    assert_eq!(result(&tier, &want(1, 0)).await, Found::Miss, "the lease is its own");
    let patient = want(2, 5_000);
    let (waited, _) = tokio::join!(tier.get(&patient), async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        tier.put(offer("k", fence)).await
    });
    assert_eq!(waited.unwrap().result(), Found::Hit);
}

#[tokio::test]
async fn a_lease_that_is_given_back_goes_to_the_next_or_to_nobody() {
    let tier = embedded();
    let want = |holder| TierGet {
        lease_ms: 5_000,
        holder,
        ..ask("k")
    };
    let give = |holder, not_shareable| TierRelease {
        key: b"k".to_vec(),
        holder,
        not_shareable,
    };
    assert_eq!(result(&tier, &want(1)).await, Found::Miss);
    tier.release(&give(2, false)).await.unwrap();
    assert_eq!(
        result(&tier, &want(2)).await,
        Found::Leased,
        "only the holder gives it back"
    );
    tier.release(&give(1, false)).await.unwrap();
    assert_eq!(result(&tier, &want(2)).await, Found::Miss);
    tier.release(&give(2, true)).await.unwrap();
    assert_eq!(result(&tier, &want(3)).await, Found::Miss, "everybody for himself");
    assert_eq!(result(&tier, &want(4)).await, Found::Miss);
}

#[tokio::test]
async fn an_embedded_tier_is_bounded() {
    let tier = embedded();
    let fence = tier.get(&ask("k")).await.unwrap().fence;
    for number in 0..200 {
        let mut large = offer(&number.to_string(), fence);
        // Does not compress.
        large.value = (0..20_000_u32)
            .flat_map(|at| xxhash_rust::xxh3::xxh3_64(&at.to_le_bytes()).to_le_bytes())
            .take(20_000)
            .collect();
        tier.put(large).await.unwrap();
    }
    let Backend::Embedded(store) = &tier.backend else {
        unreachable!()
    };
    assert!((20..60).contains(&store.len()), "{}", store.len());
    let mut huge = offer("huge", fence);
    huge.value = vec![0; (1_088 << 10) + 1];
    assert_eq!(tier.put(huge.clone()).await, Ok(Some("size")));
    huge.value.pop();
    assert_ne!(tier.put(huge).await, Ok(Some("size")));
}

#[tokio::test]
async fn what_is_asked_of_the_tier_is_bounded() {
    let tier = embedded();
    let long = |key: usize, names: usize| TierGet {
        key: vec![b'k'; key],
        vary: vec![b"accept".to_vec(); names],
        ..TierGet::default()
    };
    assert!(tier.get(&long(64 << 10, 16)).await.is_ok());
    for (key, names) in [((64 << 10) + 1, 0), (1, 17)] {
        assert!(matches!(tier.get(&long(key, names)).await, Err(Fault::Refused(_))));
        let TierGet { key, vary, .. } = long(key, names);
        let put = TierPut {
            key,
            vary,
            ..offer("k", None)
        };
        assert!(!matches!(tier.put(put).await, Ok(None)));
    }
}

#[test]
fn leases_are_bounded() {
    let Backend::Embedded(store) = embedded().backend else {
        unreachable!()
    };
    let lease = |number: u32, now_ms: u64| store.lease(&Id::of(&number.to_le_bytes()), 1, now_ms, 1_000);
    assert!((0..100_000).all(|number| lease(number, 0) == Lease::Granted));
    assert_eq!(lease(100_000, 0), Lease::Alone, "nobody waits for it");
    assert_eq!(lease(100_000, 1_001), Lease::Granted, "the others have ended");
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_bounded() {
    let tier = embedded();
    let want = |holder, wait_ms| TierGet {
        lease_ms: u32::MAX,
        holder,
        wait_ms,
        ..ask("k")
    };
    assert_eq!(result(&tier, &want(1, 0)).await, Found::Miss);
    for (asked_ms, waited_s) in [(9_000, 9), (10_000, 10), (u32::MAX, 10)] {
        let begun = tokio::time::Instant::now();
        assert_eq!(result(&tier, &want(2, asked_ms)).await, Found::Leased);
        assert_eq!(begun.elapsed().as_secs(), waited_s);
    }
}
