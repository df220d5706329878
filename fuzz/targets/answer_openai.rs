//! OpenAI Responses: an answer, from its bytes to a generation.
#![no_main]

use perstack::setting::{ProviderName, ProviderSetting};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    perstack_fuzz::answer(ProviderName::OpenAi, &ProviderSetting::default(), "text/event-stream", bytes);
});
