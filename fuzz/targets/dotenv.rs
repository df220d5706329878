//! `.env` files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = perstack_fuzz::file("env", bytes);
    let folder = path.parent().expect("a folder").to_owned();
    let _ = perstack::config::environment([], &folder, &[path]);
});
