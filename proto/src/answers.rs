//! What the answers to commands say, from and for peers of the release before too: those write and read them as JSON in `detail`.
//!
//! A command says whether its sender reads answers as messages (`Command.typed_answer`). A filter of the release before does not look at
//! that and answers in JSON all the same.

use crate::v1::command::Body;
use crate::v1::command_result::Answer;
use crate::v1::{
    Command, CommandResult, ExportPage, Imported, InventoryStep, PurgeCount, StoredClass, SweepStep, TopKey, TopKeys,
};
use serde_json::{Map, Value, json};

/// A command whose sender reads its answer with the functions below.
#[must_use]
pub fn command(body: Body) -> Command {
    Command {
        id: String::new(),
        typed_answer: true,
        body: Some(body),
    }
}

/// Stored responses; `None` where it was refused or is no such answer.
#[must_use]
pub fn page(result: CommandResult) -> Option<ExportPage> {
    match result.answer {
        Some(Answer::Page(page)) if result.ok => Some(page),
        _ => None,
    }
}

/// How much a purge has matched; `None` where it was refused or not counted.
#[must_use]
pub fn count(result: CommandResult) -> Option<PurgeCount> {
    match result.answer {
        Some(Answer::Count(count)) if result.ok => Some(count),
        _ => None,
    }
}

/// What became of imported responses; `None` where it was refused or is no such answer.
#[must_use]
pub fn imported(result: CommandResult) -> Option<Imported> {
    match result.answer {
        _ if !result.ok => None,
        Some(Answer::Imported(imported)) => Some(imported),
        Some(_) => None,
        None => imported_from(&older(&result.detail)?),
    }
}

/// A step of a sweep; `None` where it was refused or is no such answer.
#[must_use]
pub fn swept(result: CommandResult) -> Option<SweepStep> {
    match result.answer {
        _ if !result.ok => None,
        Some(Answer::Swept(step)) => Some(step),
        Some(_) => None,
        None => Some(swept_from(&older(&result.detail)?)),
    }
}

/// A step of an inventory; `None` where it was refused or is no such answer.
#[must_use]
pub fn inventory(result: CommandResult) -> Option<InventoryStep> {
    match result.answer {
        _ if !result.ok => None,
        Some(Answer::Inventory(step)) => Some(step),
        Some(_) => None,
        None => Some(inventory_from(&older(&result.detail)?)),
    }
}

/// Why a command was refused; as it was told where that cannot be read.
#[must_use]
pub fn refusal(result: CommandResult) -> String {
    if let Some(Answer::Refusal(refusal)) = result.answer {
        return refusal.reason;
    }
    let told = older(&result.detail).unwrap_or_default();
    let reason = told.get("reason").and_then(Value::as_str);
    reason.map_or(result.detail, str::to_owned)
}

/// The same answer for a control plane of the release before.
#[must_use]
pub fn for_older(mut result: CommandResult) -> CommandResult {
    let told = match &result.answer {
        Some(Answer::Imported(imported)) => json!({ "outcomes": imported.outcomes }),
        Some(Answer::Swept(step)) => json!({
            "expired_removed": step.expired_removed,
            "purged_removed": step.purged_removed,
            "evicted": step.evicted,
            "bytes_freed": step.bytes_freed,
            "next": (!step.done).then_some(step.next_cursor),
        }),
        Some(Answer::Inventory(step)) => inventory_for(step),
        Some(Answer::Refusal(refusal)) => json!({ "reason": refusal.reason }),
        // It knows these as messages.
        Some(Answer::Page(_) | Answer::Count(_) | Answer::Settings(_)) | None => return result,
    };
    result.answer = None;
    result.detail = told.to_string();
    result
}

fn older(detail: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(detail).ok()
}

fn number(value: Option<&Value>) -> u64 {
    value.and_then(Value::as_u64).unwrap_or(0)
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn imported_from(told: &Map<String, Value>) -> Option<Imported> {
    let outcomes = told.get("outcomes")?.as_array()?.iter();
    Some(Imported {
        outcomes: outcomes
            .map(|outcome| outcome.as_str().map(str::to_owned))
            .collect::<Option<_>>()?,
    })
}

fn swept_from(told: &Map<String, Value>) -> SweepStep {
    let next = told.get("next").and_then(Value::as_u64);
    SweepStep {
        expired_removed: number(told.get("expired_removed")),
        purged_removed: number(told.get("purged_removed")),
        evicted: number(told.get("evicted")),
        bytes_freed: number(told.get("bytes_freed")),
        done: next.is_none(),
        next_cursor: next.unwrap_or_default(),
    }
}

fn inventory_from(told: &Map<String, Value>) -> InventoryStep {
    let classes = |name: &str| -> Vec<StoredClass> {
        let classes = told.get(name).and_then(Value::as_object).into_iter().flatten();
        let class = |(name, counts): (&String, &Value)| StoredClass {
            name: name.clone(),
            entries: number(counts.get(0)),
            bytes: number(counts.get(1)),
        };
        classes.map(class).collect()
    };
    let key = |key: &Value| TopKey {
        url: text(key.get("url")),
        count: number(key.get("count")),
        error: number(key.get("error")),
    };
    let measures = told.get("top").and_then(Value::as_object).into_iter().flatten();
    let ranked = |(measure, keys): (&String, &Value)| TopKeys {
        measure: measure.clone(),
        keys: list(Some(keys)).map(key).collect(),
    };
    let next = told.get("next").and_then(Value::as_u64);
    let next = next.and_then(|next| u32::try_from(next).ok());
    InventoryStep {
        by_age: classes("by_age"),
        by_size: classes("by_size"),
        by_content_type: classes("by_content_type"),
        top: measures.map(ranked).collect(),
        done: next.is_none(),
        next_page: next.unwrap_or_default(),
    }
}

fn inventory_for(step: &InventoryStep) -> Value {
    let classes = |classes: &[StoredClass]| -> Map<String, Value> {
        let class = |class: &StoredClass| (class.name.clone(), json!([class.entries, class.bytes]));
        classes.iter().map(class).collect()
    };
    let key = |key: &TopKey| json!({ "url": key.url, "count": key.count, "error": key.error });
    let ranked = |top: &TopKeys| -> (String, Value) { (top.measure.clone(), top.keys.iter().map(key).collect()) };
    let mut told = json!({
        "by_age": classes(&step.by_age),
        "by_size": classes(&step.by_size),
        "by_content_type": classes(&step.by_content_type),
        "next": (!step.done).then_some(step.next_page),
    });
    if let (Some(told), false) = (told.as_object_mut(), step.top.is_empty()) {
        told.insert("top".to_owned(), step.top.iter().map(ranked).collect());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Refusal, SettingsPart};

    fn done(answer: Answer) -> CommandResult {
        CommandResult {
            id: "c-1".to_owned(),
            ok: !matches!(answer, Answer::Refusal(_)),
            answer: Some(answer),
            ..CommandResult::default()
        }
    }

    /// As a filter of the release before wrote it.
    fn told(ok: bool, detail: &str) -> CommandResult {
        CommandResult {
            ok,
            detail: detail.to_owned(),
            ..CommandResult::default()
        }
    }

    fn an_inventory(done: bool, next_page: u32) -> InventoryStep {
        let class = |name: &str, entries| StoredClass {
            name: name.to_owned(),
            entries,
            bytes: entries * 10,
        };
        InventoryStep {
            by_age: vec![class("under_10s", 3), class("under_1m", 0)],
            by_size: vec![class("under_1KB", 3)],
            by_content_type: vec![class("text/html", 2)],
            top: vec![TopKeys {
                measure: "hits".to_owned(),
                keys: vec![TopKey {
                    url: "http://a/".to_owned(),
                    count: 7,
                    error: 1,
                }],
            }],
            done,
            next_page,
        }
    }

    fn a_sweep(done: bool, next_cursor: u64) -> SweepStep {
        SweepStep {
            expired_removed: 1,
            purged_removed: 2,
            evicted: 3,
            bytes_freed: u64::MAX,
            done,
            next_cursor,
        }
    }

    #[test]
    fn answers_are_taken_from_messages_and_from_the_json_of_an_older_filter() {
        let outcomes = vec!["restored".to_owned(), "key".to_owned()];
        for imports in [Imported { outcomes }, Imported::default()] {
            let sent = done(Answer::Imported(imports.clone()));
            assert_eq!(imported(sent.clone()), Some(imports.clone()));
            assert_eq!(imported(for_older(sent)), Some(imports));
        }
        for step in [a_sweep(true, 0), a_sweep(false, 1 << 40)] {
            let sent = done(Answer::Swept(step));
            assert_eq!((swept(sent.clone()), swept(for_older(sent))), (Some(step), Some(step)));
        }
        for step in [an_inventory(true, 0), an_inventory(false, 128)] {
            let sent = done(Answer::Inventory(step.clone()));
            assert_eq!(inventory(sent.clone()), Some(step.clone()));
            assert_eq!(inventory(for_older(sent)), Some(step));
        }
        let reason = "which upstream is not said".to_owned();
        let sent = done(Answer::Refusal(Refusal { reason: reason.clone() }));
        assert_eq!(
            (refusal(sent.clone()), refusal(for_older(sent))),
            (reason.clone(), reason)
        );
    }

    #[test]
    fn an_older_control_plane_is_told_exactly_what_it_reads() {
        let detail = |answer| for_older(done(answer)).detail;
        let outcomes = vec!["restored".to_owned()];
        assert_eq!(
            detail(Answer::Imported(Imported { outcomes })),
            r#"{"outcomes":["restored"]}"#
        );
        let read = |detail: String| serde_json::from_str::<Value>(&detail).unwrap();
        let freed =
            json!({"expired_removed": 1, "purged_removed": 2, "evicted": 3, "bytes_freed": u64::MAX, "next": 5});
        assert_eq!(read(detail(Answer::Swept(a_sweep(false, 5)))), freed);
        assert_eq!(read(detail(Answer::Swept(a_sweep(true, 0))))["next"], Value::Null);
        let counted = json!({
            "by_age": {"under_10s": [3, 30], "under_1m": [0, 0]},
            "by_size": {"under_1KB": [3, 30]},
            "by_content_type": {"text/html": [2, 20]},
            "top": {"hits": [{"url": "http://a/", "count": 7, "error": 1}]},
            "next": 128,
        });
        assert_eq!(read(detail(Answer::Inventory(an_inventory(false, 128)))), counted);
        let without = InventoryStep {
            top: Vec::new(),
            ..an_inventory(true, 0)
        };
        let later = read(detail(Answer::Inventory(without)));
        assert!(later.get("top").is_none() && later["next"].is_null(), "{later}");
        let reason = "no".to_owned();
        assert_eq!(detail(Answer::Refusal(Refusal { reason })), r#"{"reason":"no"}"#);
        for known in [
            Answer::Page(ExportPage::default()),
            Answer::Count(PurgeCount::default()),
            Answer::Settings(SettingsPart::default()),
        ] {
            assert_eq!(for_older(done(known.clone())), done(known));
        }
    }

    #[test]
    fn what_is_no_answer_to_the_command_is_none() {
        let refused = |answer| CommandResult {
            ok: false,
            ..done(answer)
        };
        assert!(page(done(Answer::Page(ExportPage::default()))).is_some() && count(told(true, "{}")).is_none());
        assert!(page(refused(Answer::Page(ExportPage::default()))).is_none());
        assert!(count(refused(Answer::Count(PurgeCount::default()))).is_none());
        let other = || done(Answer::Count(PurgeCount::default()));
        assert!(imported(other()).is_none() && swept(other()).is_none() && inventory(other()).is_none());
        for wrong in [told(false, "{}"), told(true, ""), told(true, "[]"), told(true, "7")] {
            assert_eq!(imported(wrong.clone()), None, "{wrong:?}");
            assert_eq!(swept(wrong.clone()), None, "{wrong:?}");
            assert_eq!(inventory(wrong.clone()), None, "{wrong:?}");
        }
        for wrong in ["1", "[1]"] {
            assert_eq!(imported(told(true, &format!(r#"{{"outcomes": {wrong}}}"#))), None);
        }
        assert_eq!(refusal(told(false, "cut off {")), "cut off {");
        // A filter says less than this: what is missing is none.
        let nothing = told(true, r#"{"by_age": [], "top": 1, "next": 5000000000}"#);
        let step = InventoryStep {
            done: true,
            ..InventoryStep::default()
        };
        assert_eq!(inventory(nothing), Some(step));
    }
}
