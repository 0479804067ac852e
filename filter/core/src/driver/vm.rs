//! The state of one VM, and what its root context's callbacks do with it.
//!
//! It lives in a thread-local rather than in a root context: a configuration update makes a new root in the same VM while
//! streams of the old one finish, and both must see one cache index, one recorder and one control link.

use super::shared::key_secret;
use super::state::bootstrap::Bootstrap;
use super::state::link::Link;
use crate::Millis;
use crate::policy::{self, Policies};
use crate::shared_map::Cas;
use crate::store::{InvalidationLog, Store};
use crate::telemetry::Recorder;
use optimizer_proto::settings::Settings;
use std::cell::RefCell;
use std::rc::Rc;

/// A root context of this VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootId(pub u32);

/// The settings that this VM runs on.
#[derive(Debug, Default, Clone)]
pub(super) struct InForce {
    /// 0 with an empty epoch: the bootstrap settings.
    pub(super) revision: u64,
    pub(super) epoch: String,
    pub(super) seen: Option<Cas>,
}

/// One VM.
#[derive(Debug)]
pub struct Vm {
    pub(super) uid: u64,
    pub(super) root: Option<RootId>,
    pub(super) queue: u32,
    pub(super) membership: super::state::membership::Membership,
    pub(super) bootstrap: Bootstrap,
    pub(super) in_force: InForce,
    pub(super) key_secret: key_secret::Held,
    /// Swapped whole between two requests; a stream keeps the one it began with.
    pub(super) policies: Rc<Policies>,
    pub(super) store: Store,
    pub(super) invalidation_log: InvalidationLog,
    pub(super) recorder: Recorder,
    pub(super) figures: super::state::figures::Figures,
    pub(super) staleness: super::state::staleness_guard::StalenessGuard,
    pub(super) link: Link,
    pub(super) control: super::state::pending_acks::ControlState,
    pub(super) counts: super::state::count_budget::CountBudget,
    pub(super) background: super::state::refreshes::Background,
    pub(super) parked: super::state::parked::Parked,
    /// Bytes of content that requests wait with.
    pub(super) collecting: super::exchange::collected::Collecting,
    pub(super) upstreams: super::state::upstreams::Upstreams,
    pub(super) flights: super::exchange::flights::Flights,
    pub(super) learned: super::state::learned_routes::LearnedRoutes,
    pub(super) tier: super::exchange::tier_client::TierClient,
    pub(super) verifying: super::state::verifying::Verifying,
    pub(super) quarantine: super::state::local_quarantine::Quarantine,
    /// Bytes of response bodies being captured in this VM at the moment.
    pub(super) capturing: usize,
    pub(super) last_second_ms: Millis,
    /// A plugin configuration was taken.
    pub(super) configured: bool,
}

thread_local! {
    static VM: RefCell<Option<Vm>> = const { RefCell::new(None) };
}

/// Runs `work` on this VM's state. `None` when a callback is inside another one, or before the VM started: the caller then
/// lets the request pass.
pub fn with<R>(work: impl FnOnce(&mut Vm) -> R) -> Option<R> {
    VM.with(|cell| {
        let mut slot = cell.try_borrow_mut().ok()?;
        Some(work(slot.get_or_insert_with(Vm::new)))
    })
}

impl Vm {
    /// A VM that has not started yet. It serves with the built-in settings.
    #[must_use]
    pub fn new() -> Self {
        let settings = Settings::default();
        Self {
            uid: 0,
            root: None,
            queue: 0,
            membership: super::state::membership::Membership::default(),
            bootstrap: Bootstrap::default(),
            in_force: InForce::default(),
            key_secret: key_secret::Held::unset(),
            store: Store::new(policy::store_limits(&settings), policy::eviction(&settings)),
            invalidation_log: InvalidationLog::default(),
            policies: Rc::new(Policies::compile(&settings)),
            recorder: Recorder::default(),
            figures: super::state::figures::Figures::default(),
            staleness: super::state::staleness_guard::StalenessGuard::default(),
            link: Link::default(),
            control: super::state::pending_acks::ControlState::default(),
            counts: super::state::count_budget::CountBudget::default(),
            background: super::state::refreshes::Background::default(),
            parked: super::state::parked::Parked::default(),
            collecting: super::exchange::collected::Collecting::default(),
            upstreams: super::state::upstreams::Upstreams::default(),
            flights: super::exchange::flights::Flights::default(),
            learned: super::state::learned_routes::LearnedRoutes::default(),
            tier: super::exchange::tier_client::TierClient::default(),
            verifying: super::state::verifying::Verifying::default(),
            quarantine: super::state::local_quarantine::Quarantine::default(),
            capturing: 0,
            last_second_ms: 0,
            configured: false,
        }
    }
}

impl Default for Vm {
    fn default() -> Self {
        Self::new()
    }
}
