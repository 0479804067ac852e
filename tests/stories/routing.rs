//! What Envoy's routing makes of requests, and what the cache makes of that: nothing that Envoy sends elsewhere, or changes on the way,
//! is taken for the same.

mod behind;
mod bench;
mod destinations;
mod keys;
mod refresh;
mod replies;
