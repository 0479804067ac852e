//! How facts and updates are written to the streams in Redis: the journal, which is kept, and updates of Envoys, which are not.

use control_domain::fleet::EnvoyUpdate;
use control_domain::replication::Fact;
use optimizer_proto::v1::{Hello, SettingsAck, TelemetryReport};
use prost::Message;
use redis::Cmd;

/// Entries of the journal kept at least; a purge that is older is forgotten.
pub(super) const JOURNAL_ENTRIES: usize = 50_000;
/// Updates kept at least, for a replica that comes up or was cut off.
const UPDATES_KEPT: usize = 20_000;

/// Fields of an entry of a stream, with their values.
pub(super) type Fields = Vec<(String, Vec<u8>)>;

/// The beginning of a command that appends to a stream of at most this many entries.
fn appending(stream: &str, kept: usize, from: &str) -> Cmd {
    let mut command = redis::cmd("XADD");
    command.arg(stream).arg("MAXLEN").arg("~").arg(kept).arg("*");
    command.arg("from").arg(from);
    command
}

/// What appends a fact to the journal.
pub(super) fn append_fact(fact: &Fact, stream: &str, from: &str) -> Cmd {
    with_fact(appending(stream, JOURNAL_ENTRIES, from), fact)
}

/// What appends a fact to the updates, which are not kept.
pub(super) fn append_passing(fact: &Fact, stream: &str, from: &str) -> Cmd {
    with_fact(appending(stream, UPDATES_KEPT, from), fact)
}

fn with_fact(mut command: Cmd, fact: &Fact) -> Cmd {
    command
        .arg("entry")
        .arg(serde_json::to_string(fact).unwrap_or_default());
    command
}

/// What appends an update.
pub(super) fn append_update(update: &EnvoyUpdate, stream: &str, from: &str) -> Cmd {
    let mut command = appending(stream, UPDATES_KEPT, from);
    command
        .arg("hello")
        .arg(update.hello.encode_to_vec())
        .arg("connection")
        .arg(update.connection)
        .arg("connected")
        .arg(u8::from(update.connected))
        .arg("at")
        .arg(update.at_ms);
    if let Some(ack) = &update.ack {
        command.arg("ack").arg(ack.encode_to_vec());
    }
    if let Some(report) = &update.report {
        command.arg("report").arg(report.encode_to_vec());
    }
    command
}

fn field<'f>(fields: &'f Fields, name: &str) -> Option<&'f [u8]> {
    let found = fields.iter().find(|(own, _)| own == name);
    found.map(|(_, value)| value.as_slice())
}

/// Reads a fact. One that a newer replica wrote in another form is passed over.
pub(super) fn read_fact(fields: &Fields) -> Option<Fact> {
    match serde_json::from_slice(field(fields, "entry")?) {
        Ok(fact) => Some(fact),
        Err(error) => {
            tracing::warn!(%error, "an entry of the shared journal cannot be read");
            None
        }
    }
}

/// Reads an update; `None` when it is not of ours.
pub(super) fn read_update(fields: &Fields) -> Option<EnvoyUpdate> {
    let field = |name| field(fields, name);
    let number = |name| std::str::from_utf8(field(name)?).ok()?.parse().ok();
    Some(EnvoyUpdate {
        hello: Hello::decode(field("hello")?).ok()?,
        connection: number("connection")?,
        connected: number("connected")? == 1,
        at_ms: number("at")?,
        ack: field("ack").and_then(|bytes| SettingsAck::decode(bytes).ok()),
        report: field("report").and_then(|bytes| TelemetryReport::decode(bytes).ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(command: &Cmd) -> Fields {
        let arguments: Vec<Vec<u8>> = command
            .args_iter()
            .filter_map(|argument| match argument {
                redis::Arg::Simple(bytes) => Some(bytes.to_vec()),
                _ => None,
            })
            .collect();
        let pairs = arguments.get(6..).unwrap();
        pairs
            .chunks(2)
            .map(|pair| (String::from_utf8(pair[0].clone()).unwrap(), pair[1].clone()))
            .collect()
    }

    #[test]
    fn updates_are_read_as_they_were_written() {
        let update = EnvoyUpdate {
            hello: Hello {
                instance_id: "a".to_owned(),
                ..Hello::default()
            },
            connection: 77,
            connected: true,
            at_ms: 5,
            ack: Some(SettingsAck::default()),
            report: Some(TelemetryReport {
                sequence: 9,
                ..TelemetryReport::default()
            }),
        };
        let fields = written(&append_update(&update, "s", "me"));
        assert_eq!(read_update(&fields), Some(update));
        assert_eq!(read_update(&fields[2..].to_vec()), None);
    }

    #[test]
    fn facts_are_read_as_they_were_written_and_what_is_none_is_passed_over() {
        let fact = Fact::PurgeReopened {
            id: "1".to_owned(),
            round: 1,
        };
        let mut fields = written(&append_fact(&fact, "s", "me"));
        assert_eq!(read_fact(&fields), Some(fact));
        let passing = written(&append_passing(
            &Fact::PurgeReopened {
                id: "1".to_owned(),
                round: 1,
            },
            "s",
            "me",
        ));
        assert_eq!(passing, fields);
        assert_eq!(read_update(&passing), None, "no update");
        fields[1].1 = br#"{"what": "of the future"}"#.to_vec();
        assert_eq!(read_fact(&fields), None);
    }
}
