//! Cassettes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = perstack::replay::Cassette::load(&perstack_fuzz::file("tape.cassette", bytes));
});
