//! What a VM counts: in linear memory on the request path, handed over as a mergeable delta on the tick.

mod intern;
mod lost;
mod recorder;
mod sampler;
mod top;
mod upstreams;

pub use intern::Name;
pub use lost::Lost;
pub use recorder::{Recorder, Sample};
pub use top::{Measure, Ranked, TopKeys};
pub use upstreams::Connections;
