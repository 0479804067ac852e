//! Snapshots on their way back into the caches.

use super::identity::Caller;
use super::operations::{OperationKey, cancelled, full, location};
use super::problem::{Params, Problem};
use crate::cache::{SnapshotService, Spool, snapshot_file};
use crate::fleet::FleetService;
use crate::operations::{Ended, OperationService, Running};
use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use control_domain::cache::snapshot::{Entry, Restored};
use control_domain::operations::{Kind, Stage, Unit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;

/// Entries on their way from the file to the Envoys.
const QUEUED: usize = 16;

/// What became of a snapshot.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct RestoreReport {
    #[serde(flatten)]
    restored: Restored,
    /// Nothing was restored; only what would become of it.
    dry_run: bool,
    /// Count and checksum are right.
    intact: bool,
    /// It holds everything that was asked for when it was made.
    complete: bool,
    /// Envoys it was given to.
    envoys: Vec<String>,
    /// Those among them that stopped answering, and those out of reach.
    not_answered: Vec<String>,
}

/// How a snapshot is taken back.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RestoreQuery {
    /// Only say what would become of it.
    #[serde(default)]
    dry_run: bool,
    /// Only into this Envoy, by instance or node id.
    envoy: Option<String>,
    /// The body is a part of a longer snapshot, and a snapshot itself: where it begins in the longer one, bytes. Parts with the same
    /// Operation-Key are one operation, and a part that broke off may be sent again.
    part_from: Option<u64>,
    /// Where it ends.
    part_to: Option<u64>,
    /// How long the longer one is.
    part_of: Option<u64>,
}

/// Who sends a snapshot, under which name, and how long it is, where that is told.
#[derive(Debug)]
pub(crate) struct Sender {
    caller: Caller,
    key: String,
    length: Option<u64>,
}

impl<S: Sync> FromRequestParts<S> for Sender {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(caller) = Caller::from_request_parts(parts, state).await;
        let OperationKey(key) = OperationKey::from_request_parts(parts, state).await?;
        let length = parts.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        Ok(Self { caller, key, length })
    }
}

/// A part of a longer snapshot, by its place there.
#[derive(Debug, Clone, Copy)]
struct Part {
    from: u64,
    to: u64,
    of: u64,
}

impl RestoreQuery {
    fn part(&self, key: &str) -> Result<Option<Part>, Problem> {
        let (from, to, of) = match (self.part_from, self.part_to, self.part_of) {
            (None, None, None) => return Ok(None),
            (Some(from), Some(to), Some(of)) if from < to && to <= of && !key.is_empty() => (from, to, of),
            _ => {
                let title = "A part is given by part_from < part_to <= part_of, and by an Operation-Key";
                return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_part", title));
            }
        };
        Ok(Some(Part { from, to, of }))
    }
}

/// Takes a snapshot back. The whole document is read and judged before any of it is given to an Envoy; every entry is judged by
/// itself, here and by the filter. While it goes on it is an operation; one that is cancelled keeps what was given.
#[utoipa::path(post, path = "/cache/restore", tag = "cache", params(RestoreQuery, ("operation-key" = Option<String>, Header, description = "Name for the operation: 1 to 64 letters, digits, dots, hyphens and underscores")), request_body(content = serde_json::Value, description = "A snapshot"), responses(
    (status = 200, description = "Counts of what was restored, kept, expired and refused, with reasons", body = RestoreReport),
    (status = 409, description = "Another one is being restored, there is no Envoy, or it was cancelled"), (status = 413, description = "Larger than RESTORE_MAX_MB"), (status = 422, description = "Not a snapshot, or damaged so that it cannot be read; nothing has changed"), (status = 429, description = "As many operations are under way as may be"), (status = 500, description = "It cannot be kept on disk while it is read")))]
pub(crate) async fn restore(
    State(snapshots): State<Arc<SnapshotService>>,
    State(fleet): State<Arc<FleetService>>,
    State(operations): State<Arc<OperationService>>,
    Sender { caller, key, length }: Sender,
    Params(how): Params<RestoreQuery>,
    body: Body,
) -> Result<(HeaderMap, Json<RestoreReport>), Problem> {
    let part = how.part(&key)?;
    let _turn = snapshots.turn().ok_or_else(|| {
        let title = "A snapshot is being restored already; one at a time";
        Problem::new(StatusCode::CONFLICT, "restore_under_way", title)
    })?;
    let whose = (
        caller.name.as_str(),
        how.envoy.as_deref().unwrap_or_default(),
        key.as_str(),
    );
    let running = match part {
        None => operations.begin(Kind::Restore, whose.0, whose.1, whose.2),
        Some(part) => operations.part(whose, (part.from, part.of)).map(Running::into_part),
    };
    let running = running.map_err(|_| full())?;
    let location = location(running.id());
    let work = Work {
        snapshots: &snapshots,
        fleet: &fleet,
        running: &running,
        before: running.counted(),
        part,
        length,
        how: &how,
    };
    tracing::info!(who = caller.name, dry_run = how.dry_run, "a snapshot comes in");
    let done = work.done(body).await;
    if let Some(because) = running.cancelled_because() {
        let problem = cancelled(running.id(), &because);
        running.end(Ended::Done(None));
        return Err(problem);
    }
    match done {
        Ok(report) => {
            let silent = report.not_answered.join(", ");
            let incomplete = (!silent.is_empty()).then(|| format!("{silent} did not answer"));
            let is_last = part.is_none_or(|part| part.to == part.of);
            running.end(if is_last { Ended::Done(incomplete) } else { Ended::Part });
            Ok((location, Json(report)))
        }
        Err(problem) => {
            // Of a part another attempt is awaited.
            if !problem.is_incomplete() {
                running.end(Ended::Failed(problem.title().to_owned()));
            }
            Err(problem)
        }
    }
}

/// A restore under way.
struct Work<'w> {
    snapshots: &'w SnapshotService,
    fleet: &'w FleetService,
    running: &'w Running,
    /// What earlier parts have done.
    before: BTreeMap<String, u64>,
    part: Option<Part>,
    /// Of the body, where it is told.
    length: Option<u64>,
    how: &'w RestoreQuery,
}

impl Work<'_> {
    async fn done(&self, body: Body) -> Result<RestoreReport, Problem> {
        let (awaited, signal) = (Awaited::default(), self.running.signal());
        self.enter(Stage::Receiving, Unit::Bytes, self.length);
        let file = self.received(body).await?;
        self.enter(Stage::Judging, Unit::Responses, None);
        let still = awaited.clone();
        let (report, file) = tokio::task::spawn_blocking(move || {
            let mut file = file;
            let report = snapshot_file::read(&mut file, &mut |_| still.is_so() && !*signal.borrow());
            (report, file)
        })
        .await
        .map_err(|error| failed(&error))?;
        let report = report.map_err(|error| not_a_snapshot(&format!("it cannot be read: {error}")))?;
        report.check().map_err(|reason| not_a_snapshot(&reason))?;
        let envoys = self.fleet.targets(self.how.envoy.as_deref());
        let dry_run = self.how.dry_run;
        if !dry_run && envoys.is_empty() {
            let title = "There is no Envoy to restore into";
            return Err(Problem::new(StatusCode::CONFLICT, "no_envoy", title));
        }
        self.enter(Stage::Working, Unit::Responses, Some(report.entries()));
        let (restored, mut silent) = self.replay(file, envoys.clone(), report.entries()).await?;
        if self.how.envoy.is_none() {
            silent.extend(self.fleet.recently_disconnected());
        }
        tracing::warn!(?restored, ?silent, dry_run, "snapshot restored");
        Ok(RestoreReport {
            restored,
            dry_run,
            intact: report.is_intact(),
            complete: report.is_complete(),
            envoys,
            not_answered: silent,
        })
    }

    /// A part has no stages of its own.
    fn enter(&self, stage: Stage, unit: Unit, total: Option<u64>) {
        if self.part.is_none() {
            self.running.enter(stage, unit, 0, total);
        }
    }

    /// So many of so many entries are done.
    fn advance(&self, restored: &Restored, entries: u64) {
        self.running.advance(match self.part {
            None => restored.read,
            Some(Part { from, to, .. }) => {
                let bytes = u128::from(to - from) * u128::from(restored.read) / u128::from(entries.max(1));
                from.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX))
            }
        });
        let mut counts = restored.counts();
        for (name, before) in &self.before {
            *counts.entry(name.clone()).or_default() += before;
        }
        self.running.counts(counts);
    }

    /// The body in a file of its own, so that a large one needs no memory.
    async fn received(&self, body: Body) -> Result<std::fs::File, Problem> {
        let spool: &Spool = &self.snapshots.spool;
        let file = spool.file().map_err(|error| failed(&error))?;
        let mut file = tokio::fs::File::from_std(file);
        let mut stream = body.into_data_stream();
        let mut size = 0_u64;
        loop {
            let chunk = tokio::select! {
                biased;
                () = self.running.until_cancelled() => None,
                chunk = stream.next() => chunk,
            };
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(|error| Problem::incomplete(&error))?;
            size += chunk.len() as u64;
            if size > spool.limit {
                let title = format!(
                    "A snapshot larger than {} MB is not taken (RESTORE_MAX_MB)",
                    spool.limit / 1_000_000
                );
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", title));
            }
            file.write_all(&chunk).await.map_err(|error| failed(&error))?;
            if self.part.is_none() {
                self.running.advance(size);
            }
        }
        file.flush().await.map_err(|error| failed(&error))?;
        let mut file = file.into_std().await;
        file.seek(SeekFrom::Start(0)).map_err(|error| failed(&error))?;
        Ok(file)
    }

    async fn replay(
        &self,
        mut file: std::fs::File,
        envoys: Vec<String>,
        count: u64,
    ) -> Result<(Restored, Vec<String>), Problem> {
        file.seek(SeekFrom::Start(0)).map_err(|error| failed(&error))?;
        let (sender, mut entries) = mpsc::channel::<Option<Entry>>(QUEUED);
        let reading = tokio::task::spawn_blocking(move || {
            snapshot_file::read(&mut file, &mut |entry| sender.blocking_send(entry).is_ok()).map(drop)
        });
        let mut restore = self.snapshots.begin(envoys, self.how.dry_run);
        while let Some(entry) = entries.recv().await {
            if self.running.is_cancelled() {
                break;
            }
            restore.take(entry.as_ref()).await;
            self.advance(restore.so_far(), count);
        }
        // Whoever reads the file ends, as nobody takes what comes.
        drop(entries);
        let read = reading.await.map_err(|error| failed(&error))?;
        let (restored, silent) = restore.finish().await;
        self.advance(&restored, count);
        if !self.running.is_cancelled() {
            read.map_err(|error| not_a_snapshot(&error.to_string()))?;
        }
        Ok((restored, silent))
    }
}

/// Whether anybody waits for a restore. The one that the handler holds goes with it when its client leaves: then reading ends.
#[derive(Debug, Clone, Default)]
struct Awaited(Arc<()>);

impl Awaited {
    fn is_so(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

fn failed(error: &impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "a snapshot could not be handled");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "snapshot_failed",
        format!("The snapshot could not be handled: {error}"),
    )
}

fn not_a_snapshot(reason: &str) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "not_a_snapshot",
        format!("This is no snapshot: {reason}. Nothing has changed"),
    )
}
