//! One request as pure decisions: values and a clock reading in, what to do out.

mod asked;
mod lookup;

pub use asked::Asked;
pub use lookup::{Decision, Missing, decide};
