//! Takes exports off the built filter.
//!
//! The SDK exports every callback of the Proxy-Wasm ABI, and Envoy calls each one that is exported. A call into the VM costs about as
//! much as a lookup in the cache. Those named here are answered by the SDK without the filter: a module without them behaves the same,
//! and Envoy takes the answer for granted (`proxy_on_done`: yes; bodies and trailers: go on).

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{ExportSection, Module};

/// Callbacks that the filter leaves to the SDK.
const UNUSED: [&str; 3] = ["proxy_on_done", "proxy_on_request_body", "proxy_on_request_trailers"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path] = arguments.as_slice() else {
        eprintln!("usage: filter-trim FILTER.wasm");
        return ExitCode::FAILURE;
    };
    match trim_file(Path::new(path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Trims a module in its place. The file is replaced, not written to: cargo keeps the built one under a second name.
fn trim_file(path: &Path) -> Result<(), Box<dyn Error>> {
    let trimmed = trim(&std::fs::read(path)?)?;
    let new = path.with_extension("wasm.trimmed");
    std::fs::write(&new, trimmed)?;
    std::fs::rename(&new, path)?;
    Ok(())
}

/// A module without the exports that are not used. Everything else stays as it is.
fn trim(module: &[u8]) -> Result<Vec<u8>, reencode::Error> {
    let mut trimmed = Module::new();
    utils::parse_core_module(&mut Trim, &mut trimmed, wasmparser::Parser::new(0), module)?;
    Ok(trimmed.finish())
}

struct Trim;

impl Reencode for Trim {
    type Error = std::convert::Infallible;

    fn parse_export(
        &mut self,
        exports: &mut ExportSection,
        export: wasmparser::Export<'_>,
    ) -> Result<(), reencode::Error<Self::Error>> {
        if UNUSED.contains(&export.name) {
            return Ok(());
        }
        utils::parse_export(self, exports, export)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{CodeSection, ExportKind, Function, FunctionSection, TypeSection};

    fn module(names: &[&str]) -> Vec<u8> {
        let (mut types, mut functions, mut exports, mut code) = (
            TypeSection::new(),
            FunctionSection::new(),
            ExportSection::new(),
            CodeSection::new(),
        );
        types.ty().function([], []);
        functions.function(0);
        names.iter().for_each(|name| {
            exports.export(name, ExportKind::Func, 0);
        });
        let mut body = Function::new([]);
        body.instructions().end();
        code.function(&body);
        let mut module = Module::new();
        module
            .section(&types)
            .section(&functions)
            .section(&exports)
            .section(&code);
        module.finish()
    }

    #[test]
    fn unused_exports_go_and_all_else_stays() {
        let all = module(&[
            "proxy_on_log",
            "proxy_on_done",
            "proxy_on_request_body",
            "proxy_on_delete",
        ]);
        let trimmed = trim(&all).unwrap();
        assert_eq!(trimmed, module(&["proxy_on_log", "proxy_on_delete"]));
        assert_eq!(trim(&trimmed).unwrap(), trimmed, "once more changes nothing");
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert!(trim(b"\0asm of the text kind").is_err());
    }
}
