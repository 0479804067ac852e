//! A control plane of another version, as far as a filter can tell.

use optimizer_proto::v1::control_link_server::{ControlLink, ControlLinkServer};
use optimizer_proto::v1::control_message::Body as ToFilter;
use optimizer_proto::v1::filter_message::Body as FromFilter;
use optimizer_proto::v1::{ControlMessage, FilterMessage, SettingsAck, SettingsPush, TelemetryAck, Welcome};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Pushes what it is told and remembers the answers.
pub struct FakeControlPlane {
    address: SocketAddr,
    pushes: watch::Sender<SettingsPush>,
    acks: Arc<Mutex<Vec<SettingsAck>>>,
    _runtime: Runtime,
}

impl FakeControlPlane {
    pub fn start(document: &Value) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (pushes, follow) = watch::channel(push(1, document));
        let acks = Arc::new(Mutex::new(Vec::new()));
        let link = Link {
            pushes: follow,
            acks: Arc::clone(&acks),
        };
        let server = tonic::transport::Server::builder().add_service(ControlLinkServer::new(link));
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self {
            address,
            pushes,
            acks,
            _runtime: runtime,
        }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn push(&self, revision: u64, document: &Value) {
        self.pushes.send_replace(push(revision, document));
    }

    /// The answer to a revision, once there is one.
    pub fn ack(&self, revision: u64) -> Option<SettingsAck> {
        let acks = self.acks.lock().unwrap();
        acks.iter().find(|ack| ack.revision == revision).cloned()
    }
}

fn push(revision: u64, document: &Value) -> SettingsPush {
    SettingsPush {
        revision,
        document: document.to_string().into_bytes(),
        epoch: "from-the-future".to_owned(),
    }
}

struct Link {
    pushes: watch::Receiver<SettingsPush>,
    acks: Arc<Mutex<Vec<SettingsAck>>>,
}

#[tonic::async_trait]
impl ControlLink for Link {
    type ConnectStream = ReceiverStream<Result<ControlMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<FilterMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (sender, receiver) = mpsc::channel(16);
        let (mut incoming, mut pushes, acks) = (request.into_inner(), self.pushes.clone(), Arc::clone(&self.acks));
        tokio::spawn(async move {
            let send = async |body| sender.send(Ok(ControlMessage { body: Some(body) })).await.is_ok();
            let first = pushes.borrow_and_update().clone();
            let mut open = send(ToFilter::Welcome(Welcome::default())).await && send(ToFilter::Settings(first)).await;
            while open {
                open = tokio::select! {
                    message = incoming.message() => match message.ok().flatten().and_then(|message| message.body) {
                        Some(FromFilter::SettingsAck(ack)) => { acks.lock().unwrap().push(ack); true }
                        Some(FromFilter::Telemetry(report)) => send(ToFilter::TelemetryAck(TelemetryAck { sequence: report.sequence })).await,
                        Some(_) => true,
                        None => false,
                    },
                    changed = pushes.changed() => {
                        let push = pushes.borrow_and_update().clone();
                        changed.is_ok() && send(ToFilter::Settings(push)).await
                    }
                };
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
