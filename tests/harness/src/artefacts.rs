//! Where the built files are.

use crate::{Failure, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The version that `envoy/install.sh` installs.
const ENVOY: &str = ".envoy/envoy-1.40.0";

/// Root of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("."))
}

/// In what form the filter runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// In Envoy's Wasm sandbox.
    Wasm,
    /// As a dynamic module of Envoy's.
    Native,
}

impl Shell {
    /// The one that `FILTER` names: `wasm`, which it is without one, or `native`.
    ///
    /// # Errors
    /// It names neither.
    pub fn asked_for() -> Result<Self> {
        match std::env::var("FILTER").as_deref() {
            Err(_) | Ok("" | "wasm") => Ok(Self::Wasm),
            Ok("native") => Ok(Self::Native),
            Ok(other) => Err(Failure::new(format!("FILTER is wasm or native, not {other}"))),
        }
    }

    /// The one that such a file is of.
    #[must_use]
    pub fn of(filter: &Path) -> Self {
        if filter.extension().is_some_and(|extension| extension == "so") {
            Self::Native
        } else {
            Self::Wasm
        }
    }

    /// The shipped filter in this form.
    ///
    /// # Errors
    /// It is not built.
    pub fn filter(self) -> Result<PathBuf> {
        match self {
            Self::Wasm => wasm_filter(),
            Self::Native => native_filter(),
        }
    }

    /// The filter with the test trigger in this form.
    ///
    /// # Errors
    /// It is not built.
    pub fn trap_filter(self) -> Result<PathBuf> {
        match self {
            Self::Wasm => trap_filter(),
            Self::Native => panic_filter(),
        }
    }
}

/// The shipped filter, in the form that `FILTER` names.
///
/// # Errors
/// It is not built.
pub fn filter() -> Result<PathBuf> {
    Shell::asked_for()?.filter()
}

/// The filter as a dynamic module; beside a program of the profile `demo`, that of that profile. `OPTIMIZER_NATIVE` names another file.
///
/// # Errors
/// It is not built.
pub fn native_filter() -> Result<PathBuf> {
    let path = || {
        let of = if profile()?.ends_with("demo") { "demo" } else { "native" };
        Ok(target()?.join(of).join("libapi_optimizer_filter_native.so"))
    };
    found("OPTIMIZER_NATIVE", path, "make native")
}

/// The same with the test trigger. `OPTIMIZER_PANIC_NATIVE` names another file.
///
/// # Errors
/// It is not built.
pub fn panic_filter() -> Result<PathBuf> {
    let path = || Ok(target()?.join("panic/native/libapi_optimizer_filter_native.so"));
    found("OPTIMIZER_PANIC_NATIVE", path, "make native-panic")
}

/// The filter for Wasm; beside a program of the profile `demo`, the filter of that profile. `OPTIMIZER_WASM` names another file.
///
/// # Errors
/// It is not built.
pub fn wasm_filter() -> Result<PathBuf> {
    let path = || {
        let of = if profile()?.ends_with("demo") { "demo" } else { "wasm" };
        Ok(target()?
            .join("wasm32-wasip1")
            .join(of)
            .join("api_optimizer_filter.wasm"))
    };
    found("OPTIMIZER_WASM", path, "make wasm")
}

/// The same with the test trigger. `OPTIMIZER_TRAP_WASM` names another file.
///
/// # Errors
/// It is not built.
pub fn trap_filter() -> Result<PathBuf> {
    let path = || Ok(target()?.join("trap/wasm32-wasip1/wasm/api_optimizer_filter.wasm"));
    found("OPTIMIZER_TRAP_WASM", path, "make wasm-trap")
}

/// The filter that does nothing. `OPTIMIZER_PASS_THROUGH_WASM` names another file.
///
/// # Errors
/// It is not built.
pub fn pass_through_filter() -> Result<PathBuf> {
    let path = || Ok(target()?.join("wasm32-wasip1/wasm/examples/pass_through.wasm"));
    found("OPTIMIZER_PASS_THROUGH_WASM", path, "make wasm-pass-through")
}

/// The filter without a worker's own copies. `OPTIMIZER_NO_COPIES_WASM` names another file.
///
/// # Errors
/// It is not built.
pub fn no_copies_filter() -> Result<PathBuf> {
    let path = || Ok(target()?.join("no-copies/wasm32-wasip1/wasm/api_optimizer_filter.wasm"));
    found("OPTIMIZER_NO_COPIES_WASM", path, "make wasm-no-copies")
}

/// The control plane, built in the same profile as the caller. `OPTIMIZER_CONTROL_PLANE` names another file.
///
/// # Errors
/// It is not built.
pub fn control_plane() -> Result<PathBuf> {
    let path = || Ok(profile()?.join("api-optimizer-control-plane"));
    found(
        "OPTIMIZER_CONTROL_PLANE",
        path,
        "cargo build -p api-optimizer-control-plane",
    )
}

/// The operators' command line, beside the caller. `OPTIMIZER_CLI` names another file.
///
/// # Errors
/// It is not built.
pub fn command_line() -> Result<PathBuf> {
    found(
        "OPTIMIZER_CLI",
        || Ok(profile()?.join("optimizer")),
        "cargo build -p optimizer-cli",
    )
}

/// The demo API, beside the caller.
///
/// # Errors
/// It is not built.
pub fn demo_api() -> Result<PathBuf> {
    found(
        "OPTIMIZER_DEMO_API",
        || Ok(profile()?.join("demo-api")),
        "cargo build -p harness",
    )
}

/// Envoy: `ENVOY_BIN`, or the installed one.
///
/// # Errors
/// There is none.
pub fn envoy() -> Result<PathBuf> {
    found("ENVOY_BIN", || Ok(workspace().join(ENVOY)), "envoy/install.sh")
}

/// Whether Envoy is of this version or a newer one; the installed one is.
#[must_use]
pub fn envoy_is_at_least(version: (u32, u32)) -> bool {
    static TOLD: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    let told = TOLD.get_or_init(|| {
        let binary = std::env::var_os("ENVOY_BIN").filter(|value| !value.is_empty())?;
        let output = Command::new(binary).arg("--version").output().ok()?;
        version_in(&String::from_utf8_lossy(&output.stdout))
    });
    told.is_none_or(|own| own >= version)
}

/// Of `/usr/bin/envoy  version: 9c3ee41/1.36.4/Clean/RELEASE/BoringSSL`.
fn version_in(told: &str) -> Option<(u32, u32)> {
    let (_, told) = told.split_once("version: ")?;
    let mut numbers = told.split('/').nth(1)?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn found(variable: &str, path: impl FnOnce() -> Result<PathBuf>, remedy: &str) -> Result<PathBuf> {
    let path = match std::env::var_os(variable).filter(|value| !value.is_empty()) {
        Some(value) => PathBuf::from(value),
        None => path()?,
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::new(format!(
        "{} is missing: run `{remedy}`, or set {variable}",
        path.display()
    )))
}

/// `target/debug` or `target/release`: the folder of the running binary, or the one above for a test in `deps`.
fn profile() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own
        .parent()
        .ok_or_else(|| Failure::new("the running program has no folder"))?;
    let folder = if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    Ok(folder.to_owned())
}

fn target() -> Result<PathBuf> {
    let profile = profile()?;
    Ok(profile.parent().unwrap_or(&profile).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_envoy_tells() {
        let told = "\n/usr/bin/envoy  version: 9c3ee41/1.36.4/Clean/RELEASE/BoringSSL\n\n";
        assert_eq!(version_in(told), Some((1, 36)));
        assert_eq!(version_in("bash: envoy: not found"), None);
    }
}
