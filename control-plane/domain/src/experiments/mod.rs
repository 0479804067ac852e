//! Guarded experiments: a change of settings on part of the fleet, judged beside a control group by what both arms do over the same time.
//!
//! [`trial`] decides, from counts and the time alone. The intervals behind it ([`mixture`]) hold at all times at once, so that looking at
//! every slot of time makes a wrong finding no likelier than the plan allows.

mod arms;
mod cohort;
mod compare;
mod mixture;
mod plan;
mod proposal;
mod record;
mod register;
mod trial;
mod warm_up;
mod words;

pub use arms::{Arms, Sample};
pub use cohort::{Cohort, MEASURED};
pub use compare::{Comparison, Difference};
pub use plan::{Goal, Plan, PlanRequest};
pub use proposal::{Proposal, of_limits, of_size, of_ttl};
pub use record::{CHANGE, Experiment, Figures, NAMED, Prediction, Source, TEXT};
pub use register::{Experiments, LOST_AFTER_MS, MAX_EXPERIMENTS};
pub use trial::{Rollout, Slot, Trial, Verdict};
pub use words::{Because, State};

#[cfg(test)]
mod simulation;
