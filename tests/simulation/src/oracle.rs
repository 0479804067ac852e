//! What must hold, whatever happens.

use crate::control::Fact;
use optimizer_proto::v1::TelemetryReport;
use prost::Message;
use std::collections::BTreeMap;

/// Paths that clients ask for.
pub const PATHS: usize = 6;

/// A property that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

/// What the origin holds, what was acknowledged, what was counted.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The edition of each path at the origin.
    editions: [u64; PATHS],
    /// By purge: the editions that were there when it was accepted.
    purges: BTreeMap<String, Vec<(usize, u64)>>,
    /// By Envoy process: the least edition of each path that it may serve.
    floors: BTreeMap<String, [u64; PATHS]>,
    /// By Envoy process: the revision in force in all its workers.
    in_force: BTreeMap<String, (String, u64)>,
    /// By Envoy process and sequence: what the report counted.
    reports: BTreeMap<(String, u64), (Vec<u8>, u64)>,
    /// Requests that ended, by Envoy process.
    pub ended: BTreeMap<String, u64>,
    /// Answers looked at.
    pub answers: u64,
    /// Of these from a cache.
    pub hits: u64,
    /// Receipts.
    pub receipts: u64,
    /// Acknowledged revisions.
    pub acknowledged: u64,
}

impl Oracle {
    /// Somebody edits a path.
    pub fn edit(&mut self, path: usize) {
        self.editions[path] += 1;
    }

    /// What the origin answers.
    #[must_use]
    pub fn body(&self, path: usize) -> String {
        format!("{path} edition {}", self.editions[path])
    }

    /// A purge of these paths was accepted.
    pub fn purged(&mut self, id: &str, paths: &[usize]) {
        let editions = paths.iter().map(|path| (*path, self.editions[*path])).collect();
        self.purges.insert(id.to_owned(), editions);
    }

    /// The least edition that an Envoy process may answer with from now on.
    #[must_use]
    pub fn floor(&self, envoy: &str, path: usize) -> u64 {
        self.floors.get(envoy).map_or(0, |floors| floors[path])
    }

    /// What the control plane found.
    ///
    /// # Errors
    /// It cannot be true.
    pub fn fact(&mut self, fact: Fact) -> Result<(), Violation> {
        match fact {
            Fact::Applied { envoy, purge } => {
                self.receipts += 1;
                let floors = self.floors.entry(envoy).or_default();
                for (path, edition) in self.purges.get(&purge).into_iter().flatten() {
                    floors[*path] = floors[*path].max(*edition);
                }
                Ok(())
            }
            Fact::InForce { envoy, epoch, revision } => {
                self.acknowledged += 1;
                let held = self.in_force.entry(envoy).or_default();
                if held.0 != epoch || held.1 < revision {
                    *held = (epoch, revision);
                }
                Ok(())
            }
            Fact::Merged(report) => self.merged(*report),
            Fact::CaughtUp { envoy, lacks } if !lacks.is_empty() => Err(Violation(format!(
                "{envoy} was told that it has missed nothing, and lacks {lacks:?}"
            ))),
            Fact::CaughtUp { .. } => Ok(()),
        }
    }

    /// The same report may come in another life of the control plane; it must be the same then.
    fn merged(&mut self, report: TelemetryReport) -> Result<(), Violation> {
        let key = (report.instance_id.clone(), report.sequence);
        let delta = report.delta.unwrap_or_default();
        let count = delta.requests.iter().map(|series| series.count).sum();
        let content = delta.encode_to_vec();
        match self.reports.get(&key) {
            Some((held, _)) if *held != content => Err(Violation(format!(
                "two reports of {} have the number {}: one of them is lost",
                key.0, key.1
            ))),
            Some(_) => Ok(()),
            None => {
                self.reports.insert(key, (content, count));
                Ok(())
            }
        }
    }

    /// A request that began when this edition was the least was answered so.
    ///
    /// # Errors
    /// What was purged is served.
    pub fn answered(&mut self, envoy: &str, path: usize, floor: u64, body: &[u8], hit: bool) -> Result<(), Violation> {
        self.answers += 1;
        self.hits += u64::from(hit);
        let text = String::from_utf8_lossy(body);
        let edition = text
            .strip_prefix(&format!("{path} edition "))
            .and_then(|edition| edition.parse::<u64>().ok());
        match edition {
            Some(edition) if edition >= floor => Ok(()),
            Some(edition) => Err(Violation(format!(
                "{envoy} served edition {edition} of /p{path}, and its receipt says that what is older than {floor} is purged"
            ))),
            None => Err(Violation(format!("{envoy} served {text:?} for /p{path}"))),
        }
    }

    /// A VM that has just served runs on these settings.
    ///
    /// # Errors
    /// A newer revision was acknowledged for all VMs of its Envoy.
    pub fn runs_on(&self, envoy: &str, worker: usize, settings: &(String, u64)) -> Result<(), Violation> {
        match self.in_force.get(envoy) {
            Some((epoch, revision)) if *epoch != settings.0 || *revision > settings.1 => Err(Violation(format!(
                "worker {worker} of {envoy} serves on {settings:?}, and {epoch} {revision} was acknowledged for all"
            ))),
            _ => Ok(()),
        }
    }

    /// Requests of an Envoy process that its reports count, each report once.
    #[must_use]
    pub fn counted(&self, envoy: &str) -> u64 {
        let of = self.reports.iter().filter(|((instance, _), _)| instance == envoy);
        of.map(|(_, (_, count))| count).sum()
    }
}
