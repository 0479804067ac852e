//! The stored responses of an Envoy: one bounded store in process-wide shared data, common to all workers.
//!
//! Shared data has no delete and no listing, so the store lives under a fixed set of keys: directory pages, which are the truth
//! about what is stored, and slots, which hold the responses. A key's hash names its page; a record of the page names its slot.
//! Slots belong to pages, so a page's compare-and-swap also allocates: no slot can be lost. A record appears before its response
//! is written and disappears before it is erased; in between a lookup misses. A ledger holds the totals against which every
//! insertion is reserved before it becomes visible.
//!
//! A [`Store`] and a [`InvalidationLog`] are one worker's handles: they hold configuration, caches and unflushed hits, never truth.

mod account;
mod codec;
mod directory;
mod entry;
mod evict;
mod hot;
mod insert;
mod invalidation_log;
mod invalidation_table;
mod iterate;
mod known_pages;
mod ledger;
mod limits;
mod lookup;
mod page;
mod page_queue;
mod plan;
mod record;
mod slot;
#[allow(clippy::module_inception)]
mod store;
mod sweep;
#[cfg(test)]
mod tests;
mod touch;
mod vary;

pub use entry::{Cursor, Entry, EntryId, Events, Exported, Found, Inserted, StoreError, Surveyed, TRAILER_LEN, Usage};
/// Which response goes first when the store is full.
pub use eviction::Policy as Eviction;
pub use invalidation_log::{InvalidationLog, KeyParts, PurgeError, PurgeGeneration, Verdict};
pub use limits::Limits;
pub use store::Store;
pub use vary::VaryNames;
