//! `perstack.toml`.
#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = perstack::config::parse(text, Path::new("perstack.toml"));
});
