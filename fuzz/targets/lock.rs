//! `perstack.lock`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = perstack::config::lockfile::read(&perstack_fuzz::file("perstack.lock", bytes));
});
