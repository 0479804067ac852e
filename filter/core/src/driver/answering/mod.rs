//! Whether a request is answered with what is stored, and with what in place of a response that came. `GET /cache/explain` asks the same
//! code.

pub(super) mod explain;
pub(super) mod from_cache;
pub(super) mod replace;
