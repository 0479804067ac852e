//! Answers to commands of the control plane, in the form in which it reads them.

use super::*;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::command_result::Answer;
use optimizer_proto::v1::{
    BreakerCommand, Command, CommandResult, ExplainCommand, ImportCommand, Imported, InventoryCommand, PurgeCommand,
    Refusal, SettingsCommand, SweepCommand,
};
use serde_json::{Value, json};

fn answer(envoy: &mut Envoy, typed_answer: bool, body: Body) -> CommandResult {
    envoy.said();
    envoy.control(ToFilter::Command(Command {
        id: "c-1".to_owned(),
        typed_answer,
        body: Some(body),
    }));
    let results = envoy.said().into_iter().filter_map(|body| match body {
        FromFilter::CommandResult(result) => Some(result),
        _ => None,
    });
    let [result]: [CommandResult; 1] = results.collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(result.id, "c-1");
    result
}

fn detail(result: &CommandResult) -> Value {
    serde_json::from_str(&result.detail).unwrap()
}

/// Connected, with a response that is expired by now and one that is not.
fn with_two() -> Envoy {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[], "200", &[("cache-control", "max-age=1")], b"old"));
    envoy.wait(7_200_000);
    let mut other = GET.to_vec();
    other[3] = (":path", "/other");
    forwarded(envoy.ask(&other, "200", &FRESH, b"fresh"));
    envoy.vm.on_tick(&envoy.host, ROOT);
    envoy
}

fn import(record: &[u8]) -> Body {
    Body::Import(ImportCommand {
        records: vec![record.to_vec()],
        ..ImportCommand::default()
    })
}

#[test]
fn a_control_plane_that_reads_answers_as_messages_gets_no_json() {
    let mut envoy = with_two();
    let Some(Answer::Imported(Imported { outcomes })) = answer(&mut envoy, true, import(b"no record")).answer else {
        panic!("no answer")
    };
    assert_eq!(outcomes.len(), 1);
    let counted = answer(&mut envoy, true, Body::Inventory(InventoryCommand::default()));
    let Some(Answer::Inventory(step)) = &counted.answer else {
        panic!("{counted:?}")
    };
    assert_eq!((step.top.len(), step.done, step.next_page), (3, false, 128));
    let swept = answer(&mut envoy, true, Body::Sweep(SweepCommand::default()));
    let Some(Answer::Swept(step)) = &swept.answer else {
        panic!("{swept:?}")
    };
    assert!(
        step.expired_removed == 1 && step.bytes_freed > 0 && step.done,
        "{step:?}"
    );
    let refused = answer(&mut envoy, true, Body::Breaker(BreakerCommand::default()));
    let reason = "what to do with the breaker is not said".to_owned();
    assert_eq!(refused.answer, Some(Answer::Refusal(Refusal { reason })));
    assert!(!refused.ok && counted.ok && swept.ok);
    for result in [counted, swept, refused] {
        assert_eq!(result.detail, "");
    }
}

#[test]
fn a_control_plane_of_the_release_before_gets_json() {
    let mut envoy = with_two();
    let imported = answer(&mut envoy, false, import(b"no record"));
    assert_eq!(detail(&imported)["outcomes"].as_array().map(Vec::len), Some(1));
    let counted = answer(&mut envoy, false, Body::Inventory(InventoryCommand::default()));
    let told = detail(&counted);
    assert_eq!(
        (&told["next"], &told["top"]["hits"]),
        (&json!(128), &json!([])),
        "{told}"
    );
    assert_eq!(told["by_age"].as_object().map(serde_json::Map::len), Some(7), "{told}");
    let swept = answer(&mut envoy, false, Body::Sweep(SweepCommand::default()));
    let told = detail(&swept);
    assert_eq!(
        (&told["expired_removed"], &told["next"]),
        (&json!(1), &Value::Null),
        "{told}"
    );
    let refused = answer(&mut envoy, false, Body::Settings(SettingsCommand::default()));
    assert_eq!(
        detail(&refused),
        json!({"reason": "no control plane has sent settings"})
    );
    assert!(!refused.ok && imported.ok && counted.ok && swept.ok);
    for result in [imported, counted, swept, refused] {
        assert_eq!(result.answer, None, "not twice");
    }
}

#[test]
fn what_was_a_message_and_what_is_passed_on_as_json_is_the_same_to_both() {
    let mut envoy = with_two();
    let explain = Body::Explain(ExplainCommand {
        method: "GET".to_owned(),
        scheme: "http".to_owned(),
        authority: "api.example".to_owned(),
        path: "/other".to_owned(),
        ..ExplainCommand::default()
    });
    let everything = PurgeCommand {
        kind: optimizer_proto::v1::purge_command::Kind::All.into(),
        ..PurgeCommand::default()
    };
    let counted = Body::Purge(PurgeCommand {
        counted: vec![everything.clone()],
        ..everything
    });
    for typed in [true, false] {
        let explained = answer(&mut envoy, typed, explain.clone());
        assert_eq!(
            (explained.answer.clone(), &detail(&explained)["route"]),
            (None, &json!("default"))
        );
        let purged = answer(&mut envoy, typed, counted.clone());
        assert!(
            purged.ok && matches!(purged.answer, Some(Answer::Count(_))),
            "{purged:?}"
        );
        assert_eq!(purged.detail, "");
    }
}
