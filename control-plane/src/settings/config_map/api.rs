//! The ConfigMap through the Kubernetes API: watched there instead of waiting for the kubelet and, if asked to, written back.
//!
//! A write carries the version it is based on, so one that crosses another's is refused by the API and made again on what the
//! watch then shows. What was written itself comes back by the watch too, late perhaps; it is known by its version and passed over,
//! else an older one of ours would undo a newer.

use super::super::service::SettingsService;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher;
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_stream::StreamExt;

/// Back-off after a failure, doubled each time up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A write that takes longer has failed.
const WRITE: Duration = Duration::from_secs(10);
/// A connection without data for this long is dead. The API server ends a quiet watch before.
const READ: Duration = Duration::from_secs(300);
/// What had to wait, for a canary or for what replicas share, is looked at again after this time.
const AGAIN: Duration = Duration::from_secs(2);
/// What a write crossed with arrives by the watch within this time.
const CATCH_UP: Duration = Duration::from_secs(5);
/// The API server has forgotten the version that a watch goes on from.
const GONE: u16 = 410;
/// Named in the object's managed fields.
const MANAGER: &str = "api-optimizer-control-plane";

/// Which ConfigMap.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) name: String,
    /// That of the pod or of the kubeconfig when `None`.
    pub(crate) namespace: Option<String>,
    pub(crate) write_back: bool,
}

/// Follows it until told to stop.
pub(crate) async fn follow(settings: Arc<SettingsService>, source: Source, mut stopped: watch::Receiver<bool>) {
    let (mut pause, mut fault) = (RETRY.0, None);
    loop {
        let mut session = Session {
            settings: &settings,
            source: &source,
            present: None,
            own: VecDeque::new(),
            fault: fault.take(),
            well: false,
        };
        tokio::select! {
            ended = session.run() => {
                settings.config_map_fails(ended.clone());
                fault = Some(ended);
                if session.well {
                    pause = RETRY.0;
                }
            }
            _ = stopped.changed() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopped.changed() => return,
        }
        pause = RETRY.1.min(pause * 2);
    }
}

async fn connect(source: &Source) -> Result<Api<ConfigMap>, String> {
    let message = |error: &dyn std::fmt::Display| format!("no Kubernetes API: {error}");
    // Anew each time: the kubeconfig or the mounted authority may have changed.
    let mut config = kube::Config::infer().await.map_err(|error| message(&error))?;
    config.read_timeout = Some(READ);
    let client = kube::Client::try_from(config).map_err(|error| message(&error))?;
    Ok(match &source.namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::default_namespaced(client),
    })
}

/// From the first look at the object to the first failure.
struct Session<'a> {
    settings: &'a SettingsService,
    source: &'a Source,
    /// As last seen or written.
    present: Option<ConfigMap>,
    /// Versions written here which the watch has not shown yet, the oldest first.
    own: VecDeque<String>,
    /// How the session before ended.
    fault: Option<String>,
    /// The object was read, and written where it had to be.
    well: bool,
}

impl Session<'_> {
    /// Ends with what went wrong.
    async fn run(&mut self) -> String {
        let api = match connect(self.source).await {
            Ok(api) => api,
            Err(fault) => return fault,
        };
        let mut seen = pin!(watcher::watch_object(api.clone(), &self.source.name));
        let mut published = self.settings.follow();
        let mut crossed = false;
        loop {
            tokio::select! {
                next = seen.next() => match next {
                    Some(Ok(Some(object))) if self.echoes(&object) => {}
                    Some(Ok(Some(object))) => {
                        self.present = Some(object);
                        crossed = false;
                    }
                    Some(Ok(None)) => {
                        self.present = None;
                        self.own.clear();
                        self.settings.config_map_fails(format!("there is no ConfigMap {}", self.source.name));
                    }
                    // What the watch went on from is gone, as happens to every watch that was quiet for long. It lists anew by itself.
                    Some(Err(watcher::Error::WatchError(status))) if status.code == GONE => {
                        tokio::time::sleep(RETRY.0).await;
                        continue;
                    }
                    Some(Err(error)) => return format!("the ConfigMap cannot be watched: {}", whole(&error)),
                    None => return "the watch ended".to_owned(),
                },
                changed = published.changed() => if changed.is_err() { return "stopping".to_owned() },
                () = tokio::time::sleep(AGAIN), if !crossed => {}
                () = tokio::time::sleep(CATCH_UP), if crossed => return "the watch is behind the ConfigMap".to_owned(),
            }
            if crossed {
                continue;
            }
            match self.bring_together(&api).await {
                Ok(Written::Crossed) => crossed = true,
                Ok(Written::Done) => {}
                Err(fault) => return fault,
            }
        }
    }

    /// Whether the watch shows what was written here.
    fn echoes(&mut self, object: &ConfigMap) -> bool {
        let version = object.metadata.resource_version.as_ref();
        match self.own.iter().position(|own| Some(own) == version) {
            Some(place) => {
                self.own.drain(..=place);
                true
            }
            None => {
                self.own.clear();
                false
            }
        }
    }

    /// First the ConfigMap's changes into the settings, then the settings into the ConfigMap.
    async fn bring_together(&mut self, api: &Api<ConfigMap>) -> Result<Written, String> {
        let Some(present) = &self.present else {
            return Ok(Written::Done);
        };
        let keys = keys(present);
        self.settings.look_at_config_map(&keys).await;
        let written = if self.source.write_back {
            // Read again is not yet written again.
            if let Some(fault) = self.fault.take() {
                self.settings.config_map_fails(fault);
            }
            self.write_back(api, &keys).await?
        } else {
            Written::Done
        };
        self.settings.config_map_is_well();
        self.well = true;
        Ok(written)
    }

    async fn write_back(&mut self, api: &Api<ConfigMap>, keys: &BTreeMap<String, String>) -> Result<Written, String> {
        let Some(wanted) = self.settings.wanted_in_config_map(keys) else {
            return Ok(Written::Done);
        };
        if wanted.is_empty() {
            return Ok(Written::Done);
        }
        let base = self
            .present
            .as_ref()
            .and_then(|object| object.metadata.resource_version.clone());
        let patch = Patch::Merge(json!({ "metadata": { "resourceVersion": base }, "data": wanted }));
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let message = |error: &dyn std::fmt::Display| format!("the ConfigMap cannot be written back: {error}");
        match tokio::time::timeout(WRITE, api.patch(&self.source.name, &parameters, &patch)).await {
            Ok(Ok(object)) => {
                tracing::info!(keys = ?wanted.keys().collect::<Vec<_>>(), "written back to the ConfigMap");
                self.settings.wrote_config_map(&wanted).await;
                // The same version again: nothing was changed, and the watch has nothing to show.
                let version = object.metadata.resource_version.clone();
                self.own
                    .extend(version.filter(|version| Some(version) != base.as_ref()));
                self.present = Some(object);
                Ok(Written::Done)
            }
            Ok(Err(kube::Error::Api(refused))) if refused.code == 409 => Ok(Written::Crossed),
            Ok(Err(error)) => Err(message(&whole(&error))),
            Err(_) => Err(message(&format!("no answer in {} s", WRITE.as_secs()))),
        }
    }
}

enum Written {
    Done,
    /// Somebody else was first; the watch will show it.
    Crossed,
}

/// An error with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut message: Vec<String> = causes.map(ToString::to_string).collect();
    message.dedup();
    message.join(": ")
}

fn keys(object: &ConfigMap) -> BTreeMap<String, String> {
    let data = object.data.iter().flatten();
    data.map(|(key, text)| (key.clone(), text.trim_end_matches(['\n', '\r']).to_owned()))
        .collect()
}
