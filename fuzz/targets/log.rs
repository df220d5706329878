//! A Run's log.
#![no_main]

use perstack::store::LogReader;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = LogReader::open(&perstack_fuzz::file("log.jsonl", bytes)) else { return };
    while let Ok(Some(_)) = reader.next_entry() {}
});
