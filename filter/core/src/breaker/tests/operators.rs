//! What operators force.

use super::*;

#[test]
fn an_operator_overrules_and_the_word_runs_out() {
    let map = MemoryMap::default();
    let policy = policy();
    let word = says(&map, &policy, Forced::Open, 10_000, 0).unwrap();
    assert_eq!((word.to, word.cause), (BreakerState::ForcedOpen, Cause::Operator));
    assert!(ask(&map, &policy, 1, 1).is_err());
    assert_eq!(state(&map, 1), "forced_open");
    assert!(ask(&map, &policy, 10_001, 1).is_ok());
    opened_at(&map, &policy, 20_000);
    says(&map, &policy, Forced::Closed, 30_000, 20_001);
    assert!(ask(&map, &policy, 20_002, 1).is_ok());
    says(&map, &policy, Forced::DryRun, 30_000, 20_003);
    assert!(ask(&map, &policy, 20_004, 1).is_ok());
    assert_eq!(
        all(&map, &policy, 20_004)[0].would_refuse,
        1,
        "counted though let through"
    );
    says(&map, &policy, Forced::None, 0, 20_005);
    assert_eq!(state(&map, 20_006), "closed");
}

#[test]
fn an_operators_word_that_runs_out_is_an_event_whether_or_not_anybody_calls() {
    let policy = policy();
    for called in [true, false] {
        let map = MemoryMap::default();
        says(&map, &policy, Forced::Open, 5_000, 1_000);
        assert!(says(&map, &policy, Forced::Open, 6_000, 2_000).is_none(), "renewed");
        assert!(sweep(&map, &policy, |_| true, 5_999).is_empty());
        let told = if called {
            acquire(&map, "api", &policy, &CALL, 6_000, 1).1
        } else {
            sweep(&map, &policy, |_| true, 6_000).pop()
        };
        let told = told.unwrap();
        assert_eq!(
            (told.from, told.to, told.cause),
            (BreakerState::ForcedOpen, BreakerState::Closed, Cause::OverrideExpired)
        );
        assert!(sweep(&map, &policy, |_| true, 6_001).is_empty(), "told once");
    }
}

#[test]
fn a_word_lasts_a_day_at_most() {
    let map = MemoryMap::default();
    let policy = policy();
    says(&map, &policy, Forced::Open, u64::MAX, 0);
    assert!(ask(&map, &policy, table::FORCED_MAX_MS - 1, 1).is_err());
    assert!(ask(&map, &policy, table::FORCED_MAX_MS, 1).is_ok());
}

#[test]
fn a_dry_run_judges_counts_and_refuses_nothing() {
    let map = MemoryMap::default();
    let policy = BreakerPolicy {
        dry_run: true,
        ..policy()
    };
    let told: Vec<_> = (0..30)
        .filter_map(|index| call(&map, &policy, OutcomeClass::ConnectFailure, 1_000 + index).unwrap())
        .collect();
    assert_eq!(told.len(), 1);
    assert!(told[0].overruled && told[0].to == BreakerState::Open);
    let view = all(&map, &policy, 2_000).remove(0);
    assert_eq!((view.state, view.judged), (BreakerState::DryRun, BreakerState::Open));
    assert_eq!((view.would_refuse, view.refused), (25, 0));
}
