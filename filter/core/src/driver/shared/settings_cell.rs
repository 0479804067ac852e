//! The settings in force for the whole Envoy, where every VM finds them: also one that was born a moment ago.

use crate::shared_map::{Cas, SetError, SharedMap, keys};
use optimizer_proto::settings::{Settings, Violation, ViolationCode};
use optimizer_proto::v1::{SettingsCommand, SettingsPart, SettingsPush};
use prost::Message;
use serde_json::{Value, json};

/// Most bytes of a document in one message; the rest of the message is small beside it.
const PART_BYTES: usize = optimizer_proto::MAX_MESSAGE_BYTES / 2;

/// Others can win the race for the cell so often.
const RETRIES: usize = 16;

/// Creates the cell, so that no two workers race to create it.
pub fn seed(map: &impl SharedMap) {
    if map.get(keys::SETTINGS).is_none() {
        // No push: it does not decode. A failure leaves the cell absent; of two first pushes the older may then stay.
        let _ = map.set(keys::SETTINGS, &[0], None);
    }
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is there for all VMs.
    Done,
    /// A newer revision of the same epoch is there, and stays.
    Older,
    /// The host refused.
    Refused,
}

/// Publishes a checked push for all VMs. Never in place of a newer revision: a VM that was away may bring what its stream held back.
pub fn publish(map: &impl SharedMap, push: &SettingsPush) -> Published {
    let bytes = push.encode_to_vec();
    for _ in 0..RETRIES {
        let (present, cas) = match map.get(keys::SETTINGS) {
            Some((present, cas)) => (SettingsPush::decode(present.as_slice()).ok(), Some(cas)),
            None => (None, None),
        };
        if let Some(present) = present.filter(|present| present.epoch == push.epoch) {
            if present.revision > push.revision {
                return Published::Older;
            }
            if present == *push {
                return Published::Done;
            }
        }
        match map.set(keys::SETTINGS, &bytes, cas) {
            Ok(()) => return Published::Done,
            Err(SetError::CasMismatch) => {}
            Err(SetError::Host) => break,
        }
    }
    Published::Refused
}

/// What is published, if it is not what was seen at version `seen`.
pub fn changed(map: &impl SharedMap, seen: Option<Cas>) -> Option<(SettingsPush, Cas)> {
    let (bytes, cas) = map.get(keys::SETTINGS)?;
    if Some(cas) == seen {
        return None;
    }
    SettingsPush::decode(bytes.as_slice()).ok().map(|push| (push, cas))
}

fn present(map: &impl SharedMap) -> Result<SettingsPush, String> {
    let (push, _) = changed(map, None).ok_or("no control plane has sent settings")?;
    Ok(push)
}

/// A part of the document that is published, for a control plane that has lost its own. One behind the end is empty.
///
/// # Errors
/// No control plane has sent settings.
pub(crate) fn part(map: &impl SharedMap, command: &SettingsCommand) -> Result<SettingsPart, String> {
    let push = present(map)?;
    let begin = usize::try_from(command.offset).unwrap_or(usize::MAX);
    let rest = push.document.get(begin..).unwrap_or_default();
    let most = usize::try_from(command.max_bytes).unwrap_or(usize::MAX).min(PART_BYTES);
    let length = rest.len().min(most);
    Ok(SettingsPart {
        part: rest.get(..length).unwrap_or_default().to_vec(),
        offset: command.offset,
        total: push.document.len() as u64,
        epoch: push.epoch,
        revision: push.revision,
    })
}

/// The whole document that is published, for a control plane that does not know of parts.
///
/// # Errors
/// No control plane has sent settings, or they cannot be read.
pub(crate) fn published(map: &impl SharedMap) -> Result<Value, String> {
    let push = present(map)?;
    let document: Value = serde_json::from_slice(&push.document).map_err(|error| error.to_string())?;
    Ok(json!({ "epoch": push.epoch, "revision": push.revision, "document": document }))
}

/// Reads the settings of a push.
///
/// With them the fields that this filter does not know, from a newer control plane: it does without.
pub(crate) fn parse_document(document: &[u8]) -> Result<(Settings, Vec<Violation>), Vec<Violation>> {
    let value = serde_json::from_slice(document).map_err(|error| {
        vec![Violation {
            path: String::new(),
            code: ViolationCode::Malformed,
            message: error.to_string(),
        }]
    })?;
    Settings::parse_tolerant(&value)
}

/// A short stand-in for an epoch's name, to compare VMs by.
pub(crate) fn fingerprint(epoch: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(epoch.as_bytes())
}

/// What a push says about itself, for a log line.
pub(crate) fn title(push: &SettingsPush) -> String {
    format!("revision {} of epoch {}", push.revision, push.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_map::MemoryMap;

    #[test]
    fn a_change_is_seen_once_by_each_reader() {
        let map = MemoryMap::default();
        assert!(changed(&map, None).is_none() && published(&map).is_err());
        let push = SettingsPush {
            revision: 3,
            document: b"{}".to_vec(),
            epoch: "e".to_owned(),
        };
        assert_eq!(publish(&map, &push), Published::Done);
        let (read, cas) = changed(&map, None).unwrap();
        assert_eq!(read, push);
        let expected = json!({"epoch": "e", "revision": 3, "document": {}});
        assert_eq!(published(&map), Ok(expected));
        assert!(changed(&map, Some(cas)).is_none());
        assert_eq!(publish(&map, &push), Published::Done);
        assert!(changed(&map, Some(cas)).is_none(), "the same once more is no change");
        let (newer, other) = (
            SettingsPush {
                revision: 4,
                ..push.clone()
            },
            SettingsPush {
                epoch: "f".to_owned(),
                ..push.clone()
            },
        );
        assert_eq!(publish(&map, &newer), Published::Done);
        assert_eq!(publish(&map, &push), Published::Older);
        assert_eq!(changed(&map, Some(cas)).unwrap().0.revision, 4);
        assert_eq!(
            publish(&map, &other),
            Published::Done,
            "revisions of epochs do not compare"
        );
        assert_eq!(changed(&map, Some(cas)).unwrap().0, other);
    }

    #[test]
    fn a_document_is_told_in_parts() {
        let map = MemoryMap::default();
        let command = |offset, max_bytes| SettingsCommand { offset, max_bytes };
        assert!(part(&map, &command(0, 4)).is_err());
        let push = SettingsPush {
            revision: 3,
            document: b"0123456789".to_vec(),
            epoch: "e".to_owned(),
        };
        assert_eq!(publish(&map, &push), Published::Done);
        for (offset, bytes) in [(0, &b"0123"[..]), (4, b"4567"), (8, b"89"), (10, b""), (u64::MAX, b"")] {
            let told = SettingsPart {
                epoch: "e".to_owned(),
                revision: 3,
                part: bytes.to_vec(),
                offset,
                total: 10,
            };
            assert_eq!(part(&map, &command(offset, 4)), Ok(told));
        }
        let document = vec![b'0'; 300 << 10];
        assert_eq!(publish(&map, &SettingsPush { document, ..push }), Published::Done);
        assert_eq!(
            part(&map, &command(0, u32::MAX)).map(|told| told.part.len()),
            Ok(128 << 10)
        );
    }

    #[test]
    fn garbage_is_no_change() {
        let map = MemoryMap::default();
        map.set(keys::SETTINGS, &[0xff; 40], None).unwrap();
        assert!(changed(&map, None).is_none());
    }
}
