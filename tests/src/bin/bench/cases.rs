//! What is measured, and against what.

use crate::contenders::Lineup;
use crate::load::Load;
use crate::target::{Peer, Target};
use e2e::machine::program;

/// The limit: Envoy answers by itself.
pub(crate) const DIRECT: &str = "Envoy direct_response";
/// The limit for anything that is a Proxy-Wasm filter: Envoy answers by itself, behind a filter that does nothing.
pub(crate) const IDLE_DIRECT: &str = "direct_response, idle Wasm filter";
/// Envoy forwards through a filter that does nothing.
pub(crate) const IDLE_FORWARDED: &str = "forwarded, idle Wasm filter";
/// A hit of ours.
pub(crate) const HIT: &str = "our hit";
/// The same without copies in the worker's own memory.
pub(crate) const NO_COPIES: &str = "our hit, no copies";
/// A hit of ours, as a dynamic module.
pub(crate) const MODULE: &str = "our hit, dynamic module";
/// The same with two workers. Over one: what sharing costs, by which two workers serve less than twice as much.
pub(crate) const MODULE_TWO: &str = "our hit, dynamic module, two workers";
/// Envoy forwards through our dynamic module what may not be stored.
pub(crate) const MODULE_FORWARDED: &str = "forwarded, our dynamic module";
/// A hit of Envoy's own cache filter.
pub(crate) const NATIVE: &str = "Envoy's cache filter";
/// A hit of nginx.
pub(crate) const NGINX: &str = "nginx proxy_cache";
/// A hit of Varnish.
pub(crate) const VARNISH: &str = "Varnish";
/// Envoy forwards and knows no filter.
pub(crate) const PLAIN: &str = "forwarded, no filter";
/// Envoy forwards through our filter what may not be stored.
pub(crate) const FORWARDED: &str = "forwarded, our filter";

/// One thing to measure.
pub(crate) struct Case {
    pub(crate) name: String,
    /// Size of the content.
    pub(crate) size: usize,
    /// The name of the case with the same size that this is divided by.
    pub(crate) base: String,
    pub(crate) target: Target,
    pub(crate) path: String,
    pub(crate) load: Load,
}

impl Case {
    /// Names it among all.
    pub(crate) fn key(&self) -> String {
        key(&self.name, self.size)
    }

    /// What it is divided by.
    pub(crate) fn base_key(&self) -> String {
        key(&self.base, self.size)
    }
}

/// Names a case: `our hit, 1 KB`.
pub(crate) fn key(name: &str, size: usize) -> String {
    format!("{name}, {} KB", size / 1_024)
}

/// Every case that can be measured here, and the names of those that cannot.
pub(crate) fn all(lineup: &mut Lineup, sizes: &[usize]) -> (Vec<Case>, Vec<String>) {
    let mut cases = Cases::default();
    let ours = Target::of(&mut lineup.ours);
    let two = Target::of(&mut lineup.two_workers);
    let no_copies = Target::of(&mut lineup.no_copies);
    let module = Target::of(&mut lineup.module);
    let idle = Target::of(&mut lineup.pass_through);
    let native = Target::of(&mut lineup.native);
    let nginx = cases.peer(NGINX, lineup.nginx.as_ref());
    let varnish = cases.peer(VARNISH, lineup.varnish.as_ref());
    for size in sizes.iter().copied() {
        cases.size = size;
        let (stored, unstored) = (format!("/{size}"), format!("/no-store/{size}"));
        cases.add(DIRECT, DIRECT, ours, &format!("/direct{stored}"), Load::Http1);
        cases.add(IDLE_DIRECT, DIRECT, idle, &format!("/direct{stored}"), Load::Http1);
        cases.add(HIT, DIRECT, ours, &stored, Load::Http1);
        cases.add(NO_COPIES, DIRECT, no_copies, &stored, Load::Http1);
        cases.add(MODULE, DIRECT, module, &stored, Load::Http1);
        cases.add(NATIVE, DIRECT, native, &stored, Load::Http1);
        for (name, peer) in [(NGINX, nginx), (VARNISH, varnish)] {
            cases.add_if(name, DIRECT, peer, &stored, Load::Http1);
        }
        cases.add(PLAIN, PLAIN, ours, &format!("/plain{unstored}"), Load::Http1);
        cases.add(IDLE_FORWARDED, PLAIN, idle, &unstored, Load::Http1);
        cases.add(FORWARDED, PLAIN, ours, &unstored, Load::Http1);
        cases.add(MODULE_FORWARDED, PLAIN, module, &unstored, Load::Http1);
        cases.add("our miss, stored", PLAIN, ours, &stored, Load::Misses);
        cases.add("our miss, stored, dynamic module", PLAIN, module, &stored, Load::Misses);
        cases.add("miss of Envoy's cache, stored", PLAIN, native, &stored, Load::Misses);
        cases.add_if("nginx miss, stored", PLAIN, nginx, &stored, Load::Misses);
        cases.add_if("Varnish miss, stored", PLAIN, varnish, &stored, Load::Misses);
    }
    cases.size = sizes.iter().copied().min().unwrap_or_default();
    cases.small(ours, two);
    let stored = format!("/{}", cases.size);
    let two_modules = Target::of(&mut lineup.module_two_workers);
    cases.add(MODULE_TWO, MODULE, two_modules, &stored, Load::Http1);
    (cases.found, cases.skipped)
}

#[derive(Default)]
struct Cases {
    found: Vec<Case>,
    skipped: Vec<String>,
    size: usize,
}

impl Cases {
    fn peer(&mut self, name: &str, peer: Option<&Peer>) -> Option<Target> {
        if peer.is_none() {
            self.skipped.push(format!("{name} is not installed"));
        }
        peer.map(|peer| peer.target)
    }

    fn add(&mut self, name: &str, base: &str, target: Target, path: &str, load: Load) {
        self.found.push(Case {
            name: name.to_owned(),
            size: self.size,
            base: base.to_owned(),
            target,
            path: path.to_owned(),
            load,
        });
    }

    fn add_if(&mut self, name: &str, base: &str, target: Option<Target>, path: &str, load: Load) {
        if let Some(target) = target {
            self.add(name, base, target, path, load);
        }
    }

    /// What one size is enough for: a slow origin, two workers, HTTP/2.
    fn small(&mut self, ours: Target, two: Target) {
        let (stored, direct) = (format!("/{}", self.size), format!("/direct/{}", self.size));
        let slow = format!("/slow/no-store/{}", self.size);
        let slow_plain = format!("{PLAIN}, 20 ms origin");
        self.add(&slow_plain, &slow_plain, ours, &format!("/plain{slow}"), Load::Wide);
        let name = format!("{FORWARDED}, 20 ms origin");
        self.add(&name, &slow_plain, ours, &slow, Load::Wide);
        let pairs = [("two workers", two, Load::Http1), ("HTTP/2", ours, Load::Http2)];
        for (how, target, load) in pairs {
            if load == Load::Http2 && program("h2load").is_none() {
                self.skipped.push("HTTP/2: h2load is not installed".to_owned());
                continue;
            }
            let base = format!("{DIRECT}, {how}");
            self.add(&base, &base, target, &direct, load);
            self.add(&format!("{HIT}, {how}"), &base, target, &stored, load);
        }
    }
}
