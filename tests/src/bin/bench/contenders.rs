//! The Envoys that are compared, an Envoy as the fastest origin at hand, and which processors they may use.

use crate::peers;
use crate::target::{Peer, Target};
use e2e::artefacts::Shell;
use e2e::bootstrap::{Bootstrap, Part};
use e2e::envoy::Envoy;
use e2e::ports::free_port;
use e2e::{Result, artefacts};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Content sizes, bytes.
pub(crate) const SIZES: [usize; 3] = [1_024, 10_240, 102_400];

/// Envoy's own cache filter, which its authors mark as work in progress.
const NATIVE_CACHE: &str = r#"- name: envoy.filters.http.cache
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.cache.v3.CacheConfig
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.http.cache.simple_http_cache.v3.SimpleHttpCacheConfig"#;

/// The origin takes 20 ms for what is below `/slow/`.
const SLOW: &str = r#"- name: envoy.filters.http.fault
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
    headers: [{ name: ":path", string_match: { prefix: "/slow/" } }]
    delay: { fixed_delay: 0.02s, percentage: { numerator: 100 } }"#;

/// Routes that go around the filter.
fn without_filter(shell: Shell) -> String {
    let name = match shell {
        Shell::Wasm => "wasm",
        Shell::Native => "dynamic_modules",
    };
    format!(
        "  typed_per_filter_config:\n    envoy.filters.http.{name}:\n      \"@type\": \
         type.googleapis.com/envoy.config.route.v3.FilterConfig\n      disabled: true\n"
    )
}

/// Which processors run what, as taskset takes it.
pub(crate) struct Cores {
    pub(crate) server: String,
    pub(crate) load: String,
}

impl Cores {
    /// Server and load on processors of their own where there are two, two for each where there are four.
    pub(crate) fn of_this_machine() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Self::among(&numbers(list.unwrap_or("0")))
    }

    fn among(allowed: &[usize]) -> Self {
        let each = if allowed.len() >= 4 { 2 } else { 1 };
        let list = |skip: usize| {
            let chosen: Vec<String> = allowed.iter().skip(skip).take(each).map(usize::to_string).collect();
            chosen.join(",")
        };
        Self {
            server: list(0),
            load: if allowed.len() > 1 { list(each) } else { list(0) },
        }
    }

    /// What starts a server: on its processors, and ended with the benchmark, however that ends.
    fn wrapper(core: &str) -> [&str; 6] {
        ["taskset", "-c", core, "setpriv", "--pdeathsig", "TERM"]
    }

    /// What starts a server under load.
    pub(crate) fn server_wrapper(&self) -> [&str; 6] {
        Self::wrapper(&self.server)
    }
}

/// `0-2,5` as numbers.
fn numbers(list: &str) -> Vec<usize> {
    let ranges = list.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

/// Everything that is measured, running.
pub(crate) struct Lineup {
    pub(crate) ours: Envoy,
    pub(crate) two_workers: Envoy,
    pub(crate) no_copies: Envoy,
    /// Ours as a dynamic module.
    pub(crate) module: Envoy,
    pub(crate) module_two_workers: Envoy,
    pub(crate) pass_through: Envoy,
    /// Envoy's own cache filter.
    pub(crate) native: Envoy,
    pub(crate) nginx: Option<Peer>,
    pub(crate) varnish: Option<Peer>,
    /// One more of ours, which nobody has asked yet.
    pub(crate) empty: Envoy,
    pub(crate) empty_module: Envoy,
    _origin: Envoy,
}

impl Lineup {
    /// Starts all of it, with files in `folder`.
    pub(crate) fn start(folder: &Path, cores: &Cores) -> Result<Self> {
        let mut origin = origin(folder, cores)?;
        let address = Target::of(&mut origin).address;
        let (wasm, module) = (artefacts::wasm_filter()?, artefacts::native_filter()?);
        let with = |filter: &Path, name, workers| ours(name, filter.to_owned(), folder, cores, address.port(), workers);
        Ok(Self {
            ours: with(&wasm, "ours", 1)?,
            two_workers: with(&wasm, "two-workers", 2)?,
            no_copies: with(&artefacts::no_copies_filter()?, "no-copies", 1)?,
            module: with(&module, "module", 1)?,
            module_two_workers: with(&module, "module-two-workers", 2)?,
            pass_through: pass_through(folder, cores, address.port())?,
            native: native(folder, cores, address.port())?,
            nginx: peers::nginx(folder, cores, address)?,
            varnish: peers::varnish(folder, cores, address)?,
            empty: with(&wasm, "empty", 1)?,
            empty_module: with(&module, "empty-module", 1)?,
            _origin: origin,
        })
    }
}

/// An origin that answers `/{size}` with as many bytes, fresh for an hour, and `/no-store/{size}` with what may not be stored;
/// `/slow/no-store/{size}` 20 ms later.
pub(crate) fn origin(folder: &Path, cores: &Cores) -> Result<Envoy> {
    let mut bootstrap = bare(9)?;
    let mut routes = String::new();
    for size in SIZES {
        direct(&mut routes, &format!("/{size}"), size, "max-age=3600");
        direct(&mut routes, &format!("/no-store/{size}"), size, "no-store");
        direct(&mut routes, &format!("/slow/no-store/{size}"), size, "no-store");
    }
    bootstrap.parts.insert(Part::Routes, routes);
    bootstrap.parts.insert(Part::Filter, SLOW.to_owned());
    started(&bootstrap, "origin", folder, 1, &Cores::wrapper(&cores.load))
}

/// Envoy with our filter. `/direct/{size}` is answered by Envoy itself and `/plain/…` forwarded, both without the filter.
pub(crate) fn ours(
    name: &str,
    filter: PathBuf,
    folder: &Path,
    cores: &Cores,
    origin: u16,
    workers: u32,
) -> Result<Envoy> {
    ours_under(name, filter, folder, &cores.server_wrapper(), origin, workers)
}

/// As [`ours`], started by a command of one's own.
pub(crate) fn ours_under(
    name: &str,
    filter: PathBuf,
    folder: &Path,
    wrapper: &[&str],
    origin: u16,
    workers: u32,
) -> Result<Envoy> {
    let mut bootstrap = bare(origin)?;
    let around = without_filter(Shell::of(&filter));
    bootstrap.wasm = Some(filter);
    let mut routes = direct_routes(&around);
    routes.push_str("- match: { prefix: \"/plain/\" }\n  route: { cluster: origin, prefix_rewrite: \"/\" }\n");
    routes.push_str(&around);
    bootstrap.parts.insert(Part::Routes, routes);
    started(&bootstrap, name, folder, workers, wrapper)
}

/// Envoy with a Proxy-Wasm filter that does nothing, in front of everything.
fn pass_through(folder: &Path, cores: &Cores, origin: u16) -> Result<Envoy> {
    let mut bootstrap = bare(origin)?;
    bootstrap.wasm = Some(artefacts::pass_through_filter()?);
    bootstrap.parts.insert(Part::Routes, direct_routes(""));
    started(&bootstrap, "pass-through", folder, 1, &cores.server_wrapper())
}

/// Envoy that answers `/direct/{size}` and has no origin, with our filter in front of it or without any.
pub(crate) fn started_alone(folder: &Path, cores: &Cores, filter: Option<Shell>, workers: u32) -> Result<Envoy> {
    let mut bootstrap = bare(9)?;
    bootstrap.wasm = filter.map(Shell::filter).transpose()?;
    bootstrap.parts.insert(Part::Routes, direct_routes(""));
    started(&bootstrap, "alone", folder, workers, &cores.server_wrapper())
}

/// Envoy with its own cache filter.
fn native(folder: &Path, cores: &Cores, origin: u16) -> Result<Envoy> {
    let mut bootstrap = bare(origin)?;
    bootstrap.parts.insert(Part::Filter, NATIVE_CACHE.to_owned());
    started(&bootstrap, "native", folder, 1, &cores.server_wrapper())
}

fn bare(origin: u16) -> Result<Bootstrap> {
    let mut bootstrap = Bootstrap::bare(free_port()?, free_port()?, ("127.0.0.1".to_owned(), origin));
    bootstrap.parts.insert(
        Part::RouteConfig,
        "max_direct_response_body_size_bytes: 1048576".to_owned(),
    );
    Ok(bootstrap)
}

fn started(bootstrap: &Bootstrap, name: &str, folder: &Path, workers: u32, wrapper: &[&str]) -> Result<Envoy> {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder)?;
    let mut envoy = Envoy::start_under(bootstrap, workers, &folder, wrapper)?;
    envoy.wait_ready()?;
    Ok(envoy)
}

/// `/direct/{size}` with as many bytes, each route with `options`.
fn direct_routes(options: &str) -> String {
    let mut routes = String::new();
    for size in SIZES {
        direct(&mut routes, &format!("/direct/{size}"), size, "max-age=3600");
        routes.push_str(options);
    }
    routes
}

fn direct(routes: &mut String, path: &str, size: usize, cache_control: &str) {
    let body = "x".repeat(size);
    let _ = write!(
        routes,
        "- match: {{ path: \"{path}\" }}\n  direct_response: {{ status: 200, body: {{ inline_string: \"{body}\" }} }}\n  \
         response_headers_to_add:\n    - header: {{ key: cache-control, value: \"{cache_control}\" }}\n    \
         - header: {{ key: content-type, value: application/json }}\n      append_action: OVERWRITE_IF_EXISTS_OR_ADD\n"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_and_load_share_no_processor_where_there_are_two() {
        assert_eq!(numbers("\t0-2,5"), [0, 1, 2, 5]);
        let of = |list: &str| {
            let cores = Cores::among(&numbers(list));
            (cores.server, cores.load)
        };
        assert_eq!(of("3"), ("3".to_owned(), "3".to_owned()));
        assert_eq!(of("0-1"), ("0".to_owned(), "1".to_owned()));
        assert_eq!(of("2,4-6"), ("2,4".to_owned(), "5,6".to_owned()));
    }
}
