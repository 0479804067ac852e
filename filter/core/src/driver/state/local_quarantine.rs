//! What this Envoy has quarantined by itself: routes whose responses were found to depend on something that is not in the key. In force in
//! all its workers at once, until settings that are newer than the finding say what holds for all Envoys.

use crate::policy::Scope;
use crate::shared_map::{Cas, SetError, SharedMap, keys};
use optimizer_proto::v1::{LocalQuarantine, SharingFinding};
use prost::Message;

/// Findings that are kept here.
const MAX_FINDINGS: usize = 64;
const RETRIES: usize = 8;

/// Epoch and revision of settings.
pub(crate) type Revision<'a> = (&'a str, u64);

/// What this VM has last read of it.
#[derive(Debug, Default)]
pub struct Quarantine {
    seen: Option<Cas>,
    record: LocalQuarantine,
    pub(crate) scopes: Vec<Scope>,
}

/// Creates the record, which two workers must not create at once.
pub(crate) fn seed(map: &impl SharedMap) {
    if map.get(keys::QUARANTINE).is_none() {
        let _ = map.set(keys::QUARANTINE, b"", None);
    }
}

/// Whether what was found under those settings holds under these.
fn holds(record: &LocalQuarantine, in_force: Revision<'_>) -> bool {
    record.epoch == in_force.0 && record.revision >= in_force.1
}

impl Quarantine {
    /// Takes over what other workers have found, as far as it holds under these settings.
    pub(crate) fn refresh(&mut self, map: &impl SharedMap, in_force: Revision<'_>) {
        if let Some((bytes, cas)) = map.get(keys::QUARANTINE)
            && self.seen != Some(cas)
        {
            self.record = LocalQuarantine::decode(bytes.as_slice()).unwrap_or_default();
            self.seen = Some(cas);
            self.scopes = self.record.findings.iter().map(Scope::of_finding).collect();
        }
        if !holds(&self.record, in_force) {
            self.scopes.clear();
        }
    }

    /// Adds a finding for all workers; false when there is no room, or the host refuses.
    pub(crate) fn add(&mut self, map: &impl SharedMap, finding: &SharingFinding, in_force: Revision<'_>) -> bool {
        for _ in 0..RETRIES {
            let (mut record, cas) = match map.get(keys::QUARANTINE) {
                Some((bytes, cas)) => (LocalQuarantine::decode(bytes.as_slice()).unwrap_or_default(), Some(cas)),
                None => (LocalQuarantine::default(), None),
            };
            if !holds(&record, in_force) {
                record.findings.clear();
            }
            if record.findings.len() >= MAX_FINDINGS {
                return false;
            }
            (record.epoch, record.revision) = (in_force.0.to_owned(), in_force.1);
            record.findings.push(finding.clone());
            match map.set(keys::QUARANTINE, &record.encode_to_vec(), cas) {
                Ok(()) => {
                    // Read anew: the version of what was just written is not told.
                    self.seen = None;
                    self.refresh(map, in_force);
                    return true;
                }
                Err(SetError::CasMismatch) => {}
                Err(SetError::Host) => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_map::MemoryMap;

    #[test]
    fn it_holds_in_all_workers_until_newer_settings_are_in_force() {
        let (map, mut one, mut other) = (MemoryMap::default(), Quarantine::default(), Quarantine::default());
        seed(&map);
        let finding = SharingFinding::default();
        assert!(one.add(&map, &finding, ("e", 5)));
        for (settings, held) in [(("e", 5), 1), (("e", 4), 1), (("e", 6), 0), (("f", 1), 0)] {
            other = Quarantine::default();
            other.refresh(&map, settings);
            assert_eq!(other.scopes.len(), held, "{settings:?}");
        }
        // What is found under newer settings takes its place.
        assert!(other.add(&map, &finding, ("e", 6)));
        one.refresh(&map, ("e", 6));
        assert_eq!((one.scopes.len(), one.record.findings.len()), (1, 1));
        let added = (0..2 * MAX_FINDINGS).filter(|_| one.add(&map, &finding, ("e", 6)));
        assert_eq!((added.count(), one.scopes.len()), (MAX_FINDINGS - 1, MAX_FINDINGS));
    }
}
