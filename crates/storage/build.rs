//! Embedded migrations are read again when one of them changes.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
