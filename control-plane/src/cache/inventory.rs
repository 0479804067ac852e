//! What all Envoys have stored, counted by them.
//!
//! Counting takes an Envoy a walk through its store, and a large fleet some hundreds of milliseconds. So those who ask at the same time share one
//! count, a large fleet is not counted again at once, and only some Envoys are asked at a time: nobody else waits behind all of them.

use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use control_domain::cache::report::{Inventory, Stored};
use optimizer_proto::answers;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::{InventoryCommand, InventoryStep};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long one Envoy may take for all its steps: figures that come late are better left out than waited for.
const ANSWER: Duration = Duration::from_millis(1_000);
/// How long the whole fleet may take; Envoys that were not asked by then count as not answered.
const ALL: Duration = Duration::from_secs(10);
/// Envoys asked at a time.
const AT_ONCE: usize = 64;
/// How long a count is used again, for each Envoy in it: at most a thousand Envoys are asked in a second.
const USED_AGAIN: Duration = Duration::from_millis(1);
/// Entries per Envoy, about, whose content type is read.
const SAMPLE: u64 = 2_048;

/// One count of the whole fleet.
#[derive(Debug)]
pub(crate) struct Counted {
    /// What is stored.
    pub(crate) stored: Stored,
    /// Envoys that did not answer in time, or are away.
    pub(crate) silent: Vec<String>,
    /// When it was begun, milliseconds since 1970.
    pub(crate) at: u64,
    ended: Instant,
    envoys: u32,
}

impl Counted {
    fn is_fresh(&self) -> bool {
        self.ended.elapsed() < USED_AGAIN * self.envoys
    }
}

/// Counts what the Envoys of all replicas have stored.
#[derive(Debug)]
pub(crate) struct InventoryService {
    fleet: Arc<FleetService>,
    /// Held while Envoys are asked, so that those who come meanwhile get the same count.
    last: Mutex<Option<Arc<Counted>>>,
}

impl InventoryService {
    pub(crate) fn new(fleet: Arc<FleetService>) -> Self {
        Self {
            fleet,
            last: Mutex::default(),
        }
    }

    /// What all Envoys have stored: now, or a moment ago.
    pub(crate) async fn count(&self) -> Arc<Counted> {
        let begin = Instant::now();
        let mut last = self.last.lock().await;
        // Counted while this call waited for its turn, or just before.
        let known = last
            .as_ref()
            .filter(|counted| counted.ended >= begin || counted.is_fresh());
        if let Some(counted) = known {
            return Arc::clone(counted);
        }
        let counted = Arc::new(self.ask_all().await);
        *last = Some(Arc::clone(&counted));
        counted
    }

    async fn ask_all(&self) -> Counted {
        let (at, deadline) = (now_ms(), Instant::now() + ALL);
        let connected = self.fleet.connected_envoys();
        let envoys = u32::try_from(connected.len()).unwrap_or(u32::MAX);
        let (mut inventory, mut silent) = (Inventory::default(), self.fleet.recently_disconnected());
        let (mut waiting, mut asking) = (connected.into_iter(), JoinSet::new());
        loop {
            while asking.len() < AT_ONCE
                && let Some(envoy) = waiting.next()
            {
                let fleet = Arc::clone(&self.fleet);
                let due = deadline.min(Instant::now() + ANSWER);
                asking.spawn(async move {
                    let steps = tokio::time::timeout_at(due, steps_of(&fleet, &envoy)).await;
                    (envoy, steps.ok().flatten())
                });
            }
            match asking.join_next().await {
                Some(Ok((_, Some((steps, stride))))) => steps.into_iter().for_each(|step| inventory.add(step, stride)),
                Some(Ok((envoy, None))) => silent.push(envoy),
                Some(Err(error)) => tracing::error!(%error, "taking an inventory failed"),
                None => break,
            }
        }
        silent.sort_unstable();
        Counted {
            stored: inventory.view(),
            silent,
            at,
            ended: Instant::now(),
            envoys,
        }
    }
}

async fn steps_of(fleet: &FleetService, envoy: &str) -> Option<(Vec<InventoryStep>, u64)> {
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
        let step = answers::inventory(answer)?;
        let (done, next) = (step.done, step.next_page);
        steps.push(step);
        if done || next <= page {
            return Some((steps, stride));
        }
        page = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::events::Events;
    use crate::kernel::ids::Ids;
    use crate::kernel::ports::Standalone;
    use optimizer_proto::v1::command_result::Answer;
    use optimizer_proto::v1::control_message::Body as ToFilter;
    use optimizer_proto::v1::{CommandResult, ControlMessage, StoredClass};
    use tokio::sync::mpsc;

    const ENVOYS: u64 = 100;

    /// A fleet, and what its Envoys are asked.
    fn fleet() -> (Arc<FleetService>, Vec<mpsc::Receiver<ControlMessage>>) {
        let fleet = FleetService::new(Arc::new(Ids::new()), Events::default(), Arc::new(Standalone));
        let connect = |number| {
            let (sender, asked) = mpsc::channel(8);
            fleet.attach(number, &format!("envoy-{number:03}"), sender);
            asked
        };
        let asked = (0..ENVOYS).map(connect).collect();
        (Arc::new(fleet), asked)
    }

    /// The ids of the commands that came since the last look, by Envoy.
    fn look(asked: &mut [mpsc::Receiver<ControlMessage>]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (number, asked) in asked.iter_mut().enumerate() {
            while let Ok(message) = asked.try_recv() {
                let Some(ToFilter::Command(command)) = message.body else {
                    continue;
                };
                found.push((format!("envoy-{number:03}"), command.id));
            }
        }
        found
    }

    fn answer(fleet: &FleetService, asked: &[(String, String)]) {
        let step = InventoryStep {
            by_age: vec![StoredClass {
                name: "under_10s".to_owned(),
                entries: 1,
                bytes: 10,
            }],
            done: true,
            ..InventoryStep::default()
        };
        for (number, (envoy, id)) in asked.iter().enumerate() {
            let result = CommandResult {
                id: id.clone(),
                ok: true,
                answer: Some(Answer::Inventory(step.clone())),
                ..CommandResult::default()
            };
            // Every other filter is of the release before.
            let older = number % 2 == 1;
            fleet.answered(envoy, if older { answers::for_older(result) } else { result });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn some_envoys_are_asked_at_a_time_and_those_who_are_silent_are_named() {
        let (fleet, mut asked) = fleet();
        let service = InventoryService::new(Arc::clone(&fleet));
        let counting = tokio::spawn(async move { service.count().await });
        tokio::time::sleep(Duration::from_millis(1)).await;
        let first = look(&mut asked);
        assert_eq!(first.len(), AT_ONCE);
        answer(&fleet, &first[..AT_ONCE - 1]);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let rest = look(&mut asked);
        assert_eq!(rest.len(), 100 - AT_ONCE);
        answer(&fleet, &rest);
        let counted = counting.await.unwrap();
        assert_eq!(counted.silent, [first[AT_ONCE - 1].0.clone()]);
        assert_eq!(counted.stored.by_age["under_10s"].entries, 99);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_meanwhile_or_just_after_gets_the_same_count() {
        let (fleet, mut asked) = fleet();
        let service = Arc::new(InventoryService::new(Arc::clone(&fleet)));
        let count = || {
            let service = Arc::clone(&service);
            tokio::spawn(async move { service.count().await })
        };
        let (one, other) = (count(), count());
        let mut times = 0;
        while !one.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let found = look(&mut asked);
            times += found.len();
            answer(&fleet, &found);
        }
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        assert!(times == 100 && Arc::ptr_eq(&one, &other));
        assert!(
            Arc::ptr_eq(&one, &service.count().await),
            "no Envoy is asked again at once"
        );
        tokio::time::sleep(USED_AGAIN * 100).await;
        drop(count());
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(look(&mut asked).len(), AT_ONCE, "later they are");
    }
}
