//! Finishes the built filter: which callbacks of the Proxy-Wasm ABI it exports, and by what they are answered.
//!
//! The SDK exports every callback, and Envoy calls each one that is exported. A call into the VM costs about as much as a lookup in the
//! cache. Some are taken off: Envoy takes their answer for granted (`proxy_on_done`: yes), and where contexts are not told of, it leaves it to the module what it knows of them. Others are answered by functions of the filter in
//! place of the SDK's.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{ExportSection, Module};

/// Callbacks that the filter does without.
const UNUSED: [&str; 3] = ["proxy_on_context_create", "proxy_on_delete", "proxy_on_done"];

/// Callbacks, and the filter's functions that answer them.
const OWN: [(&str, &str); 9] = [
    ("proxy_on_vm_start", "root_vm_start"),
    ("proxy_on_configure", "root_configure"),
    ("proxy_on_request_headers", "stream_request_headers"),
    ("proxy_on_request_body", "stream_request_body"),
    ("proxy_on_request_trailers", "stream_request_trailers"),
    ("proxy_on_response_headers", "stream_response_headers"),
    ("proxy_on_response_body", "stream_response_body"),
    ("proxy_on_response_trailers", "stream_response_trailers"),
    ("proxy_on_log", "stream_log"),
];

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

/// A module with the exports that are used. Everything else stays as it is. One that is finished stays as it is, too.
fn trim(module: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let own = own_functions(module)?;
    if !own.is_empty() && own.len() < OWN.len() {
        return Err("some of the filter's own callbacks are missing".into());
    }
    let mut trimmed = Module::new();
    utils::parse_core_module(&mut Trim { own }, &mut trimmed, wasmparser::Parser::new(0), module)?;
    Ok(trimmed.finish())
}

/// The functions of [`OWN`], by the callback that each answers.
fn own_functions(module: &[u8]) -> Result<HashMap<&'static str, u32>, wasmparser::BinaryReaderError> {
    let mut own = HashMap::new();
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        let wasmparser::Payload::ExportSection(exports) = payload? else {
            continue;
        };
        for export in exports {
            let export = export?;
            if let Some((callback, _)) = OWN.iter().find(|(_, name)| *name == export.name) {
                own.insert(*callback, export.index);
            }
        }
    }
    Ok(own)
}

struct Trim {
    own: HashMap<&'static str, u32>,
}

impl Reencode for Trim {
    type Error = std::convert::Infallible;

    fn parse_export(
        &mut self,
        exports: &mut ExportSection,
        mut export: wasmparser::Export<'_>,
    ) -> Result<(), reencode::Error<Self::Error>> {
        if UNUSED.contains(&export.name) || OWN.iter().any(|(_, own)| *own == export.name) {
            return Ok(());
        }
        if let Some(own) = self.own.get(export.name) {
            export.index = *own;
        }
        utils::parse_export(self, exports, export)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{CodeSection, ExportKind, Function, FunctionSection, TypeSection};

    /// A module that exports functions of these names and numbers.
    fn module(exported: &[(&str, u32)]) -> Vec<u8> {
        let (mut types, mut functions, mut exports, mut code) = (
            TypeSection::new(),
            FunctionSection::new(),
            ExportSection::new(),
            CodeSection::new(),
        );
        types.ty().function([], []);
        for _ in 0..20 {
            functions.function(0);
            let mut body = Function::new([]);
            body.instructions().end();
            code.function(&body);
        }
        for (name, number) in exported {
            exports.export(name, ExportKind::Func, *number);
        }
        let mut module = Module::new();
        module
            .section(&types)
            .section(&functions)
            .section(&exports)
            .section(&code);
        module.finish()
    }

    #[test]
    fn unused_exports_go_own_ones_take_their_place_and_all_else_stays() {
        let mut before = vec![("memory_of_its_own", 19), ("proxy_on_tick", 18)];
        let mut after = before.clone();
        before.extend(UNUSED.map(|name| (name, 17)));
        for (number, (callback, own)) in (0..).zip(OWN) {
            before.push((callback, 16));
            before.push((own, number));
            after.push((callback, number));
        }
        let trimmed = trim(&module(&before)).unwrap();
        assert_eq!(trimmed, module(&after));
        assert_eq!(trim(&trimmed).unwrap(), trimmed, "once more changes nothing");
    }

    #[test]
    fn half_of_the_filters_own_callbacks_are_refused() {
        assert!(trim(&module(&[("stream_log", 1), ("proxy_on_log", 2)])).is_err());
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert!(trim(b"\0asm of the text kind").is_err());
    }
}
