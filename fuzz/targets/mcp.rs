//! Messages of an MCP server on its standard output, and what their results become.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    perstack::skill::mcp::fuzzing::messages(bytes);
});
