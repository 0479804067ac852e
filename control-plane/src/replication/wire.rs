//! What replicas tell each other, as entries of two streams: the journal, which is kept, and the news of Envoys, which pass.

use control_domain::Millis;
use control_domain::alerts::Silence;
use control_domain::fleet::ConnectionId;
use control_domain::purges::{Matched, Purge};
use control_domain::steering::Said;
use control_domain::warm::Warmth;
use optimizer_proto::v1::{Hello, SettingsAck, TelemetryReport};
use prost::Message;
use redis::Cmd;
use serde::{Deserialize, Serialize};

/// Entries of the journal kept at least; a purge that is older is forgotten.
pub(super) const JOURNAL_ENTRIES: usize = 50_000;
/// News kept at least, for a replica that comes up or was cut off.
const NEWS_ENTRIES: usize = 20_000;

/// The beginning of what appends to a stream that keeps so many entries.
fn appending(stream: &str, kept: usize, from: &str) -> Cmd {
    let mut command = redis::cmd("XADD");
    command.arg(stream).arg("MAXLEN").arg("~").arg(kept).arg("*");
    command.arg("from").arg(from);
    command
}

/// What must not be forgotten.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// A purge was accepted.
    Purge { purge: Purge },
    /// Envoys have done it.
    Applied {
        id: String,
        envoy: String,
        at: Millis,
        /// What they have counted; told later, once more, where counting takes long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        matched: Option<Matched>,
    },
    /// All have to do it once more.
    Reopened { id: String },
    /// An operator's word about a breaker.
    Said { said: Said },
    /// Somebody has seen an alert.
    Acknowledged { id: String, by: String },
    /// Nobody is to be told of an alert.
    Silenced { silence: Silence },
    /// How warm an Envoy is by now.
    Warmed { envoy: String, warmth: Warmth },
    /// The silence is over.
    Unsilenced { name: String },
}

impl Entry {
    pub(super) fn command(&self, stream: &str, from: &str) -> Cmd {
        let mut command = appending(stream, JOURNAL_ENTRIES, from);
        command
            .arg("entry")
            .arg(serde_json::to_string(self).unwrap_or_default());
        command
    }
}

/// What a replica has heard of an Envoy. Each says who it is, so that none needs another one to be understood.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct News {
    pub(crate) hello: Hello,
    pub(crate) connection: ConnectionId,
    pub(crate) connected: bool,
    pub(crate) at_ms: Millis,
    pub(crate) ack: Option<SettingsAck>,
    pub(crate) report: Option<TelemetryReport>,
}

impl News {
    pub(super) fn command(&self, stream: &str, from: &str) -> Cmd {
        let mut command = appending(stream, NEWS_ENTRIES, from);
        command
            .arg("hello")
            .arg(self.hello.encode_to_vec())
            .arg("connection")
            .arg(self.connection)
            .arg("connected")
            .arg(u8::from(self.connected))
            .arg("at")
            .arg(self.at_ms);
        if let Some(ack) = &self.ack {
            command.arg("ack").arg(ack.encode_to_vec());
        }
        if let Some(report) = &self.report {
            command.arg("report").arg(report.encode_to_vec());
        }
        command
    }

    /// Reads what came; `None` when it is not of ours.
    pub(super) fn read(fields: &[(String, Vec<u8>)]) -> Option<Self> {
        let field = |name: &str| {
            fields
                .iter()
                .find(|(own, _)| own == name)
                .map(|(_, value)| value.as_slice())
        };
        let number = |name| std::str::from_utf8(field(name)?).ok()?.parse().ok();
        Some(Self {
            hello: Hello::decode(field("hello")?).ok()?,
            connection: number("connection")?,
            connected: number("connected")? == 1,
            at_ms: number("at")?,
            ack: field("ack").and_then(|bytes| SettingsAck::decode(bytes).ok()),
            report: field("report").and_then(|bytes| TelemetryReport::decode(bytes).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_read_as_they_were_written() {
        let news = News {
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
        let command = news.command("s", "me");
        let arguments: Vec<Vec<u8>> = command
            .args_iter()
            .filter_map(|argument| match argument {
                redis::Arg::Simple(bytes) => Some(bytes.to_vec()),
                _ => None,
            })
            .collect();
        let pairs = arguments.get(6..).unwrap();
        let fields: Vec<(String, Vec<u8>)> = pairs
            .chunks(2)
            .map(|pair| (String::from_utf8(pair[0].clone()).unwrap(), pair[1].clone()))
            .collect();
        assert_eq!(News::read(&fields), Some(news));
        assert_eq!(News::read(&fields[2..]), None);
    }
}
