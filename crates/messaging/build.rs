//! Compiles `proto-schemas/` with protox, so that no system `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../proto-schemas";
    let schemas = protox::compile(["busbar/v1/wakeup.proto"], [root])?;
    prost_build::Config::new().bytes([".busbar.v1.WakeUp.ids"]).compile_fds(schemas)?;
    println!("cargo:rerun-if-changed={root}");
    Ok(())
}
