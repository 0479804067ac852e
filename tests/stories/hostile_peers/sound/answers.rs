//! A sound answer of every kind.

use super::now_ms;
use optimizer_proto::v1::command_result::Answer;
use optimizer_proto::v1::{
    ExportItem, ExportPage, Imported, InventoryStep, PurgeCount, Refusal, SettingsPart, StoredClass, SweepStep, TopKey,
    TopKeys,
};

pub fn of_every_kind() -> [Answer; 7] {
    let item = ExportItem {
        part: vec![1; 300],
        total: 300,
        key: "http://api.example/".to_owned(),
        status: 200,
        response_time_ms: now_ms(),
        tags: vec!["a".to_owned()],
        hits: 3,
        ..ExportItem::default()
    };
    let class = StoredClass {
        name: "under_10s".to_owned(),
        entries: 1,
        bytes: 300,
    };
    let key = TopKey {
        url: "http://api.example/".to_owned(),
        count: 3,
        error: 1,
    };
    [
        Answer::Page(ExportPage {
            items: vec![item],
            next_cursor: 1,
            ..ExportPage::default()
        }),
        Answer::Count(PurgeCount {
            matched: 1,
            newer: 1,
            next_cursor: 4,
            ..PurgeCount::default()
        }),
        Answer::Settings(SettingsPart {
            revision: 1,
            part: b"{}".to_vec(),
            total: 2,
            ..SettingsPart::default()
        }),
        Answer::Imported(Imported {
            outcomes: vec!["restored".to_owned()],
        }),
        Answer::Swept(SweepStep {
            expired_removed: 1,
            next_cursor: 1,
            ..SweepStep::default()
        }),
        Answer::Inventory(InventoryStep {
            by_age: vec![class.clone()],
            by_size: vec![class.clone()],
            by_content_type: vec![class],
            top: vec![TopKeys {
                measure: "hits".to_owned(),
                keys: vec![key],
            }],
            next_page: 1,
            ..InventoryStep::default()
        }),
        Answer::Refusal(Refusal {
            reason: "no".to_owned(),
        }),
    ]
}
