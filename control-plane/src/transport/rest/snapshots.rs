//! Copies of the caches, as one document.

use super::identity::Caller;
use super::operations::{OperationKey, full, location};
use super::problem::{Params, Problem};
use crate::cache::{Export, Wanted, written};
use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use crate::kernel::clock::timestamp;
use crate::operations::{Ended, OperationService, Running};
use crate::purges::PurgeService;
use crate::settings::SettingsService;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use control_domain::cache::snapshot::{Checksum, Entry, FORMAT, Head, SnapshotTrailer, VERSION};
use control_domain::operations::Kind;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;
use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
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
    /// Only responses with at least this many hits.
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
    trailer: SnapshotTrailer,
}

/// The stored responses of all Envoys, each once, those with most hits first, as one JSON document. Written as it is gathered:
/// whether it is complete stands at its end. While it is written it is an operation, named by the answer's `Operation-Location`; one that
/// is cancelled ends with what it has.
#[utoipa::path(post, path = "/cache/snapshot", tag = "cache", params(Selection, ("operation-key" = Option<String>, Header, description = "Name for the operation: 1 to 64 letters, digits, dots, hyphens and underscores")), responses((status = 200, description = "The snapshot itself", content((Snapshot = "application/json"), (Vec<u8> = "application/gzip"))), (status = 429, description = "As many operations are under way as may be")))]
pub(crate) async fn snapshot(
    State(fleet): State<Arc<FleetService>>,
    State(settings): State<Arc<SettingsService>>,
    State(purges): State<Arc<PurgeService>>,
    State(operations): State<Arc<OperationService>>,
    caller: Caller,
    OperationKey(key): OperationKey,
    Params(selection): Params<Selection>,
) -> Result<Response, Problem> {
    let running = operations.begin(Kind::Snapshot, &caller.name, "", &key);
    let running = running.map_err(|_| full())?;
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
    let location = location(running.id());
    tokio::spawn(async move { write(&fleet, head, wanted, out, running).await });
    let stream = ReceiverStream::new(receiver).map(Ok::<Bytes, Infallible>);
    Ok((
        [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")],
        location,
        Body::from_stream(stream),
    )
        .into_response())
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

    /// False when whoever asked has gone.
    async fn end(self) -> bool {
        let last = match self.packed {
            Some(packed) => packed.finish().unwrap_or_default(),
            None => self.plain,
        };
        self.sender.send(last.into()).await.is_ok()
    }
}

/// A reader that goes leaves `running` without an end.
async fn write(fleet: &FleetService, head: Head, wanted: Wanted, mut out: Out, running: Running) {
    if !out.put(&format!("{},\"entries\":[", opened(&head))).await {
        return;
    }
    let envoys = head.envoys;
    let mut export = Export::new(fleet, wanted, Some(&running));
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
    let trailer = SnapshotTrailer {
        complete: incomplete.is_none(),
        incomplete_because: incomplete.clone().unwrap_or_default(),
        count,
        bytes: export.bytes(),
        checksum: checksum.text(),
    };
    let text = serde_json::to_string(&trailer).unwrap_or_default();
    if out.put(&format!("],{}\n", text.trim_start_matches('{'))).await && out.end().await {
        running.end(Ended::Done(incomplete));
    }
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
