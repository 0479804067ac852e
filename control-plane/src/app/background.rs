//! Everything that goes on beside requests: one list of what is started with the process and ends with it.

use super::config::Config;
use super::owners::Owned;
use crate::fleet::scrape;
use crate::health;
use crate::replication;
#[cfg(feature = "kubernetes")]
use crate::settings::config_map::api;
use crate::settings::config_map::volume;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Starts all of it. What comes back ends when the alerts are written down for the last time.
pub(super) fn start(config: &Config, owned: &Owned, stopped: &watch::Receiver<bool>) -> JoinHandle<()> {
    let until = || stopped.clone();
    // The connection of the shared tier.
    let tier = Arc::clone(&owned.tier);
    tokio::spawn(async move { tier.run().await });
    // Tokens that change, also while nobody asks.
    if let Some(tokens) = owned.tokens.clone() {
        tokio::spawn(async move { tokens.watch().await });
    }
    if let Some(tokens) = owned.envoy_tokens.clone() {
        tokio::spawn(async move { tokens.watch().await });
    }
    // Purges that connected Envoys have not done.
    tokio::spawn(Arc::clone(&owned.purges).watch_late(until()));
    // Purges that the shared tier has yet to record.
    tokio::spawn(Arc::clone(&owned.purges).record_late(until()));
    // Overrides of breakers that have no end of their own.
    let (breakers, stop) = (Arc::clone(&owned.breakers), until());
    tokio::spawn(async move { breakers.renew(stop).await });
    // Overrides that an Envoy's reports do not show.
    let (breakers, stop) = (Arc::clone(&owned.breakers), until());
    tokio::spawn(async move { breakers.correct(stop).await });
    // What takes long here, for the other replicas.
    tokio::spawn(Arc::clone(&owned.operations).publish_progress(until()));
    // Experiments: what both arms do, and whose change nobody judges any more.
    tokio::spawn(Arc::clone(&owned.experiments).run(until()));
    // Settings that could not be kept on disk.
    let (settings, stop) = (Arc::clone(&owned.settings), until());
    tokio::spawn(async move { settings.retry_persist(stop).await });
    // Settings into resources of xDS.
    tokio::spawn(Arc::clone(&owned.xds_publisher).run(until()));
    follow_config_map(config, owned, stopped);
    if !config.envoy_admin_urls.is_empty() {
        let envoys = config.envoy_admin_urls.clone();
        tokio::spawn(scrape(Arc::clone(&owned.fleet), envoys, until()));
    }
    if let Some(replicas) = owned.replicas.clone() {
        tokio::spawn(replication::run(replicas, owned.shared(), until()));
    }
    // Notifications, and the judging of alerts.
    tokio::spawn(health::deliver(Arc::clone(&owned.health), until()));
    let folder = config.state_dir.clone();
    tokio::spawn(health::judge(Arc::clone(&owned.health), folder, until()))
}

/// One way to the ConfigMap: what the kubelet has not brought up to date yet would undo what the API has shown.
fn follow_config_map(config: &Config, owned: &Owned, stopped: &watch::Receiver<bool>) {
    #[cfg(feature = "kubernetes")]
    if let Some(name) = &config.kube_config_map {
        if config.config_dir.is_some() {
            tracing::info!("KUBE_CONFIG_MAP is set: CONFIG_DIR is not read");
        }
        let source = api::Source {
            name: name.clone(),
            namespace: config.kube_namespace.clone(),
            write_back: config.kube_write_back,
        };
        tokio::spawn(api::follow(Arc::clone(&owned.settings), source, stopped.clone()));
        return;
    }
    if let Some(directory) = &config.config_dir {
        tokio::spawn(volume::watch(
            Arc::clone(&owned.settings),
            directory.clone(),
            stopped.clone(),
        ));
    }
}
