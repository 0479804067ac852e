//! A smaller run that still fails: shorter, with fewer faults, with fewer who act.

use crate::plan::{ACTORS, Plan, Violation};

/// Runs tried at most.
const MOST_RUNS: u32 = 300;

/// Looks for a smaller plan that still fails, and what fails in it. `run` says whether a plan fails.
pub fn shrink(plan: &Plan, violation: Violation, run: impl Fn(&Plan) -> Result<(), Violation>) -> (Plan, Violation) {
    let mut smallest = Smallest {
        plan: plan.clone(),
        violation,
        left: MOST_RUNS,
    };
    loop {
        let before = smallest.plan.to_string();
        smallest.shorten(&run);
        for (actor, _) in ACTORS {
            smallest.tries(&run, |plan| plan.without.insert(actor));
        }
        for number in [1, 2] {
            smallest.tries(&run, |plan| fewer(&mut plan.replicas, number));
            smallest.tries(&run, |plan| fewer(&mut plan.envoys, number));
            smallest.tries(&run, |plan| fewer(&mut plan.workers, number));
        }
        smallest.spare(&run);
        if smallest.plan.to_string() == before || smallest.left == 0 {
            return (smallest.plan, smallest.violation);
        }
    }
}

fn fewer(count: &mut usize, number: usize) -> bool {
    let is_fewer = number < *count;
    *count = number.min(*count);
    is_fewer
}

struct Smallest {
    plan: Plan,
    violation: Violation,
    left: u32,
}

impl Smallest {
    /// Takes a change over if the run still fails with it; `change` says whether it is one.
    fn tries(&mut self, run: impl Fn(&Plan) -> Result<(), Violation>, change: impl FnOnce(&mut Plan) -> bool) -> bool {
        let mut plan = self.plan.clone();
        if self.left == 0 || !change(&mut plan) {
            return false;
        }
        self.left -= 1;
        let Err(violation) = run(&plan) else { return false };
        (self.plan, self.violation) = (plan, violation);
        true
    }

    /// What happens after the violation shows is left out, or else half of the time.
    fn shorten(&mut self, run: &impl Fn(&Plan) -> Result<(), Violation>) {
        let at_ms = self.violation.at_ms;
        self.tries(run, |plan| {
            let is_shorter = at_ms < plan.troubled_ms;
            plan.troubled_ms = plan.troubled_ms.min(at_ms);
            is_shorter
        });
        while self.tries(run, |plan| {
            plan.troubled_ms /= 2;
            plan.troubled_ms > 1_000
        }) {}
    }

    /// Leaves out halves of the faults, then quarters, and at last single ones.
    fn spare(&mut self, run: &impl Fn(&Plan) -> Result<(), Violation>) {
        let mut size = self.violation.faults;
        while size > 0 {
            let mut from = 0;
            while from < self.violation.faults {
                let these = from..(from + size).min(self.violation.faults);
                self.tries(run, |plan| {
                    let before = plan.spared.len();
                    plan.spared.extend(these);
                    plan.spared.len() > before
                });
                from += size;
            }
            size /= 2;
        }
    }
}
