//! What must hold, whatever happens.

mod agreed;

use crate::replica::Seen;
use agreed::Agreed;
use control_domain::breakers::overrides::OverrideAction;
use optimizer_proto::v1::TelemetryReport;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// Paths that clients ask for.
pub(crate) const PATHS: usize = 6;

/// A replica in one of its lives.
pub(crate) type Who = (u64, u64);

/// What the origin holds, what was acknowledged, what was counted.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// The edition of each path at the origin.
    editions: [u64; PATHS],
    /// By purge: the editions that were there when it was accepted.
    purges: BTreeMap<String, Vec<(usize, u64)>>,
    /// By Envoy process: the least edition of each path that it may serve.
    floors: BTreeMap<String, [u64; PATHS]>,
    /// The least edition of each path that the shared tier may give.
    tier_floors: [u64; PATHS],
    /// Receipts: by Envoy process and purge.
    done: BTreeSet<(String, String)>,
    /// By Envoy process: the revision in force in all its workers.
    in_force: BTreeMap<String, (String, u64)>,
    /// By Envoy process and sequence: what the report counted.
    reports: BTreeMap<(String, u64), (Vec<u8>, u64)>,
    /// Reports that a replica has counted in this life of it.
    merged: BTreeSet<(Who, String, u64)>,
    /// Settings and overrides that were accepted.
    agreed: Agreed,
    /// Requests that ended, by Envoy process.
    pub(crate) ended: BTreeMap<String, u64>,
    /// Answers looked at.
    pub(crate) answers: u64,
    /// Of these from a cache.
    pub(crate) hits: u64,
    /// What the shared tier gave.
    pub(crate) tier_hits: u64,
    /// Receipts.
    pub(crate) receipts: u64,
    /// Acknowledged revisions.
    pub(crate) acknowledged: u64,
}

impl Oracle {
    /// Somebody edits a path.
    pub(crate) fn edit(&mut self, path: usize) {
        self.editions[path] += 1;
    }

    /// What the origin answers.
    pub(crate) fn body(&self, path: usize) -> String {
        format!("{path} edition {};", self.editions[path])
    }

    /// A purge of these paths was accepted.
    pub(crate) fn purged(&mut self, id: &str, paths: &[usize]) {
        let editions = paths.iter().map(|path| (*path, self.editions[*path])).collect();
        self.purges.insert(id.to_owned(), editions);
    }

    /// The least edition that an Envoy process may answer with from now on.
    pub(crate) fn floor(&self, envoy: &str, path: usize) -> u64 {
        self.floors.get(envoy).map_or(0, |floors| floors[path])
    }

    /// The least editions that the shared tier may give from now on.
    pub(crate) fn tier_floors(&self) -> [u64; PATHS] {
        self.tier_floors
    }

    /// What a replica found.
    ///
    /// # Errors
    /// It cannot be true.
    pub(crate) fn seen(&mut self, who: Who, seen: Seen) -> Result<(), String> {
        match seen {
            Seen::Applied { envoy, purge, settled } => {
                self.receipts += 1;
                if settled {
                    let floors = self.floors.entry(envoy.clone()).or_default();
                    raise(floors, self.purges.get(&purge));
                }
                self.done.insert((envoy, purge));
                Ok(())
            }
            Seen::TierPurged { purge } => {
                raise(&mut self.tier_floors, self.purges.get(&purge));
                Ok(())
            }
            Seen::InForce { envoy, epoch, revision } => {
                self.acknowledged += 1;
                let held = self.in_force.entry(envoy).or_default();
                if held.0 != epoch || held.1 < revision {
                    *held = (epoch, revision);
                }
                Ok(())
            }
            Seen::Merged(report) => self.merged(who, *report),
            Seen::CaughtUp { envoy, lacks } if !lacks.is_empty() => Err(format!(
                "{envoy} was told that it has missed nothing, and lacks {lacks:?}"
            )),
            Seen::CaughtUp { .. } => Ok(()),
            Seen::Published {
                epoch,
                revision,
                document,
            } => self.agreed.published(who, &epoch, revision, document),
            Seen::Written {
                epoch,
                revision,
                setting,
                value,
            } => {
                self.agreed.written((epoch, revision), setting, value);
                Ok(())
            }
            Seen::Overridden(seen) => self.agreed.overridden(seen.said, seen.before, seen.last.as_ref()),
        }
    }

    /// The same report may come in another life of a replica, or by another one; it must be the same then.
    fn merged(&mut self, who: Who, report: TelemetryReport) -> Result<(), String> {
        let key = (report.instance_id.clone(), report.sequence);
        let delta = report.delta.unwrap_or_default();
        let count = delta.requests.iter().map(|series| series.count).sum();
        let content = delta.encode_to_vec();
        let twice = !self.merged.insert((who, key.0.clone(), key.1));
        match self.reports.get(&key) {
            // Those who lie may lie about themselves.
            _ if self.is_foreign(&key.0) => Ok(()),
            _ if twice => Err(format!("replica {who:?} counts report {} of {} twice", key.1, key.0)),
            Some((held, _)) if *held != content => Err(format!(
                "two reports of {} have the number {}: one of them is lost",
                key.0, key.1
            )),
            Some(_) => Ok(()),
            None => {
                self.reports.insert(key, (content, count));
                Ok(())
            }
        }
    }

    /// Not one of the Envoys that answer clients.
    fn is_foreign(&self, envoy: &str) -> bool {
        matches!(envoy, "liar" | "byzantine")
    }

    /// A request that began when this edition was the least was answered so.
    ///
    /// # Errors
    /// What was purged is served.
    pub(crate) fn answered(
        &mut self,
        envoy: &str,
        path: usize,
        floor: u64,
        body: &[u8],
        hit: bool,
    ) -> Result<(), String> {
        self.answers += 1;
        self.hits += u64::from(hit);
        match edition(body) {
            Some((of, edition)) if of == path && edition >= floor => Ok(()),
            Some((of, edition)) if of == path => Err(format!(
                "{envoy} served edition {edition} of /p{path}, and its receipt says that what is older than {floor} is purged"
            )),
            _ => Err(format!(
                "{envoy} served {:?} for /p{path}",
                String::from_utf8_lossy(body)
            )),
        }
    }

    /// The shared tier gave this to an Envoy.
    ///
    /// # Errors
    /// It was purged when the Envoy asked.
    pub(crate) fn found_in_tier(&mut self, value: &[u8], floors: &[u64; PATHS]) -> Result<(), String> {
        self.tier_hits += 1;
        match edition(value) {
            Some((path, edition)) if edition >= floors[path] => Ok(()),
            found => Err(format!(
                "the shared tier gave {found:?}, and what is older than {floors:?} was purged"
            )),
        }
    }

    /// A request was refused: no origin here fails, so an operator must have said so once.
    ///
    /// # Errors
    /// Nobody has.
    pub(crate) fn refused(&self, envoy: &str, status: u16) -> Result<(), String> {
        if self.agreed.was_ever(OverrideAction::ForceOpen) {
            Ok(())
        } else {
            Err(format!("{envoy} answered {status}"))
        }
    }

    /// A VM that has just served runs on these settings.
    ///
    /// # Errors
    /// A newer revision was acknowledged for all VMs of its Envoy, or one of a history that these do not go on from.
    pub(crate) fn runs_on(&self, envoy: &str, worker: usize, settings: &(String, u64)) -> Result<(), String> {
        let Some(in_force) = self.in_force.get(envoy) else {
            return Ok(());
        };
        let goes_on = if in_force.0 == settings.0 {
            in_force.1 <= settings.1
        } else {
            self.agreed.goes_on(settings, in_force)
        };
        goes_on.then_some(()).ok_or_else(|| {
            format!("worker {worker} of {envoy} serves on {settings:?}, and {in_force:?} was acknowledged for all")
        })
    }

    /// A replica says that an Envoy has done a purge.
    ///
    /// # Errors
    /// No replica has heard that from it.
    pub(crate) fn receipt_is_true(&self, replica: u64, envoy: &str, purge: &str) -> Result<(), String> {
        let known = self.done.contains(&(envoy.to_owned(), purge.to_owned()));
        known.then_some(()).ok_or_else(|| {
            format!("replica {replica} says that {envoy} has done {purge}, which nobody has heard from it")
        })
    }

    /// Requests of an Envoy process that its reports count, each report once.
    pub(crate) fn counted(&self, envoy: &str) -> u64 {
        let of = self.reports.iter().filter(|((instance, _), _)| instance == envoy);
        of.map(|(_, (_, count))| count).sum()
    }
}

fn raise(floors: &mut [u64; PATHS], editions: Option<&Vec<(usize, u64)>>) {
    for (path, edition) in editions.into_iter().flatten() {
        floors[*path] = floors[*path].max(*edition);
    }
}

/// Path and edition in some content.
fn edition(content: &[u8]) -> Option<(usize, u64)> {
    const MARK: &[u8] = b" edition ";
    let at = content.windows(MARK.len()).position(|window| window == MARK)?;
    let path = char::from(*content.get(at.checked_sub(1)?)?).to_digit(10)?;
    let rest = content.get(at + MARK.len()..)?;
    let end = rest.iter().position(|byte| *byte == b';')?;
    let edition = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    Some((usize::try_from(path).ok()?, edition))
}
