//! Copies of the caches: out, and back in.

use super::identity::Caller;
use super::problem::{Params, Problem};
use crate::cache::{Export, SnapshotService, Spool, Wanted, snapshot_file, written};
use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use crate::kernel::clock::timestamp;
use crate::purges::PurgeService;
use crate::settings::SettingsService;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use control_domain::cache::snapshot::{Checksum, Entry, FORMAT, Head, Restored, SnapshotTrailer, VERSION};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// Entries on their way to whoever reads the answer.
const QUEUED: usize = 16;
const DEFAULT_MAX_MB: u64 = 1_024;
/// Written at a time.
const CHUNK: usize = 128 << 10;

/// What goes into the snapshot.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Selection {
    /// Stop at this size of stored responses, megabytes; 1024 when absent.
    max_mb: Option<u64>,
    /// Only responses of this host.
    host: Option<String>,
    /// Only responses whose URL begins with this `host/path`.
    prefix: Option<String>,
    /// Only responses that had so many hits.
    #[serde(default)]
    min_hits: u32,
    /// `gzip`: the document compressed; it can be restored as it is.
    #[param(inline)]
    compress: Option<Coding>,
    /// Also responses stored for one identity.
    #[serde(default)]
    include_private: bool,
}

/// How a snapshot is compressed.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum Coding {
    Gzip,
}

/// A snapshot: what stands before the entries, they, and what stands behind them.
#[derive(Debug, utoipa::ToSchema)]
#[expect(dead_code, reason = "only described; it is written as it is gathered")]
pub(crate) struct Snapshot {
    #[serde(flatten)]
    head: Head,
    /// Stored responses, those with most hits first.
    entries: Vec<Entry>,
    #[serde(flatten)]
    foot: SnapshotTrailer,
}

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

/// The stored responses of all Envoys, each once, those with most hits first, as one JSON document. Written as it is gathered:
/// whether it is complete stands at its end.
#[utoipa::path(post, path = "/cache/snapshot", tag = "cache", params(Selection), responses((status = 200, description = "The snapshot itself", content((Snapshot = "application/json"), (Vec<u8> = "application/gzip")))))]
pub(crate) async fn snapshot(
    State(fleet): State<Arc<FleetService>>,
    State(settings): State<Arc<SettingsService>>,
    State(purges): State<Arc<PurgeService>>,
    caller: Caller,
    Params(selection): Params<Selection>,
) -> Response {
    let wanted = Wanted {
        max_bytes: selection.max_mb.unwrap_or(DEFAULT_MAX_MB).saturating_mul(1_000_000),
        host: selection.host,
        prefix: selection.prefix,
        min_hits: selection.min_hits,
        private: selection.include_private,
    };
    let kind = match selection.compress {
        None => "application/json",
        Some(Coding::Gzip) => "application/gzip",
    };
    tracing::info!(who = caller.name, private = wanted.private, "snapshot");
    let (sender, receiver) = mpsc::channel::<Bytes>(QUEUED);
    let envoys = fleet.connected_envoys();
    let created_at_ms = now_ms();
    let head = Head {
        format: FORMAT.to_owned(),
        version: VERSION,
        created_at: timestamp(created_at_ms),
        created_at_ms,
        settings_revision: settings.published().present().number,
        purged_until_ms: purges.newest(1).first().map_or(0, |purge| purge.at),
        envoys,
    };
    let out = Out::new(sender, selection.compress);
    tokio::spawn(async move { write(&fleet, head, wanted, out).await });
    let stream = ReceiverStream::new(receiver).map(Ok::<Bytes, Infallible>);
    (
        [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")],
        Body::from_stream(stream),
    )
        .into_response()
}

/// A document without the closing brace, so that more fields can follow.
fn opened(document: &impl serde::Serialize) -> String {
    let text = serde_json::to_string(document).unwrap_or_default();
    text.strip_suffix('}').map(str::to_owned).unwrap_or_default()
}

/// The answer, in chunks.
struct Out {
    sender: mpsc::Sender<Bytes>,
    plain: Vec<u8>,
    packed: Option<GzEncoder<Vec<u8>>>,
}

impl Out {
    fn new(sender: mpsc::Sender<Bytes>, coding: Option<Coding>) -> Self {
        let packed = coding.map(|Coding::Gzip| GzEncoder::new(Vec::new(), Compression::fast()));
        Self {
            sender,
            plain: Vec::new(),
            packed,
        }
    }

    /// False when whoever asked has gone.
    async fn put(&mut self, text: &str) -> bool {
        let waiting = match &mut self.packed {
            // Writing into memory does not fail.
            Some(packed) => packed.write_all(text.as_bytes()).map_or(0, |()| packed.get_ref().len()),
            None => {
                self.plain.extend_from_slice(text.as_bytes());
                self.plain.len()
            }
        };
        if waiting < CHUNK {
            return true;
        }
        let chunk = match &mut self.packed {
            Some(packed) => std::mem::take(packed.get_mut()),
            None => std::mem::take(&mut self.plain),
        };
        self.sender.send(chunk.into()).await.is_ok()
    }

    async fn end(self) {
        let last = match self.packed {
            Some(packed) => packed.finish().unwrap_or_default(),
            None => self.plain,
        };
        // The connection may be gone; then nobody misses the end.
        let _ = self.sender.send(last.into()).await;
    }
}

async fn write(fleet: &FleetService, head: Head, wanted: Wanted, mut out: Out) {
    if !out.put(&format!("{},\"entries\":[", opened(&head))).await {
        return;
    }
    let envoys = head.envoys;
    let mut export = Export::new(fleet, wanted);
    let written = Mutex::new(Written {
        out,
        count: 0,
        checksum: Checksum::default(),
        listened: true,
    });
    export
        .run(&envoys, |entry, record| {
            let written = &written;
            async move { written.lock().await.entry(entry, &record).await }
        })
        .await;
    let Written {
        mut out,
        count,
        checksum,
        listened,
    } = written.into_inner();
    if !listened {
        return;
    }
    let incomplete = export.incomplete();
    let nobody = envoys.is_empty().then(|| "no Envoy is connected".to_owned());
    let incomplete = incomplete.or(nobody);
    let foot = SnapshotTrailer {
        complete: incomplete.is_none(),
        incomplete_because: incomplete.unwrap_or_default(),
        count,
        bytes: export.bytes(),
        checksum: checksum.text(),
    };
    let text = serde_json::to_string(&foot).unwrap_or_default();
    out.put(&format!("],{}\n", text.trim_start_matches('{'))).await;
    out.end().await;
}

struct Written {
    out: Out,
    count: u64,
    checksum: Checksum,
    listened: bool,
}

impl Written {
    async fn entry(&mut self, entry: Entry, record: &[u8]) -> bool {
        let entry = written(entry, record);
        self.checksum.add(entry.checksum.as_bytes());
        let comma = if self.count == 0 { "" } else { "," };
        self.count += 1;
        let text = format!("{comma}{}", serde_json::to_string(&entry).unwrap_or_default());
        self.listened = self.out.put(&text).await;
        self.listened
    }
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
}

/// Takes a snapshot back. The whole document is read and judged before any of it is given to an Envoy; every entry is judged by
/// itself, here and by the filter.
#[utoipa::path(post, path = "/cache/restore", tag = "cache", params(RestoreQuery), request_body(content = serde_json::Value, description = "A snapshot"), responses(
    (status = 200, description = "Counts of what was restored, kept, expired and refused, with reasons", body = RestoreReport),
    (status = 409, description = "Another one is being restored, or there is no Envoy"), (status = 413, description = "Larger than RESTORE_MAX_MB"), (status = 422, description = "Not a snapshot, or damaged so that it cannot be read; nothing has changed"), (status = 500, description = "It cannot be kept on disk while it is read")))]
pub(crate) async fn restore(
    State(snapshots): State<Arc<SnapshotService>>,
    State(fleet): State<Arc<FleetService>>,
    caller: Caller,
    Params(how): Params<RestoreQuery>,
    body: Body,
) -> Result<Json<RestoreReport>, Problem> {
    let _turn = snapshots.turn().ok_or_else(|| {
        let title = "A snapshot is being restored already; one at a time";
        Problem::new(StatusCode::CONFLICT, "restore_under_way", title)
    })?;
    let awaited = Awaited::default();
    let file = received(&snapshots.spool, body).await?;
    let still = awaited.clone();
    let (report, file) = tokio::task::spawn_blocking(move || {
        let mut file = file;
        let report = snapshot_file::read(&mut file, &mut |_| still.is_so());
        (report, file)
    })
    .await
    .map_err(|error| failed(&error))?;
    let report = report.map_err(|error| not_a_snapshot(&format!("it cannot be read: {error}")))?;
    report.check().map_err(|reason| not_a_snapshot(&reason))?;
    let envoys = fleet.targets(how.envoy.as_deref());
    if !how.dry_run && envoys.is_empty() {
        let title = "There is no Envoy to restore into";
        return Err(Problem::new(StatusCode::CONFLICT, "no_envoy", title));
    }
    tracing::warn!(who = caller.name, dry_run = how.dry_run, "restoring a snapshot");
    let (restored, mut silent) = replay(&snapshots, file, envoys.clone(), how.dry_run).await?;
    if how.envoy.is_none() {
        silent.extend(fleet.recently_disconnected());
    }
    tracing::warn!(?restored, ?silent, dry_run = how.dry_run, "snapshot restored");
    Ok(Json(RestoreReport {
        restored,
        dry_run: how.dry_run,
        intact: report.is_intact(),
        complete: report.is_complete(),
        envoys,
        not_answered: silent,
    }))
}

/// Whether anybody waits for a restore. The one that the handler holds goes with it when its client leaves: then reading ends.
#[derive(Debug, Clone, Default)]
struct Awaited(Arc<()>);

impl Awaited {
    fn is_so(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// The body in a file of its own, so that a large one needs no memory.
async fn received(spool: &Spool, body: Body) -> Result<std::fs::File, Problem> {
    let file = spool.file().map_err(|error| failed(&error))?;
    let mut file = tokio::fs::File::from_std(file);
    let mut stream = body.into_data_stream();
    let mut size = 0_u64;
    loop {
        let Some(chunk) = stream.next().await else { break };
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
    }
    file.flush().await.map_err(|error| failed(&error))?;
    let mut file = file.into_std().await;
    file.seek(SeekFrom::Start(0)).map_err(|error| failed(&error))?;
    Ok(file)
}

async fn replay(
    snapshots: &SnapshotService,
    mut file: std::fs::File,
    envoys: Vec<String>,
    dry_run: bool,
) -> Result<(Restored, Vec<String>), Problem> {
    file.seek(SeekFrom::Start(0)).map_err(|error| failed(&error))?;
    let (sender, mut entries) = mpsc::channel::<Option<Entry>>(QUEUED);
    let reading = tokio::task::spawn_blocking(move || {
        snapshot_file::read(&mut file, &mut |entry| sender.blocking_send(entry).is_ok()).map(drop)
    });
    let mut restore = snapshots.begin(envoys, dry_run);
    while let Some(entry) = entries.recv().await {
        restore.take(entry.as_ref()).await;
    }
    reading
        .await
        .map_err(|error| failed(&error))?
        .map_err(|error| not_a_snapshot(&error.to_string()))?;
    Ok(restore.finish().await)
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
