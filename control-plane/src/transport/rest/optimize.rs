//! The weekly maintenance of the cache, on demand.

use super::advice::Recommended;
use super::identity::Caller;
use super::operations::{OperationKey, cancelled, full, location};
use super::problem::{Params, Problem};
use crate::fleet::FleetService;
use crate::operations::{Ended, OperationService, Running};
use crate::settings::SettingsService;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use control_domain::operations::{Kind, Stage, Unit};
use optimizer_proto::answers;
use optimizer_proto::v1::command::Body as Command;
use optimizer_proto::v1::{SweepCommand, SweepStep};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// An Envoy gets so long for one step.
const STEP: Duration = Duration::from_secs(5);
/// Steps at most: more than a full store has.
const STEPS: usize = 10_000;

/// How to optimise.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Optimizing {
    /// Put the recommendation into force.
    #[serde(default)]
    apply: bool,
}

/// What was done, and what is recommended.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Optimized {
    /// What all Envoys did together: entries looked at and dropped, by why.
    actions: BTreeMap<String, u64>,
    /// Whether all Envoys did it.
    complete: bool,
    /// Envoys that did not answer, or are out of reach.
    not_answered: Vec<String>,
    /// Which sizes and lifetimes are recommended.
    recommendation: Recommended,
    /// They were put into force.
    applied: bool,
}

/// Drops what is expired or purged on every Envoy, and says what it recommends. While it goes on it is an operation.
#[utoipa::path(post, path = "/cache/optimize", tag = "cache", params(Optimizing, ("operation-key" = Option<String>, Header, description = "Name for the operation: 1 to 64 letters, digits, dots, hyphens and underscores")), responses((status = 200, description = "What was done, and what is recommended", body = Optimized), (status = 409, description = "A canary is under way, or it was cancelled"), (status = 429, description = "As many operations are under way as may be"), (status = 503, description = "The replicas cannot agree at the moment")))]
pub(crate) async fn optimize(
    State(fleet): State<Arc<FleetService>>,
    State(settings): State<Arc<SettingsService>>,
    State(operations): State<Arc<OperationService>>,
    caller: Caller,
    OperationKey(key): OperationKey,
    Params(optimizing): Params<Optimizing>,
) -> Result<(HeaderMap, Json<Optimized>), Problem> {
    let running = operations.begin(Kind::Optimize, &caller.name, "", &key);
    let running = running.map_err(|_| full())?;
    let (actions, silent) = swept(&fleet, &running).await;
    if let Some(because) = running.cancelled_because() {
        let problem = cancelled(running.id(), &because);
        running.end(Ended::Done(None));
        return Err(problem);
    }
    let recommendation = super::advice::recommendation(&settings, &fleet);
    let applied = match optimizing.apply {
        true => super::advice::apply(&settings, &recommendation, &caller).await,
        false => Ok(false),
    };
    let place = location(running.id());
    running.end(match &applied {
        Ok(_) if silent.is_empty() => Ended::Done(None),
        Ok(_) => Ended::Done(Some(format!("{} did not answer", silent.join(", ")))),
        Err(problem) => Ended::Failed(format!(
            "the recommendation was not put into force: {}",
            problem.title()
        )),
    });
    let applied = applied?;
    tracing::info!(who = caller.name, applied, "cache optimised");
    Ok((
        place,
        Json(Optimized {
            actions,
            complete: silent.is_empty(),
            not_answered: silent,
            recommendation,
            applied,
        }),
    ))
}

/// What all Envoys did together, and who did not answer.
async fn swept(fleet: &Arc<FleetService>, running: &Running) -> (BTreeMap<String, u64>, Vec<String>) {
    let mut sweeping = JoinSet::new();
    for envoy in fleet.connected_envoys() {
        let (fleet, signal) = (Arc::clone(fleet), running.signal());
        sweeping.spawn(async move {
            let mut done = BTreeMap::new();
            let answered = sweep(&fleet, &envoy, &signal, &mut done).await;
            (done, (!answered).then_some(envoy))
        });
    }
    running.enter(Stage::Working, Unit::Envoys, 0, Some(sweeping.len() as u64));
    let (mut actions, mut silent) = (BTreeMap::new(), fleet.recently_disconnected());
    let mut envoys = 0;
    while let Some(swept) = sweeping.join_next().await {
        match swept {
            Ok((done, missing)) => {
                add(&mut actions, &done);
                silent.extend(missing);
            }
            Err(error) => tracing::error!(%error, "sweeping an Envoy failed"),
        }
        envoys += 1;
        running.advance(envoys);
        running.counts(actions.clone());
    }
    (actions, silent)
}

/// Everything an Envoy does, into `done`, until it is cancelled; false when it stopped answering.
async fn sweep(
    fleet: &FleetService,
    envoy: &str,
    cancelled: &watch::Receiver<bool>,
    done: &mut BTreeMap<String, u64>,
) -> bool {
    let mut cursor = 0;
    for _ in 0..STEPS {
        if *cancelled.borrow() {
            return true;
        }
        let command = Command::Sweep(SweepCommand { cursor });
        let Some(answer) = fleet.command(envoy, command, STEP).await else {
            return false;
        };
        let Some(step) = answers::swept(answer) else {
            return false;
        };
        add(done, &actions(&step));
        if step.done {
            break;
        }
        cursor = step.next_cursor;
    }
    true
}

fn actions(step: &SweepStep) -> BTreeMap<String, u64> {
    let actions = [
        ("expired_removed", step.expired_removed),
        ("purged_removed", step.purged_removed),
        ("evicted", step.evicted),
        ("bytes_freed", step.bytes_freed),
    ];
    actions.map(|(name, count)| (name.to_owned(), count)).into()
}

fn add(sums: &mut BTreeMap<String, u64>, step: &BTreeMap<String, u64>) {
    for (name, count) in step {
        let sum = sums.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
}
