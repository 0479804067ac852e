//! A control plane that says what a test wants, on a port of its own.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Method, path and query.
    pub(crate) line: String,
    /// `Authorization`, or nothing.
    pub(crate) token: String,
    /// `If-Match`, or nothing.
    pub(crate) if_match: String,
    /// The content.
    pub(crate) body: String,
}

/// What is answered.
pub(crate) struct Said {
    status: u16,
    body: Body,
    etag: Option<&'static str>,
    location: Option<String>,
}

impl Said {
    pub(crate) fn new(status: u16, body: impl Into<Body>) -> Self {
        Self {
            status,
            body: body.into(),
            etag: None,
            location: None,
        }
    }

    pub(crate) fn etag(self, etag: &'static str) -> Self {
        Self {
            etag: Some(etag),
            ..self
        }
    }

    pub(crate) fn location(self, location: String) -> Self {
        Self {
            location: Some(location),
            ..self
        }
    }
}

type Answers = Arc<dyn Fn(&Seen) -> Said + Send + Sync>;

/// It lives as long as this does.
pub(crate) struct Played {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Played {
    /// Answers every request by `answers`.
    pub(crate) fn new(answers: impl Fn(&Seen) -> Said + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let state: (Answers, _) = (Arc::new(answers), seen.clone());
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(state);
        runtime.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            seen,
            _runtime: runtime,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(State((answers, seen)): State<(Answers, Arc<Mutex<Vec<Seen>>>)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20)
        .await
        .unwrap_or_else(|_| Bytes::new());
    let header = |name: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let request = Seen {
        line: format!("{} {}", head.method, head.uri),
        token: header("authorization"),
        if_match: header("if-match"),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    seen.lock().unwrap().push(request.clone());
    let said = answers(&request);
    let mut response = Response::new(said.body);
    *response.status_mut() = StatusCode::from_u16(said.status).unwrap();
    if let Some(etag) = said.etag {
        response.headers_mut().insert("etag", HeaderValue::from_static(etag));
    }
    if let Some(location) = said.location {
        response
            .headers_mut()
            .insert("location", HeaderValue::from_str(&location).unwrap());
    }
    response
}
