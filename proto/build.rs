//! Generates the messages (and, with feature `grpc`, client and server) from the .proto files, with no external
//! compiler.
use std::path::PathBuf;

const FILES: [&str; 4] = [
    "optimizer/v1/cache_backend.proto",
    "optimizer/v1/control.proto",
    "optimizer/v1/replica.proto",
    "optimizer/v1/telemetry.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let with_grpc = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    tonic_prost_build::configure()
        .build_client(with_grpc)
        .build_server(with_grpc)
        // The generated constructor over a transport would be named like the rpc Connect; callers pass a channel to
        // `new`.
        .build_transport(false)
        // It carries a secret.
        .skip_debug([".optimizer.v1.Welcome"])
        .out_dir(out_dir)
        .compile_fds(descriptors)?;
    Ok(())
}
