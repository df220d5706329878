//! Leaves the tables for unwinding out of the release build: 1.5 of 20 MB.
//!
//! The program ends at its first panic (`src/cli/bug.rs`) and is built without code to unwind with, but rustc makes the
//! tables of all functions nevertheless. With them goes the list of calls behind a panic, which names no function in a
//! binary without symbols; the place of the panic stays.

#![expect(clippy::disallowed_methods, reason = "Cargo hands everything over in the environment")]

use std::path::Path;
use std::{env, fs, io};

/// Adds to the linker's own script, which has all the rest.
const LINKER_SCRIPT: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) } } INSERT AFTER .text;\n";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    // The linkers of other systems take no scripts, nor does each that a user may have chosen.
    if is("CARGO_CFG_TARGET_OS", "linux")
        && is("PROFILE", "release")
        && !has_chosen_linker()
        && let Some(out) = env::var_os("OUT_DIR")
    {
        let script = Path::new(&out).join("no-unwind-tables.ld");
        fs::write(&script, LINKER_SCRIPT)?;
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    }
    Ok(())
}

/// Whether the linker is another one than the compiler's own.
fn has_chosen_linker() -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    env::var_os("RUSTC_LINKER").is_some() || flags.contains("fuse-ld") || flags.contains("linker")
}

fn is(name: &str, value: &str) -> bool {
    env::var_os(name).is_some_and(|found| found == value)
}
