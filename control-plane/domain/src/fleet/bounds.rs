//! How much is kept of what Envoys say.

use super::*;

fn hello(name: &str) -> Hello {
    Hello {
        instance_id: name.to_owned(),
        ..Hello::default()
    }
}

#[test]
fn no_more_envoys_are_remembered_than_so_many() {
    let mut fleet = Fleet::default();
    let known = (0..20_000).map(|number| (number.to_string(), Envoy::default()));
    fleet.envoys = known.collect();
    fleet.hello(&hello("new"), 1, 1);
    assert_eq!(fleet.envoys().count(), 20_000);
    assert!(fleet.get("new").is_some());
}

#[test]
fn texts_of_a_hello_are_as_long_as_they_may_be_and_no_longer() {
    let text = |length: usize| "x".repeat(length);
    let of = |name: usize, word: usize, words: usize| Hello {
        node_id: text(name),
        instance_id: text(name),
        epoch: text(name),
        filter_version: text(word),
        module: text(word),
        capabilities: vec![text(word); words],
        ..Hello::default()
    };
    assert_eq!(Fleet::too_long(&of(256, 64, 64)), None);
    let good = of(1, 1, 1);
    for (field, hello) in [
        (
            "node_id",
            Hello {
                node_id: text(257),
                ..good.clone()
            },
        ),
        (
            "instance_id",
            Hello {
                instance_id: text(257),
                ..good.clone()
            },
        ),
        (
            "epoch",
            Hello {
                epoch: text(257),
                ..good.clone()
            },
        ),
        (
            "filter_version",
            Hello {
                filter_version: text(65),
                ..good.clone()
            },
        ),
        (
            "module",
            Hello {
                module: text(65),
                ..good.clone()
            },
        ),
        ("capabilities", of(1, 1, 65)),
        (
            "capabilities",
            Hello {
                capabilities: vec![text(65)],
                ..good.clone()
            },
        ),
    ] {
        assert_eq!(Fleet::too_long(&hello), Some(field));
    }
}

#[test]
fn of_violations_the_first_are_kept_and_of_each_its_beginning() {
    let mut fleet = Fleet::default();
    fleet.hello(&hello("a"), 1, 0);
    let violation = Violation {
        path: "p".repeat(10_000),
        code: "c".repeat(10_000),
        message: "m".repeat(10_000),
    };
    let ack = SettingsAck {
        accepted: true,
        violations: vec![violation; 100],
        ..SettingsAck::default()
    };
    fleet.acknowledged("a", &ack, 0);
    let ignored = &fleet.get("a").unwrap().ignored;
    assert_eq!(ignored.len(), 16);
    let lengths = |ignored: &Violation| (ignored.path.len(), ignored.code.len(), ignored.message.len());
    assert!(ignored.iter().all(|ignored| lengths(ignored) == (256, 64, 512)));
}
