//! What a VM counts: in linear memory on the request path, handed over as a mergeable delta on the tick.

mod intern;
mod recorder;
mod upstreams;

pub use intern::Name;
pub use recorder::{Recorder, Sample};
pub use upstreams::{Connections, UpstreamOf};
