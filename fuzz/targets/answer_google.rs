//! Gemini generateContent: an answer, from its bytes to a generation.
#![no_main]

use perstack::setting::{ProviderName, ProviderSetting};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    perstack_fuzz::answer(ProviderName::Google, &ProviderSetting::default(), "text/event-stream", bytes);
});
