//! The Envoys that are compared, and an Envoy as the fastest origin at hand.

use e2e::bootstrap::{Bootstrap, Part};
use e2e::envoy::Envoy;
use e2e::ports::free_port;
use e2e::{Result, artefacts};
use std::fmt::Write;
use std::path::Path;

/// Content sizes, bytes.
pub(crate) const SIZES: [usize; 3] = [1_024, 10_240, 102_400];

/// Envoy's own cache filter, which its authors mark as work in progress.
const NATIVE_CACHE: &str = r#"- name: envoy.filters.http.cache
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.cache.v3.CacheConfig
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.http.cache.simple_http_cache.v3.SimpleHttpCacheConfig"#;

/// Routes that go around the filter.
const WITHOUT_FILTER: &str = r#"  typed_per_filter_config:
    envoy.filters.http.wasm:
      "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig
      disabled: true
"#;

/// Which processor runs what.
pub(crate) struct Cores {
    pub(crate) server: &'static str,
    pub(crate) load: &'static str,
}

/// An origin that answers `/{size}` with as many bytes, fresh for an hour, and `/no-store/{size}` with what may not be stored.
pub(crate) fn origin(folder: &Path, cores: &Cores) -> Result<Envoy> {
    let mut bootstrap = bare(("127.0.0.1".to_owned(), 9))?;
    let mut routes = String::new();
    for size in SIZES {
        direct(&mut routes, &format!("/{size}"), size, "max-age=3600");
        direct(&mut routes, &format!("/no-store/{size}"), size, "no-store");
    }
    bootstrap.parts.insert(Part::Routes, routes);
    started(&bootstrap, "origin", folder, cores.load)
}

/// Envoy with our filter. `/direct/{size}` is answered by Envoy itself and `/plain/no-store/{size}` forwarded, both without the filter.
pub(crate) fn ours(folder: &Path, cores: &Cores, origin: &Envoy) -> Result<Envoy> {
    let mut bootstrap = bare(("127.0.0.1".to_owned(), origin.address().port()))?;
    bootstrap.wasm = Some(artefacts::filter()?);
    let mut routes = String::new();
    for size in SIZES {
        direct(&mut routes, &format!("/direct/{size}"), size, "max-age=3600");
        routes.push_str(WITHOUT_FILTER);
    }
    routes.push_str("- match: { prefix: \"/plain/\" }\n  route: { cluster: origin, prefix_rewrite: \"/\" }\n");
    routes.push_str(WITHOUT_FILTER);
    bootstrap.parts.insert(Part::Routes, routes);
    started(&bootstrap, "ours", folder, cores.server)
}

/// Envoy with its own cache filter.
pub(crate) fn native(folder: &Path, cores: &Cores, origin: &Envoy) -> Result<Envoy> {
    let mut bootstrap = bare(("127.0.0.1".to_owned(), origin.address().port()))?;
    bootstrap.parts.insert(Part::Filter, NATIVE_CACHE.to_owned());
    started(&bootstrap, "native", folder, cores.server)
}

fn bare(origin: (String, u16)) -> Result<Bootstrap> {
    let mut bootstrap = Bootstrap::bare(free_port()?, free_port()?, origin);
    bootstrap.parts.insert(
        Part::RouteConfig,
        "max_direct_response_body_size_bytes: 1048576".to_owned(),
    );
    Ok(bootstrap)
}

fn started(bootstrap: &Bootstrap, name: &str, folder: &Path, core: &str) -> Result<Envoy> {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder)?;
    let mut envoy = Envoy::start_under(bootstrap, 1, &folder, &["taskset", "-c", core])?;
    envoy.wait_ready()?;
    Ok(envoy)
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
