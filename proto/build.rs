//! Compiles the .proto files without an external compiler.
fn main() {}
