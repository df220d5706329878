//! Bedrock Converse: an answer, from its events to a generation. The input is a line of JSON per event.
#![no_main]

use perstack::setting::{ProviderName, ProviderSetting};

libfuzzer_sys::fuzz_target!(|lines: &[u8]| {
    let bytes = perstack::provider::event_stream::stream(lines);
    let content_type = "application/vnd.amazon.eventstream";
    perstack_fuzz::answer(ProviderName::AmazonBedrock, &ProviderSetting::default(), content_type, &bytes);
});
