//! Verified sharing: does a stored response say what the origin would have told this client? Pure decisions: what to ask, what the answers
//! mean, how much may be asked.

pub mod budget;
pub mod content;
pub mod fields;
pub mod inquiry;
#[cfg(test)]
mod inquiry_tests;

pub use budget::Budget;
pub use content::Mask;
pub use fields::Field;
pub use inquiry::{Inquiry, Probe, Verdict};
