//! Checkpoint files, the original's form too.
#![no_main]

use std::path::Path;

use perstack::store::Store;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Store::new(Path::new("/nonexistent")).read_checkpoint(&perstack_fuzz::file("checkpoint.json", bytes));
});
