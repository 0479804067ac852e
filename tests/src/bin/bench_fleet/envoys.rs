//! Envoys as the control plane sees them: a connection and a stream each, a report each second, an acknowledgement for each push.

use crate::telemetry;
use e2e::{Failure, Result, wait};
use optimizer_proto::PROTOCOL;
use optimizer_proto::v1::control_link_client::ControlLinkClient;
use optimizer_proto::v1::control_message::Body as FromPlane;
use optimizer_proto::v1::filter_message::Body as ToPlane;
use optimizer_proto::v1::{
    CommandResult, ControlMessage, FilterMessage, Hello, SettingsAck, SettingsPush, TelemetryReport,
};
use prost::Message as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

const EVERY: Duration = Duration::from_secs(1);
/// Streams that are opened at the same time: a fleet does not come as one, and the listen queue is no subject of this.
const OPENING: usize = 64;
const CONNECTED_WITHIN: Duration = Duration::from_secs(120);
/// Reports that differ; every Envoy goes through them from a place of its own.
const VARIETY: u64 = 32;

/// A revision that reached one Envoy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) revision: u64,
    pub(crate) at: Instant,
}

/// What all Envoys did together.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    connected: AtomicU64,
    pub(crate) reports: AtomicU64,
    pub(crate) report_bytes: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    lost: AtomicU64,
}

/// Envoys that run until this is dropped.
pub(crate) struct Envoys {
    // Before the runtime, which ends with all its tasks.
    _stop: watch::Sender<()>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) arrivals: mpsc::UnboundedReceiver<Arrival>,
    _runtime: Runtime,
}

impl Envoys {
    /// Connects `count` of them and waits until each has got its settings.
    pub(crate) fn connect(count: u64, address: SocketAddr) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let counters = Arc::new(Counters::default());
        let (seen, arrivals) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(());
        let reports: Arc<[TelemetryReport]> = telemetry::variety(VARIETY).into();
        let opening = Arc::new(Semaphore::new(OPENING));
        for number in 0..count {
            let envoy = Envoy {
                number,
                counters: Arc::clone(&counters),
                seen: seen.clone(),
                reports: Arc::clone(&reports),
            };
            let (opening, stopped) = (Arc::clone(&opening), stopped.clone());
            let counters = Arc::clone(&counters);
            runtime.spawn(async move {
                if let Err(failure) = envoy.run(address, &opening, stopped).await
                    && counters.lost.fetch_add(1, Ordering::Relaxed) == 0
                {
                    eprintln!("An Envoy lost its stream: {failure}");
                }
            });
        }
        wait::until_within(CONNECTED_WITHIN, "all Envoys connected", || {
            (counters.connected.load(Ordering::Relaxed) + counters.lost.load(Ordering::Relaxed) >= count).then_some(())
        })?;
        let envoys = Self {
            _stop: stop,
            counters,
            arrivals,
            _runtime: runtime,
        };
        envoys.check()?;
        Ok(envoys)
    }

    /// Whether all streams still stand.
    pub(crate) fn check(&self) -> Result<()> {
        match self.counters.lost.load(Ordering::Relaxed) {
            0 => Ok(()),
            lost => Err(Failure::new(format!("{lost} Envoys lost their stream"))),
        }
    }
}

struct Envoy {
    number: u64,
    counters: Arc<Counters>,
    seen: mpsc::UnboundedSender<Arrival>,
    reports: Arc<[TelemetryReport]>,
}

impl Envoy {
    async fn run(&self, address: SocketAddr, opening: &Semaphore, mut stopped: watch::Receiver<()>) -> Result<()> {
        let place = opening.acquire().await.map_err(failed)?;
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .map_err(failed)?
            .connect()
            .await
            .map_err(failed)?;
        let (out, to_send) = mpsc::channel(16);
        self.send(&out, ToPlane::Hello(self.hello())).await?;
        let answer = ControlLinkClient::new(channel)
            .connect(ReceiverStream::new(to_send))
            .await;
        let mut incoming = answer.map_err(failed)?.into_inner();
        drop(place);
        // The reports of a fleet are spread over the second.
        let phase = Duration::from_millis(self.number * 617 % 1_000);
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + phase, EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sequence = 0;
        loop {
            tokio::select! {
                message = incoming.message() => match message.map_err(failed)? {
                    Some(message) => self.take(message, &out).await?,
                    None => return Err(Failure::new("the control plane ended the stream")),
                },
                _ = tick.tick() => {
                    sequence += 1;
                    self.report(sequence, &out).await?;
                }
                _ = stopped.changed() => return Ok(()),
            }
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            node_id: format!("gateway-{:05}", self.number),
            instance_id: self.name(),
            filter_version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            workers: 3,
            started_at_ms: now_ms(),
            ..Hello::default()
        }
    }

    fn name(&self) -> String {
        format!("{:016x}", self.number + 1)
    }

    async fn take(&self, message: ControlMessage, out: &mpsc::Sender<FilterMessage>) -> Result<()> {
        match message.body {
            Some(FromPlane::Settings(push)) => self.adopt(push, out).await,
            Some(FromPlane::TelemetryAck(_)) => {
                self.counters.acknowledged.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Some(FromPlane::Command(command)) => {
                let result = CommandResult {
                    id: command.id,
                    ok: true,
                    ..CommandResult::default()
                };
                self.send(out, ToPlane::CommandResult(result)).await
            }
            Some(FromPlane::Welcome(_)) => {
                self.counters.connected.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Some(FromPlane::CaughtUp(_)) | None => Ok(()),
        }
    }

    async fn adopt(&self, push: SettingsPush, out: &mpsc::Sender<FilterMessage>) -> Result<()> {
        // The receiver is gone when the run is over.
        let _ = self.seen.send(Arrival {
            revision: push.revision,
            at: Instant::now(),
        });
        let ack = SettingsAck {
            revision: push.revision,
            epoch: push.epoch,
            accepted: true,
            workers: 3,
            ..SettingsAck::default()
        };
        self.send(out, ToPlane::SettingsAck(ack)).await
    }

    async fn report(&self, sequence: u64, out: &mpsc::Sender<FilterMessage>) -> Result<()> {
        let index = usize::try_from(self.number + sequence).unwrap_or(0) % self.reports.len();
        let mut report = self.reports[index].clone();
        report.sequence = sequence;
        report.instance_id = self.name();
        report.closed_at_ms = now_ms();
        self.counters.reports.fetch_add(1, Ordering::Relaxed);
        let size = report.encoded_len() as u64;
        self.counters.report_bytes.fetch_add(size, Ordering::Relaxed);
        self.send(out, ToPlane::Telemetry(report)).await
    }

    async fn send(&self, out: &mpsc::Sender<FilterMessage>, body: ToPlane) -> Result<()> {
        out.send(FilterMessage { body: Some(body) }).await.map_err(failed)
    }
}

fn failed(error: impl std::error::Error) -> Failure {
    match error.source() {
        Some(source) => Failure::new(format!("{error}: {source}")),
        None => Failure::new(error.to_string()),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
