//! What a VM counts: in linear memory on the request path, handed over as a mergeable delta on the tick.

mod intern;
mod recorder;
mod sampler;
mod store_miss_reasons;
mod top;
mod upstreams;

pub use intern::Name;
pub use recorder::{Recorder, Sample};
pub use store_miss_reasons::StoreMissReasons;
pub use top::{Measure, Ranked, TopKeys};
pub use upstreams::Connections;
