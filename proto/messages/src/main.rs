//! Writes `proto/src/generated` from the .proto files. The messages are kept there so that whoever only builds need not generate them:
//! compiler and generator are a third of all that a build of the filter would compile.
//!
//! `cargo run -p proto-messages` writes them; a test says when that was forgotten.

use prost::Message;
use prost_types::FileDescriptorSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

const FILES: [&str; 4] = [
    "optimizer/v1/cache_backend.proto",
    "optimizer/v1/control.proto",
    "optimizer/v1/replica.proto",
    "optimizer/v1/telemetry.proto",
];

const DESCRIPTORS: &str = "optimizer.v1.bin";

/// The crate of the contract.
fn proto() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn main() -> Result<(), Box<dyn Error>> {
    generate(&proto().join("src/generated"))
}

/// What gRPC's reflection answers with: without comments and lines, which are most of it.
fn without_sources(mut descriptors: FileDescriptorSet) -> Vec<u8> {
    descriptors
        .file
        .iter_mut()
        .for_each(|file| file.source_code_info = None);
    descriptors.encode_to_vec()
}

/// With no external compiler.
fn generate(folder: &Path) -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(FILES, [proto()])?;
    fs::write(folder.join(DESCRIPTORS), without_sources(descriptors.clone()))?;
    tonic_prost_build::configure()
        .client_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        // The generated constructor over a transport would be named like the rpc Connect; callers pass a channel to `new`.
        .build_transport(false)
        // It carries a secret.
        .skip_debug([".optimizer.v1.Welcome"])
        .emit_rerun_if_changed(false)
        .out_dir(folder)
        .compile_fds(descriptors)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_are_those_of_the_proto_files() {
        let folder = tempfile::tempdir().unwrap();
        generate(folder.path()).unwrap();
        for file in ["optimizer.v1.rs", DESCRIPTORS] {
            let read = |folder: &Path| fs::read(folder.join(file)).unwrap();
            assert!(
                read(folder.path()) == read(&proto().join("src/generated")),
                "write them anew: cargo run -p proto-messages"
            );
        }
    }
}
