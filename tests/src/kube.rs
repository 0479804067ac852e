//! A Kubernetes API server as far as one ConfigMap goes: versions, lists, watches, merge patches that are refused when they are
//! based on an older version, and only what a Role that names the one object allows. It can go away and come back, ask for a token over
//! TLS, refuse everybody, and forget old versions.

mod guard;

use crate::certificates::Certificates;
use crate::ports::free_port;
use crate::{Failure, Result};
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch};
use axum::{Json, Router, middleware};
use guard::{Guard, Tls};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// The object's name.
pub const NAME: &str = "api-optimizer-config";
/// And its namespace.
pub const NAMESPACE: &str = "production";

/// The server.
#[derive(Debug)]
pub struct KubeApi {
    objects: Arc<Objects>,
    guard: Arc<Guard>,
    certificates: Option<Certificates>,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

/// All versions of one ConfigMap, the newest last.
#[derive(Debug)]
struct Objects {
    versions: Mutex<Vec<Value>>,
    newest: watch::Sender<usize>,
    /// How often old versions were forgotten.
    forgotten: watch::Sender<u64>,
    patches: Mutex<Vec<Value>>,
    /// Watches show everything so much later.
    lag: Duration,
}

impl KubeApi {
    /// Starts it; with `None` there is no object yet.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start(data: Option<&Value>, lag: Duration) -> Result<Self> {
        Self::serve(data, lag, None)
    }

    /// As [`KubeApi::start`], over TLS and for who bears the token.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start_guarded(data: &Value, certificates: Certificates, token: &str) -> Result<Self> {
        let api = Self::serve(Some(data), Duration::ZERO, Some(certificates))?;
        api.take_token(token);
        Ok(api)
    }

    fn serve(data: Option<&Value>, lag: Duration, certificates: Option<Certificates>) -> Result<Self> {
        let mut api = Self {
            objects: Arc::new(Objects {
                versions: Mutex::default(),
                newest: watch::channel(0).0,
                forgotten: watch::channel(0).0,
                patches: Mutex::default(),
                lag,
            }),
            guard: Arc::default(),
            certificates,
            address: (Ipv4Addr::LOCALHOST, free_port()?).into(),
            runtime: None,
        };
        if let Some(data) = data {
            api.kubectl(data);
        }
        api.come_back()?;
        Ok(api)
    }

    /// Goes away; every connection ends at once.
    pub fn go_away(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Listens again, with what it had.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn come_back(&mut self) -> Result<()> {
        let runtime = Runtime::new()?;
        let listener = runtime.block_on(TcpListener::bind(self.address))?;
        let collection = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
        let router = Router::new()
            .route(&collection, get(list))
            .route(&format!("{collection}/{{name}}"), patch(change))
            .with_state(Arc::clone(&self.objects))
            .layer(middleware::from_fn_with_state(Arc::clone(&self.guard), guard::admit));
        match &self.certificates {
            None => runtime.spawn(async move { axum::serve(listener, router).await }),
            Some(certificates) => {
                let listener = Tls::new(listener, certificates)?;
                runtime.spawn(async move { axum::serve(listener, router).await })
            }
        };
        self.runtime = Some(runtime);
        Ok(())
    }

    /// From now on only who bears this token is let in; watches under way go on.
    pub fn take_token(&self, token: &str) {
        *lock(&self.guard.token) = Some(token.to_owned());
    }

    /// From now on everybody is answered with this status; with `None` nobody.
    pub fn refuse(&self, refusal: Option<u16>) {
        *lock(&self.guard.refusal) = refusal.and_then(|code| StatusCode::from_u16(code).ok());
    }

    /// Forgets old versions: whoever watches is told that what it goes on from is gone.
    pub fn forget_old_versions(&self) {
        self.objects.forgotten.send_modify(|times| *times += 1);
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The object's data.
    #[must_use]
    pub fn data(&self) -> Value {
        let versions = lock(&self.objects.versions);
        versions.last().map_or(Value::Null, |object| object["data"].clone())
    }

    /// What an operator does with kubectl: creates the object, or changes keys on whatever is there.
    pub fn kubectl(&self, data: &Value) {
        // Based on no version, and created where there is none: nothing refuses it.
        let _ = self.objects.merge(&json!({ "data": data }), true);
    }

    /// All patches that came over the API and were taken.
    #[must_use]
    pub fn patches(&self) -> Vec<Value> {
        lock(&self.objects.patches).clone()
    }

    /// A kubeconfig for it, in `folder`; and the rest of a control plane's environment.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn environment(&self, folder: &std::path::Path) -> Result<Vec<(String, String)>> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": NAMESPACE}}],
        });
        let file = folder.join("kubeconfig");
        std::fs::write(&file, config.to_string())?;
        let file = file
            .to_str()
            .ok_or_else(|| Failure::new("a path that is no text".to_owned()))?;
        let pairs = [
            ("KUBECONFIG", file),
            ("KUBE_CONFIG_MAP", NAME),
            ("KUBE_WRITE_BACK", "true"),
        ];
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }
}

impl Drop for KubeApi {
    fn drop(&mut self) {
        self.go_away();
    }
}

impl Objects {
    /// Merges, unless it is based on another version than the newest.
    fn merge(&self, change: &Value, create: bool) -> std::result::Result<Value, StatusCode> {
        let mut versions = lock(&self.versions);
        let none = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE}, "data": {},
        });
        let created = create.then_some(&none);
        let mut object = versions.last().or(created).cloned().ok_or(StatusCode::NOT_FOUND)?;
        let base = &change["metadata"]["resourceVersion"];
        if base.is_string() && *base != object["metadata"]["resourceVersion"] {
            return Err(StatusCode::CONFLICT);
        }
        for (key, value) in change["data"].as_object().into_iter().flatten() {
            object["data"][key] = value.clone();
        }
        object["metadata"]["resourceVersion"] = json!((versions.len() + 1).to_string());
        versions.push(object.clone());
        self.newest.send_replace(versions.len());
        Ok(object)
    }

    /// Everything after version `sent`, as lines of a watch.
    fn lines(&self, sent: usize) -> Vec<String> {
        let versions = lock(&self.versions);
        let behind = versions.iter().enumerate().skip(sent);
        behind
            .map(|(at, object)| {
                let kind = if at == 0 { "ADDED" } else { "MODIFIED" };
                format!("{}\n", json!({"type": kind, "object": object}))
            })
            .collect()
    }
}

async fn list(State(objects): State<Arc<Objects>>, Query(query): Query<HashMap<String, String>>) -> Response {
    if query.get("fieldSelector") != Some(&format!("metadata.name={NAME}")) {
        return status(StatusCode::FORBIDDEN);
    }
    if query.get("watch").is_none_or(|watch| watch == "false") {
        let versions = lock(&objects.versions);
        return Json(json!({
            "apiVersion": "v1", "kind": "ConfigMapList",
            "metadata": {"resourceVersion": versions.len().to_string()},
            "items": versions.last().into_iter().collect::<Vec<_>>(),
        }))
        .into_response();
    }
    let Some(sent) = query.get("resourceVersion").and_then(|version| version.parse().ok()) else {
        return status(StatusCode::BAD_REQUEST);
    };
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(show(objects, sent, sender));
    Body::from_stream(ReceiverStream::new(receiver).map(Ok::<_, std::io::Error>)).into_response()
}

async fn show(objects: Arc<Objects>, mut sent: usize, sender: mpsc::Sender<String>) {
    let mut newest = objects.newest.subscribe();
    let mut forgotten = objects.forgotten.subscribe();
    loop {
        let lines = objects.lines(sent);
        sent += lines.len();
        tokio::time::sleep(objects.lag).await;
        for line in lines {
            if sender.send(line).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { return },
            _ = forgotten.changed() => {
                let gone = json!({"type": "ERROR", "object": failure(StatusCode::GONE)});
                // An error means that nobody watches any more.
                let _ = sender.send(format!("{gone}\n")).await;
                return;
            }
        }
    }
}

async fn change(State(objects): State<Arc<Objects>>, Path(name): Path<String>, Json(change): Json<Value>) -> Response {
    if name != NAME {
        return status(StatusCode::FORBIDDEN);
    }
    match objects.merge(&change, false) {
        Ok(object) => {
            lock(&objects.patches).push(change);
            Json(object).into_response()
        }
        Err(code) => status(code),
    }
}

fn status(code: StatusCode) -> Response {
    (code, Json(failure(code))).into_response()
}

fn failure(code: StatusCode) -> Value {
    let reason = code.canonical_reason().unwrap_or_default();
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "reason": reason,
        "message": format!("refused: {reason}"), "code": code.as_u16(),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
