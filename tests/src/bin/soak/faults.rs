//! What is done to the product while clients ask: one fault after another, shuffled by the seed, each kind once before any comes again.

use crate::content::Random;
use crate::fleet::{EACH, PATIENCE, wait_ready};
use crate::origin::{HABITS, Habit};
use crate::purges::{Target, purge};
use crate::run::Run;
use e2e::client::Request;
use e2e::{Failure, Result, artefacts, wait};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KillControlPlane,
    RestartRedis,
    FreezeRedis,
    KillEnvoy,
    FreezeEnvoy,
    PurgeAll,
    Settings,
    RollOut,
    OriginAway,
    Habit(Habit),
}

const FAULTS: [Fault; 9] = [
    Fault::KillControlPlane,
    Fault::RestartRedis,
    Fault::FreezeRedis,
    Fault::KillEnvoy,
    Fault::FreezeEnvoy,
    Fault::PurgeAll,
    Fault::Settings,
    Fault::RollOut,
    Fault::OriginAway,
];

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::KillControlPlane => "kill a control plane",
            Self::RestartRedis => "restart Redis",
            Self::FreezeRedis => "freeze Redis",
            Self::KillEnvoy => "kill an Envoy",
            Self::FreezeEnvoy => "freeze an Envoy",
            Self::PurgeAll => "purge everything",
            Self::Settings => "change settings",
            Self::RollOut => "roll another module out, and back",
            Self::OriginAway => "origin away",
            Self::Habit(Habit::Cuts) => "origin cuts",
            Self::Habit(Habit::Resets) => "origin resets",
            Self::Habit(Habit::Hangs) => "origin hangs",
            Self::Habit(Habit::Overruns) => "origin sends more than it says",
            Self::Habit(Habit::Fails) => "origin fails",
            Self::Habit(Habit::WrongNotModified) => "origin answers wrong 304",
            Self::Habit(Habit::Slow) => "origin is slow",
        }
    }
}

/// Faults until the run ends. An error of a fault that the product should have borne ends the run.
pub(crate) fn trouble(run: &Run, every: Duration) -> Result<()> {
    let mut random = Random::new(run.seed, 3);
    let mut modules = Modules::default();
    let mut open: Vec<Fault> = Vec::new();
    let mut due = Instant::now() + every / 2;
    loop {
        run.pause(due.saturating_duration_since(Instant::now()));
        if run.stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        if open.is_empty() {
            open = FAULTS.into_iter().chain(HABITS.map(Fault::Habit)).collect();
        }
        let at = usize::try_from(random.below(open.len() as u64)).unwrap_or(0);
        let fault = open.swap_remove(at);
        println!("  fault: {}", fault.name());
        let done = make(run, fault, &mut random, &mut modules, every);
        if run.stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        done.map_err(|error| error.during(fault.name()))?;
        run.faults.count("faults", fault.name());
        due = (due + every).max(Instant::now());
    }
}

fn make(run: &Run, fault: Fault, random: &mut Random, modules: &mut Modules, every: Duration) -> Result<()> {
    let one = usize::try_from(random.below(EACH as u64)).unwrap_or(0);
    let while_it_lasts = Duration::from_millis(200 + random.below(4_000));
    match fault {
        Fault::KillControlPlane => {
            run.fleet.control(one).kill();
            run.pause(while_it_lasts);
            run.fleet.control(one).restart()?;
            wait_ready(&run.fleet.rest(one))?;
            run.fleet.wait_connected()
        }
        Fault::RestartRedis => {
            run.fleet.redis().kill();
            run.pause(while_it_lasts);
            run.fleet.redis().restart()?;
            run.fleet.wait_connected()
        }
        Fault::FreezeRedis => {
            run.fleet.redis().freeze();
            run.pause(Duration::from_secs(5));
            run.fleet.redis().thaw();
            run.fleet.wait_connected()
        }
        Fault::KillEnvoy => {
            run.disturb(one, "Envoy killed");
            run.fleet.envoy(one).kill();
            run.pause(while_it_lasts);
            let begun = run.fleet.envoy(one).begin();
            run.settled(one);
            begun?;
            run.fleet.wait_connected()
        }
        Fault::FreezeEnvoy => {
            run.disturb(one, "Envoy frozen");
            freeze(run, one, true);
            run.pause(Duration::from_secs(1 + random.below(8)));
            freeze(run, one, false);
            run.settled(one);
            run.fleet.wait_connected()
        }
        Fault::PurgeAll => {
            let outcome = purge(run, random, &mut BTreeMap::new(), Target::All);
            run.purges.count("all", outcome);
            Ok(())
        }
        Fault::Settings => run.fleet.change(one, &change(random)),
        Fault::RollOut => modules.roll_out_and_back(run, random),
        Fault::OriginAway => {
            run.log.away(true);
            run.origin().die();
            run.pause(while_it_lasts);
            let back = run.origin().revive();
            run.log.away(false);
            back
        }
        Fault::Habit(habit) => {
            run.habits.begin(habit, every / 3);
            Ok(())
        }
    }
}

fn freeze(run: &Run, number: usize, still: bool) {
    if let Some(envoy) = &run.fleet.envoy(number).envoy {
        if still {
            envoy.freeze();
        } else {
            envoy.thaw();
        }
    }
}

/// Settings that may change at any time, among them those that switch parts off and on.
fn change(random: &mut Random) -> Value {
    match random.below(5) {
        0 => json!({"cache_size": 150 + random.below(600)}),
        1 => {
            let policies = ["s3_fifo", "sieve", "lru", "lfu", "fifo", "gdsf"];
            json!({"eviction_policy": random.pick(&policies)})
        }
        2 => json!({"shared_tier": {"enabled": random.chance(600)}}),
        3 => json!({"request_collapsing": {"enabled": random.chance(500)}}),
        _ => json!({"cache_enabled": random.chance(700)}),
    }
}

/// The shipped filter, and the same as another module: with a custom section, which no host looks at.
#[derive(Debug, Default)]
struct Modules {
    next: usize,
}

impl Modules {
    /// Each replica keeps modules for its own Envoys, so each is told.
    fn roll_out_and_back(&mut self, run: &Run, random: &mut Random) -> Result<()> {
        let mut module = std::fs::read(artefacts::filter()?)?;
        self.next = (self.next + 1) % 2;
        module.extend_from_slice(&[0, 2, 1, u8::try_from(self.next).unwrap_or(0)]);
        let mut sha256 = String::new();
        run.rolls_out();
        for replica in 0..EACH {
            let answer = ask(
                run,
                replica,
                &Request::new("PUT", "/filter/modules").body(module.clone()),
            )?;
            answer["sha256"].as_str().unwrap_or_default().clone_into(&mut sha256);
            let body = json!({"sha256": sha256, "canary_percent": 100}).to_string();
            ask(run, replica, &Request::new("POST", "/filter/rollout").body(body))?;
        }
        let there = all_run(run, &sha256, true);
        run.pause(Duration::from_millis(1_000 + random.below(5_000)));
        for replica in 0..EACH {
            ask(run, replica, &Request::new("POST", "/filter/rollout/abort").body("{}"))?;
        }
        there?;
        all_run(run, &sha256, false)
    }
}

/// Waits until both Envoys say that they run this module, or another one.
fn all_run(run: &Run, sha256: &str, this: bool) -> Result<()> {
    for (replica, name) in run.fleet.node_ids().into_iter().enumerate() {
        wait::until_within(PATIENCE, "the module in force", || {
            let view = run.fleet.rest(replica).document("/filter/rollout").ok()?;
            let envoys = view["envoys"].as_array()?;
            let own = envoys.iter().find(|envoy| envoy["node_id"] == name.as_str())?;
            ((own["in_force"] == sha256) == this).then_some(())
        })?;
    }
    Ok(())
}

fn ask(run: &Run, replica: usize, request: &Request) -> Result<Value> {
    let answer = run.fleet.rest(replica).send(request)?;
    if answer.status != 200 {
        return Err(Failure::new(format!("{}: {}", answer.status, answer.text())));
    }
    answer.json()
}
