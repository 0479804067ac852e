//! Copies of the caches: out, and back in.

use super::identity::Caller;
use super::problem::{Params, Problem};
use crate::infrastructure::notify::timestamp;
use crate::infrastructure::snapshot_file;
use crate::plane::{Plane, now_ms};
use crate::transfer::{self, Export, Wanted};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use control_domain::snapshot::{Checksum, Entry, FORMAT, Foot, Head, Restored, VERSION};
use optimizer_proto::v1::SweepCommand;
use optimizer_proto::v1::command::Body as Command;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::{BufReader, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// Entries on their way to whoever reads the answer.
const QUEUED: usize = 16;
const DEFAULT_MAX_MB: u64 = 1_024;
/// Largest snapshot that is taken back.
const MAX_RESTORE: u64 = 8 << 30;
const SWEEP_WAIT: Duration = Duration::from_secs(5);

/// What goes into the snapshot.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Selection {
    /// Stop at this size of stored responses, megabytes; 1024 when absent.
    max_mb: Option<u64>,
    /// Only responses of this host.
    host: Option<String>,
    /// Also responses stored for one identity.
    #[serde(default)]
    include_private: bool,
}

/// The stored responses of all Envoys, each once, as one JSON document. Written as it is gathered: whether it is complete stands
/// at its end.
#[utoipa::path(post, path = "/cache/snapshot", tag = "cache", params(Selection), responses((status = 200, description = "The snapshot itself")))]
pub(crate) async fn snapshot(
    State(plane): State<Arc<Plane>>,
    caller: Caller,
    Params(selection): Params<Selection>,
) -> Response {
    let wanted = Wanted {
        max_bytes: selection.max_mb.unwrap_or(DEFAULT_MAX_MB).saturating_mul(1_000_000),
        host: selection.host,
        private: selection.include_private,
    };
    tracing::info!(who = caller.name, private = wanted.private, "snapshot");
    let (sender, receiver) = mpsc::channel::<Bytes>(QUEUED);
    tokio::spawn(write(plane, wanted, sender));
    let stream = ReceiverStream::new(receiver).map(Ok::<Bytes, Infallible>);
    (
        [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "no-store"),
        ],
        Body::from_stream(stream),
    )
        .into_response()
}

/// A document without the closing brace, so that more fields can follow.
fn opened(document: &impl serde::Serialize) -> String {
    let text = serde_json::to_string(document).unwrap_or_default();
    text.strip_suffix('}').map(str::to_owned).unwrap_or_default()
}

async fn write(plane: Arc<Plane>, wanted: Wanted, sender: mpsc::Sender<Bytes>) {
    let envoys = plane.connected();
    let created_at_ms = now_ms();
    let head = Head {
        format: FORMAT.to_owned(),
        version: VERSION,
        created_at: timestamp(created_at_ms),
        created_at_ms,
        settings_revision: plane.domain().book.present().number,
        envoys: envoys.clone(),
    };
    if sender
        .send(format!("{},\"entries\":[", opened(&head)).into())
        .await
        .is_err()
    {
        return;
    }
    let mut export = Export::new(&plane, wanted);
    let (mut count, mut checksum) = (0_u64, Checksum::default());
    for envoy in &envoys {
        let go_on = export
            .envoy(envoy, |entry: Entry| {
                checksum.add(entry.checksum.as_bytes());
                let comma = if count == 0 { "" } else { "," };
                count += 1;
                let text = format!("{comma}{}", serde_json::to_string(&entry).unwrap_or_default());
                let sender = sender.clone();
                // Whoever asked has gone: nobody reads on.
                async move { sender.send(text.into()).await.is_ok() }
            })
            .await;
        if !go_on {
            break;
        }
    }
    let incomplete = export.incomplete.clone();
    let foot = Foot {
        complete: incomplete.is_none(),
        incomplete_because: incomplete.unwrap_or_default(),
        count,
        bytes: export.bytes(),
        checksum: checksum.text(),
    };
    let text = serde_json::to_string(&foot).unwrap_or_default();
    // The connection may be gone; then nobody misses the end.
    let _ = sender
        .send(format!("],{}\n", text.trim_start_matches('{')).into())
        .await;
}

/// How a snapshot is taken back.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    /// Only say what would become of it.
    #[serde(default)]
    dry_run: bool,
    /// Only into this Envoy, by instance or node id.
    envoy: Option<String>,
}

/// Takes a snapshot back. The whole document is read and judged before any of it is given to an Envoy; every entry is judged by
/// itself, here and by the filter.
#[utoipa::path(post, path = "/cache/restore", tag = "cache", params(How), request_body(content = serde_json::Value, description = "A snapshot"), responses(
    (status = 200, description = "Counts of what was restored, kept, expired and refused, with reasons"),
    (status = 422, description = "Not a snapshot, or damaged so that it cannot be read; nothing has changed")))]
pub(crate) async fn restore(
    State(plane): State<Arc<Plane>>,
    caller: Caller,
    Params(how): Params<How>,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let file = received(body).await?;
    let (report, file) = tokio::task::spawn_blocking(move || {
        let mut file = file;
        let report = snapshot_file::read(BufReader::new(&mut file), &mut |_| true);
        (report, file)
    })
    .await
    .map_err(|error| failed(&error))?;
    let report = report.map_err(|error| not_a_snapshot(&format!("it cannot be read: {error}")))?;
    report.check().map_err(|reason| not_a_snapshot(&reason))?;
    let envoys = targets(&plane, how.envoy.as_deref());
    if !how.dry_run && envoys.is_empty() {
        let title = "There is no Envoy to restore into";
        return Err(Problem::new(StatusCode::CONFLICT, "no_envoy", title));
    }
    tracing::warn!(who = caller.name, dry_run = how.dry_run, "restoring a snapshot");
    let restored = replay(&plane, file, &envoys, how.dry_run).await?;
    tracing::warn!(?restored, "snapshot restored");
    let mut view = serde_json::to_value(&restored).unwrap_or_default();
    if let Some(view) = view.as_object_mut() {
        view.insert("dry_run".to_owned(), json!(how.dry_run));
        view.insert("intact".to_owned(), json!(report.is_intact()));
        view.insert("envoys".to_owned(), json!(envoys));
    }
    Ok(Json(view))
}

fn targets(plane: &Plane, wanted: Option<&str>) -> Vec<String> {
    let connected = plane.connected();
    let Some(wanted) = wanted else { return connected };
    let domain = plane.domain();
    let named: Vec<&str> = domain
        .fleet
        .envoys()
        .filter(|(name, envoy)| *name == wanted || envoy.node_id == wanted)
        .map(|(name, _)| name)
        .collect();
    connected
        .into_iter()
        .filter(|name| named.contains(&name.as_str()))
        .collect()
}

/// The body in a file of its own, so that a large one needs no memory.
async fn received(body: Body) -> Result<std::fs::File, Problem> {
    let file = tempfile::tempfile().map_err(|error| failed(&error))?;
    let mut file = tokio::fs::File::from_std(file);
    let mut stream = body.into_data_stream();
    let mut size = 0_u64;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| not_a_snapshot(&format!("it did not arrive: {error}")))?;
        size += chunk.len() as u64;
        if size > MAX_RESTORE {
            let title = "A snapshot larger than 8 GiB is not taken";
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
    plane: &Arc<Plane>,
    mut file: std::fs::File,
    envoys: &[String],
    dry_run: bool,
) -> Result<Restored, Problem> {
    file.seek(SeekFrom::Start(0)).map_err(|error| failed(&error))?;
    let (sender, mut entries) = mpsc::channel::<Option<Entry>>(QUEUED);
    let reading = tokio::task::spawn_blocking(move || {
        snapshot_file::read(BufReader::new(file), &mut |entry| sender.blocking_send(entry).is_ok()).map(drop)
    });
    let mut restored = Restored::default();
    while let Some(entry) = entries.recv().await {
        restored.read += 1;
        let Some(entry) = entry else {
            restored.count("refused", "malformed");
            continue;
        };
        let checked = transfer::verified(&entry, plane);
        if dry_run {
            transfer::count_dry(&mut restored, &checked);
            continue;
        }
        match checked {
            Ok(record) => {
                let (outcome, reason) = transfer::give(plane, envoys, &record).await;
                restored.count(&outcome, &reason);
            }
            Err((outcome, reason)) => restored.count(outcome, reason),
        }
    }
    reading
        .await
        .map_err(|error| failed(&error))?
        .map_err(|error| not_a_snapshot(&error.to_string()))?;
    Ok(restored)
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

/// How to optimise.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Optimizing {
    /// Put the recommendation into force.
    #[serde(default)]
    apply: bool,
}

/// Drops what is expired or purged on every Envoy, and says what it recommends.
#[utoipa::path(post, path = "/cache/optimize", tag = "cache", params(Optimizing), responses((status = 200, description = "What was done, and what is recommended")))]
pub(crate) async fn optimize(
    State(plane): State<Arc<Plane>>,
    caller: Caller,
    Params(optimizing): Params<Optimizing>,
) -> Result<Json<Value>, Problem> {
    let answers = plane.command(Command::Sweep(SweepCommand {}), SWEEP_WAIT).await;
    let mut actions = serde_json::Map::new();
    let mut silent = Vec::new();
    for (envoy, answer) in answers {
        let detail = answer.filter(|answer| answer.ok).map(|answer| answer.detail);
        let Some(Value::Object(detail)) = detail.and_then(|detail| serde_json::from_str(&detail).ok()) else {
            silent.push(envoy);
            continue;
        };
        for (name, value) in detail {
            let sum = actions.get(&name).and_then(Value::as_u64).unwrap_or(0);
            actions.insert(name, json!(sum.saturating_add(value.as_u64().unwrap_or(0))));
        }
    }
    let recommendation = super::advice::recommendation(&plane);
    let applied = optimizing.apply && super::advice::apply(&plane, &recommendation, &caller)?;
    tracing::info!(who = caller.name, applied, "cache optimised");
    Ok(Json(json!({
        "actions": actions,
        "not_answered": silent,
        "recommendation": recommendation,
        "applied": applied,
    })))
}
