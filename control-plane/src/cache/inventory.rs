//! What all Envoys have stored, counted by them.

use crate::fleet::FleetService;
use control_domain::cache::report::Inventory;
use optimizer_proto::v1::InventoryCommand;
use optimizer_proto::v1::command::Body;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// An Envoy gets so long for all its steps: figures that come late are better left out than waited for.
const ANSWER: Duration = Duration::from_millis(1_000);
/// Content types are read of about so many entries per Envoy.
const SAMPLE: u64 = 2_048;

/// The inventory of all Envoys of all replicas, and who did not answer in time.
pub(crate) async fn inventory(fleet: &Arc<FleetService>) -> (Inventory, Vec<String>) {
    let mut asking = JoinSet::new();
    for envoy in fleet.connected_envoys() {
        let fleet = Arc::clone(fleet);
        asking.spawn(async move {
            let steps = tokio::time::timeout(ANSWER, steps_of(&fleet, &envoy)).await;
            (envoy, steps.ok().flatten())
        });
    }
    let (mut inventory, mut silent) = (Inventory::default(), fleet.recently_disconnected());
    while let Some(asked) = asking.join_next().await {
        match asked {
            Ok((_, Some((steps, stride)))) => steps.iter().for_each(|step| inventory.add(step, stride)),
            Ok((envoy, None)) => silent.push(envoy),
            Err(error) => tracing::error!(%error, "taking an inventory failed"),
        }
    }
    (inventory, silent)
}

async fn steps_of(fleet: &FleetService, envoy: &str) -> Option<(Vec<Value>, u64)> {
    let entries = fleet.read(|fleet, _| fleet.get(envoy).map_or(0, |envoy| envoy.gauges.cache_entries));
    let stride = (entries / SAMPLE).max(1);
    let mut steps = Vec::new();
    let mut page = 0;
    loop {
        let command = InventoryCommand {
            page,
            stride: u32::try_from(stride).unwrap_or(u32::MAX),
        };
        let answer = fleet.command(envoy, Body::Inventory(command), ANSWER).await?;
        let step: Value = serde_json::from_str(&answer.detail).ok().filter(|_| answer.ok)?;
        let next = step["next"].as_u64().and_then(|next| u32::try_from(next).ok());
        steps.push(step);
        match next.filter(|next| *next > page) {
            Some(next) => page = next,
            None => return Some((steps, stride)),
        }
    }
}
