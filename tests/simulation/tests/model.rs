//! A model of what a receipt promises, checked in every state that a small fleet can reach: the order of purges and the fence of the shared tier, the
//! list of VMs that an acknowledgement waits for, the lease, and the epoch of settings.
//!
//! One response of one URL. An edit raises its edition, and a purge follows. A rule that is left out must be missed: see the last test.

use stateright::{Checker, Model, Property};

/// What is left out of the protocol, to see that it is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// A VM that is not listed serves without a look.
    Look,
    /// The tier compares a value with the purges since it was put, not since its fetch began.
    Fence,
    /// The tier is told after the Envoys.
    TierFirst,
    /// A leader acknowledges settings of another epoch by their number alone.
    Epoch,
}

struct Fleet {
    envoys: usize,
    /// VMs of each.
    vms: usize,
    purges: u8,
    without: Without,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
struct Vm {
    /// Purges it has taken over.
    seen: u8,
    /// The others wait for it.
    listed: bool,
    /// It believes to lead.
    leads: bool,
    settings: (u8, u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Envoy {
    vms: Vec<Vm>,
    /// Purges in shared data.
    invalidation_log: u8,
    /// The stored edition, and how many purges there were when its fetch began.
    stored: Option<(u8, u8)>,
    /// A fetch under way: edition, purges then, place in the tier's order then.
    fetch: Option<(u8, u8, u8)>,
    /// Purges whose receipt it has sent.
    receipt: u8,
    /// The settings in shared data, and those that it has acknowledged.
    cell: (u8, u8),
    acknowledged: (u8, u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct State {
    edition: u8,
    /// Purges that were accepted, and those in the tier's order.
    accepted: u8,
    ordered: u8,
    /// The tier's value: edition and place.
    tier: Option<(u8, u8)>,
    envoys: Vec<Envoy>,
    /// Epoch and number of the control plane's settings.
    settings: (u8, u8),
    /// What must not happen, has.
    served_purged: bool,
    served_on_older_settings: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    EditAndPurge,
    Order,
    Purge(usize),
    Adopt(usize, usize),
    Receipt(usize),
    Silent(usize, usize),
    Beat(usize, usize),
    Lead(usize, usize),
    Dies(usize, usize),
    Begin(usize),
    End(usize),
    FromTier(usize),
    Serve(usize, usize),
    Change,
    LoseState,
    Push(usize),
    Acknowledge(usize),
}

impl Fleet {
    fn acknowledges(&self, envoy: &Envoy, enough: impl Fn(&Vm) -> bool) -> bool {
        let leads = envoy.vms.iter().any(|vm| vm.leads && enough(vm));
        leads && envoy.vms.iter().filter(|vm| vm.listed).all(enough)
    }
}

impl Model for Fleet {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let vm = Vm {
            listed: true,
            settings: (1, 1),
            ..Vm::default()
        };
        let mut envoy = Envoy {
            vms: vec![vm; self.vms],
            cell: (1, 1),
            acknowledged: (1, 1),
            ..Envoy::default()
        };
        envoy.vms[0].leads = true;
        vec![State {
            envoys: vec![envoy; self.envoys],
            settings: (1, 1),
            ..State::default()
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.accepted < self.purges {
            steps.push(Step::EditAndPurge);
        }
        if state.ordered < state.accepted {
            steps.push(Step::Order);
        }
        if state.settings.1 < 2 {
            steps.push(Step::Change);
        }
        if state.settings.0 < 2 {
            steps.push(Step::LoseState);
        }
        for (at, envoy) in state.envoys.iter().enumerate() {
            steps.extend([
                Step::Purge(at),
                Step::Receipt(at),
                Step::Begin(at),
                Step::End(at),
                Step::FromTier(at),
            ]);
            steps.extend([Step::Push(at), Step::Acknowledge(at)]);
            for (vm, one) in envoy.vms.iter().enumerate() {
                steps.extend([
                    Step::Adopt(at, vm),
                    Step::Serve(at, vm),
                    Step::Lead(at, vm),
                    Step::Dies(at, vm),
                ]);
                steps.push(if one.listed {
                    Step::Silent(at, vm)
                } else {
                    Step::Beat(at, vm)
                });
            }
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::EditAndPurge => {
                state.edition += 1;
                state.accepted += 1;
            }
            Step::Order => state.ordered = state.accepted,
            Step::Purge(at) => {
                let told = if self.without == Without::TierFirst {
                    state.accepted
                } else {
                    state.ordered
                };
                let envoy = &mut state.envoys[at];
                let leader = envoy.vms.iter_mut().find(|vm| vm.leads)?;
                envoy.invalidation_log = told;
                leader.seen = told;
            }
            Step::Adopt(at, vm) => {
                let envoy = &mut state.envoys[at];
                (envoy.vms[vm].seen, envoy.vms[vm].settings) = (envoy.invalidation_log, envoy.cell);
            }
            Step::Receipt(at) => {
                let invalidation_log = state.envoys[at].invalidation_log;
                if !self.acknowledges(&state.envoys[at], |vm| vm.seen >= invalidation_log) {
                    return None;
                }
                state.envoys[at].receipt = invalidation_log;
            }
            Step::Silent(at, vm) => state.envoys[at].vms[vm].listed = false,
            Step::Beat(at, vm) => {
                let envoy = &mut state.envoys[at];
                envoy.vms[vm].listed = true;
                (envoy.vms[vm].seen, envoy.vms[vm].settings) = (envoy.invalidation_log, envoy.cell);
            }
            // The lease ran out; the one before may not have noticed.
            Step::Lead(at, vm) => {
                let envoy = &mut state.envoys[at];
                envoy.vms[vm].leads = true;
                envoy.vms[vm].listed = true;
                (envoy.vms[vm].seen, envoy.vms[vm].settings) = (envoy.invalidation_log, envoy.cell);
            }
            // The new VM looks when it starts.
            Step::Dies(at, vm) => {
                let envoy = &mut state.envoys[at];
                envoy.vms[vm] = Vm {
                    seen: envoy.invalidation_log,
                    settings: envoy.cell,
                    ..Vm::default()
                };
            }
            Step::Begin(at) => {
                let (edition, place) = (state.edition, state.ordered);
                let envoy = &mut state.envoys[at];
                if envoy.fetch.is_some() {
                    return None;
                }
                let purge_generation = envoy.vms[0].seen;
                envoy.fetch = Some((edition, purge_generation, place));
            }
            Step::End(at) => {
                let (edition, purge_generation, place) = state.envoys[at].fetch.take()?;
                state.envoys[at].stored = Some((edition, purge_generation));
                let place = if self.without == Without::Fence {
                    state.ordered
                } else {
                    place
                };
                state.tier = Some((edition, place));
            }
            Step::FromTier(at) => {
                let (edition, place) = state.tier?;
                let purge_generation = state.envoys[at].vms[0].seen;
                if place < state.ordered {
                    return None;
                }
                state.envoys[at].stored = Some((edition, purge_generation));
            }
            Step::Serve(at, vm) => {
                let envoy = &mut state.envoys[at];
                if !envoy.vms[vm].listed && self.without != Without::Look {
                    envoy.vms[vm].listed = true;
                    (envoy.vms[vm].seen, envoy.vms[vm].settings) = (envoy.invalidation_log, envoy.cell);
                }
                let one = envoy.vms[vm];
                let (edition, purge_generation) = envoy.stored?;
                if purge_generation < one.seen {
                    return None;
                }
                state.served_purged = edition < envoy.receipt;
                state.served_on_older_settings = one.settings.0 == envoy.acknowledged.0
                    && one.settings.1 < envoy.acknowledged.1
                    || one.settings.0 < envoy.acknowledged.0;
            }
            Step::Change => state.settings.1 += 1,
            Step::LoseState => state.settings = (state.settings.0 + 1, 1),
            Step::Push(at) => {
                let settings = state.settings;
                let envoy = &mut state.envoys[at];
                if envoy.cell.0 == settings.0 && settings.1 <= envoy.cell.1 {
                    return None;
                }
                let leader = envoy.vms.iter_mut().find(|vm| vm.leads)?;
                envoy.cell = settings;
                leader.settings = settings;
            }
            Step::Acknowledge(at) => {
                let (epoch, number) = state.envoys[at].cell;
                let by_number = self.without == Without::Epoch;
                let runs = |vm: &Vm| vm.settings.1 >= number && (by_number || vm.settings.0 == epoch);
                if !self.acknowledges(&state.envoys[at], runs) {
                    return None;
                }
                state.envoys[at].acknowledged = (epoch, number);
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no acknowledged purge is served", |_, state: &State| {
                !state.served_purged
            }),
            Property::always("acknowledged settings are in force", |_, state: &State| {
                !state.served_on_older_settings
            }),
            Property::sometimes("every purge has its receipts", |fleet: &Fleet, state: &State| {
                state.envoys.iter().all(|envoy| envoy.receipt == fleet.purges)
            }),
        ]
    }
}

fn checked(envoys: usize, vms: usize, purges: u8, without: Without) -> impl Checker<Fleet> {
    let fleet = Fleet {
        envoys,
        vms,
        purges,
        without,
    };
    fleet.checker().spawn_bfs().join()
}

#[test]
fn what_a_receipt_promises_holds_in_every_state() {
    for (envoys, vms, purges) in [(1, 2, 1), (1, 2, 2), (2, 1, 1)] {
        let checker = checked(envoys, vms, purges, Without::Nothing);
        let states = checker.unique_state_count();
        println!("{envoys} Envoys of {vms} VMs, {purges} purges: {states} states");
        checker.assert_properties();
        assert!(states > 1_000, "{states}");
    }
}

#[test]
fn no_rule_can_be_left_out() {
    for (without, missed) in [
        (Without::Look, "no acknowledged purge is served"),
        (Without::Fence, "no acknowledged purge is served"),
        (Without::TierFirst, "no acknowledged purge is served"),
        (Without::Epoch, "acknowledged settings are in force"),
    ] {
        let checker = checked(1, 2, 1, without);
        assert!(checker.discovery(missed).is_some(), "{missed}");
    }
}
