//! The real control plane on free ports, and Envoys that are only a control stream.

use optimizer_proto::v1::control_link_client::ControlLinkClient;
use optimizer_proto::v1::control_message::Body as FromControl;
use optimizer_proto::v1::filter_message::Body;
use optimizer_proto::v1::{ControlMessage, FilterMessage, Hello, TelemetryReport};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

const PATIENCE: Duration = Duration::from_secs(30);

/// The real control plane on free ports.
pub struct Plane {
    process: Child,
    pub rest: String,
    grpc: String,
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Plane {
    pub fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_api-optimizer-control-plane"))
            .env("LISTEN_ADDRESS", "127.0.0.1")
            .env("REST_PORT", "0")
            .env("GRPC_PORT", "0")
            .env("LOG_JSON", "true")
            .env_remove("STATE_DIR")
            .env_remove("CONFIG_DIR")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .find(|line| line["fields"]["message"] == "ready")
            .expect("a line that says where it listens");
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let address = |name: &str| ready["fields"][name].as_str().unwrap().to_owned();
        Self {
            rest: address("rest"),
            grpc: address("grpc"),
            process,
        }
    }

    /// The process, for `/proc`.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub async fn document(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("http://{}{path}", self.rest)).await.unwrap();
        answer.json().await.unwrap()
    }

    async fn channel(&self) -> Channel {
        Endpoint::new(format!("http://{}", self.grpc))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }
}

/// An Envoy's control stream.
pub struct Envoy {
    out: mpsc::Sender<FilterMessage>,
    incoming: Streaming<ControlMessage>,
}

impl Envoy {
    pub async fn connect(plane: &Plane, name: &str) -> Self {
        let (out, messages) = mpsc::channel(16);
        let hello = Hello {
            instance_id: name.to_owned(),
            node_id: format!("node-{name}"),
            ..Hello::default()
        };
        let envoy = out.clone();
        envoy
            .send(FilterMessage {
                body: Some(Body::Hello(hello)),
            })
            .await
            .unwrap();
        let mut client = ControlLinkClient::new(plane.channel().await);
        let incoming = client
            .connect(ReceiverStream::new(messages))
            .await
            .unwrap()
            .into_inner();
        Self { out, incoming }
    }

    /// Sends a report and waits until it is acknowledged; false when the stream ends instead.
    pub async fn report(&mut self, report: TelemetryReport) -> bool {
        let sequence = report.sequence;
        let message = FilterMessage {
            body: Some(Body::Telemetry(report)),
        };
        if self.out.send(message).await.is_err() {
            return false;
        }
        let acknowledged = async {
            loop {
                match self.incoming.message().await {
                    Ok(Some(ControlMessage {
                        body: Some(FromControl::TelemetryAck(ack)),
                    })) if ack.sequence == sequence => return true,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return false,
                }
            }
        };
        tokio::time::timeout(PATIENCE, acknowledged).await.unwrap()
    }
}

pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}
