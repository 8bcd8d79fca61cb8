//! Finds the eBPF object that `cargo xtask build` made. Without it everything else still builds, so that the
//! pure parts can be worked on anywhere; the agent then refuses to start with the sentence below.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=MILLSTREAM_BPF_DIR");
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let dir =
        env::var("MILLSTREAM_BPF_DIR").map_or_else(|_| manifest.join("../../target/bpf"), PathBuf::from);
    let object = dir.join("programs.o");
    println!("cargo:rerun-if-changed={}", object.display());

    let embedded = PathBuf::from(env::var("OUT_DIR")?).join("programs.o");
    if object.exists() {
        fs::copy(&object, &embedded)?;
    } else {
        fs::write(&embedded, [])?;
        println!(
            "cargo:warning=the eBPF object is not built, so this agent cannot capture: run `cargo xtask build`"
        );
    }
    Ok(())
}
