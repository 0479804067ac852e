//! The classifier against origins that vary by what it looks for, and by what it must not mistake for it.

use super::content::Digest;
use super::inquiry::{Inquiry, MAX_PROBES, Probe, Verdict};
use proptest::prelude::*;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

fn digest(of: u64) -> Digest {
    u128::from(of).to_le_bytes()
}

/// An origin: what it answers to a request with these parts left, as the n-th one.
fn judged(served: u64, parts: usize, origin: impl FnMut(&[usize], u32) -> u64) -> (Verdict, u32) {
    inquire(Inquiry::new(digest(served), parts, false), parts, origin)
}

fn inquire(mut inquiry: Inquiry, parts: usize, mut origin: impl FnMut(&[usize], u32) -> u64) -> (Verdict, u32) {
    for asked in 1..=MAX_PROBES {
        let left: Vec<usize> = match inquiry.next() {
            Probe::Unchanged => (0..parts).collect(),
            Probe::Without(range) => (0..parts).filter(|part| !range.contains(part)).collect(),
        };
        if let Some(verdict) = inquiry.take(digest(origin(&left, asked)), false) {
            return (verdict, asked);
        }
    }
    panic!("more than {MAX_PROBES} questions");
}

/// Numbers by chance, the same for a seed.
fn chance(seed: u64, number: u32) -> u64 {
    xxh3_64_with_seed(&number.to_le_bytes(), seed)
}

#[test]
fn a_part_that_is_not_in_the_key_is_found_wherever_it_stands() {
    for parts in 1..=16 {
        for hidden in 0..parts {
            let (verdict, asked) = judged(99, parts, |left, _| u64::from(left.contains(&hidden)));
            assert_eq!(verdict, Verdict::NotInKey(hidden..hidden + 1), "{hidden} of {parts}");
            assert!(asked <= MAX_PROBES);
        }
    }
}

#[test]
fn what_depends_on_several_parts_at_once_is_found_as_all_of_them() {
    // Either is enough to be taken for a member.
    let either = |left: &[usize], _| u64::from(left.contains(&1) || left.contains(&6));
    assert_eq!(judged(99, 8, either).0, Verdict::NotInKey(0..8));
    // Both are needed: each explains it, one is named.
    let both = |left: &[usize], _| u64::from(left.contains(&1) && left.contains(&6));
    assert!(matches!(judged(99, 8, both).0, Verdict::NotInKey(range) if range.len() == 1));
}

#[test]
fn origins_that_do_not_look_at_what_is_not_in_the_key_are_told_apart() {
    type Origin = fn(u32) -> u64;
    for (served, parts, origin, expected, most) in [
        (1, 8, (|_| 1) as Origin, Verdict::Same, 1),
        (1, 8, |_| 2, Verdict::Changed, 3),
        (1, 0, |_| 2, Verdict::Changed, 2),
        // Each answer is another: a number by chance, the time, a counter.
        (1, 8, |number| u64::from(number) + 2, Verdict::DiffersByItself, 2),
        // It changes between two questions, and stays so.
        (1, 8, |number| 2 + u64::from(number > 2), Verdict::DiffersByItself, 4),
        (1, 8, |number| 2 + u64::from(number > 4), Verdict::Changed, 3),
        // A tenant in the path is in the key: no question is about it.
        (1, 1, |_| 7, Verdict::Changed, 3),
    ] {
        let (verdict, asked) = judged(served, parts, |_, number| origin(number));
        assert_eq!(verdict, expected);
        assert!(asked <= most, "{asked} of {most}");
    }
}

#[test]
fn a_bucket_that_is_not_in_the_key_is_found_also_where_the_content_is_the_same_for_many() {
    // An experiment of two arms, chosen by a cookie; who has none gets arm 0. Served was arm 0, and this client is in arm 1.
    let arm = |left: &[usize], _| if left.contains(&2) { 1 } else { 0 };
    assert_eq!(judged(0, 5, arm).0, Verdict::NotInKey(2..3));
    // This client is in the arm that was served: nothing is wrong with its hit.
    assert_eq!(judged(1, 5, arm).0, Verdict::Same);
    // Unless one without a cookie was seen to get arm 0, which by itself looks like a change.
    assert_eq!(judged(1, 5, |_, _| 0).0, Verdict::Changed);
    let suspected = |parts| Inquiry::new(digest(1), parts, true);
    assert_eq!(inquire(suspected(5), 5, arm).0, Verdict::NotInKey(2..3));
    assert_eq!(
        inquire(suspected(5), 5, |_, _| 1),
        (Verdict::Same, 2),
        "it was a change, and back"
    );
    assert_eq!(inquire(suspected(0), 0, |_, _| 1), (Verdict::Same, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// An origin that is a function of key and time, whose content does not come back once it has changed.
    #[test]
    fn a_function_of_key_and_time_is_never_said_to_depend_on_something_else(
        changes in proptest::collection::vec(any::<bool>(), 16),
        parts in 0_usize..=16,
        served in 0_u64..3,
        suspected in any::<bool>(),
    ) {
        let mut version = 1;
        let inquiry = Inquiry::new(digest(served), parts, suspected);
        let (verdict, _) = inquire(inquiry, parts, |_, number| {
            version += u64::from(changes[number as usize - 1]);
            version
        });
        prop_assert!(!matches!(verdict, Verdict::NotInKey(_)), "{verdict:?}");
    }

    #[test]
    fn no_origin_costs_more_than_is_said(
        answers in proptest::collection::vec(0_u64..2, 16),
        parts in 0_usize..=16,
        suspected in any::<bool>(),
    ) {
        inquire(Inquiry::new(digest(0), parts, suspected), parts, |_, number| answers[number as usize - 1]);
    }
}

/// The worst there is: two contents by the throw of a coin, so that each answer is the expected one every second time.
#[test]
fn chance_alone_seldom_looks_like_a_part_that_is_not_in_the_key() {
    const ORIGINS: u64 = 200_000;
    let false_alarms = |contents: u64| {
        let alarms = (0..ORIGINS).filter(|seed| {
            let origin = |_: &[usize], number| chance(*seed, number) % contents;
            matches!(
                judged(xxh3_64(&seed.to_le_bytes()) % contents, 8, origin).0,
                Verdict::NotInKey(_)
            )
        });
        alarms.count()
    };
    let (two, three, ten) = (false_alarms(2), false_alarms(3), false_alarms(10));
    println!("false alarms of {ORIGINS} inquiries: two contents {two}, three {three}, ten {ten}");
    assert!(two <= 200 && three <= 10 && ten == 0, "{two} {three} {ten}");
}
