//! Operators' words about breakers on their way to the Envoys, and to those that were away.

use crate::kernel::clock::now_ms;
use crate::plane::Plane;
use crate::replication::Entry;
use control_domain::steering::{LEASE_MS, Said};
use optimizer_proto::v1::CommandResult;
use optimizer_proto::v1::command::Body;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Envoys get so long to say that a word is in force.
const ANSWER: Duration = Duration::from_secs(2);

/// An Envoy's name and its answer, if it gave one.
pub(crate) type Answer = (String, Option<CommandResult>);

/// Takes a word in and says it to all connected Envoys; answers what each made of it.
pub(crate) async fn say(plane: &Plane, said: Said) -> Vec<Answer> {
    let _turn = plane.steering_turn.lock().await;
    tracing::warn!(
        upstream = said.upstream,
        action = ?said.action,
        until = said.until,
        who = said.who,
        reason = said.reason,
        "breaker steered"
    );
    plane.domain().steering.say(said.clone());
    plane.keep_steering();
    plane.share(|| Entry::Said { said: said.clone() }).await;
    plane.command(Body::Breaker(said.command(now_ms())), ANSWER).await
}

/// Tells the Envoys of this replica the last word about a breaker, said over another one.
pub(crate) async fn repeat(plane: Arc<Plane>, upstream: String) {
    let _turn = plane.steering_turn.lock().await;
    let last = plane.domain().steering.last(&upstream).cloned();
    if let Some(said) = last {
        plane.command(Body::Breaker(said.command(now_ms())), ANSWER).await;
    }
}

/// Tells an Envoy that has just connected what holds.
pub(crate) async fn catch_up(plane: Arc<Plane>, envoy: String) {
    let _turn = plane.steering_turn.lock().await;
    let now_ms = now_ms();
    let holding: Vec<Said> = plane.domain().steering.in_force(now_ms).cloned().collect();
    for said in holding {
        let done = plane
            .command_to(&envoy, Body::Breaker(said.command(now_ms)), ANSWER)
            .await;
        if !done.is_some_and(|result| result.ok) {
            tracing::warn!(
                envoy,
                upstream = said.upstream,
                "the breaker's forced state is not in force there"
            );
        }
    }
}

/// Says again what has no end of its own: it holds in an Envoy only while a control plane stands behind it.
pub(crate) async fn renew(plane: Arc<Plane>, mut stopped: watch::Receiver<bool>) {
    let mut every = tokio::time::interval(Duration::from_millis(LEASE_MS / 5));
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            _ = every.tick() => {}
        }
        let _turn = plane.steering_turn.lock().await;
        let holding: Vec<Said> = plane.domain().steering.to_renew().cloned().collect();
        for said in holding {
            plane.command(Body::Breaker(said.command(now_ms())), ANSWER).await;
        }
    }
}
