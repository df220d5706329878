//! The tests' MCP server, a program of its own: `mcp_server KIND [FAULT...]`.
//!
//! | kind | is |
//! | --- | --- |
//! | `polite` | a server made with the protocol's Rust library, over stdio |
//! | `polite-http` | the same over streamable HTTP |
//! | `rough` | a server written by hand, over stdio, with the faults that its arguments name (see `fault.rs`) |
//! | `rough-sse` | the same over the older HTTP+SSE transport |
//! | `effects FILE` | a server over stdio whose tools leave traces in `FILE` |
//! | `reaching` | a server over stdio whose tool connects through the proxy of its environment |
//! | `guarded` | the same over streamable HTTP, for those with a token, which it gives out, too (see `guarded.rs`) |
//! | `elsewhere URL` | an HTTP server that redirects every request to `URL` |
//! | `status N` | an HTTP server that answers every request with status `N` |
//! | `mute` | an HTTP server that never answers |
//!
//! A server over HTTP takes a free port, says its URL in the first line of standard output, and ends with its standard
//! input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program of tests: it may fail loudly, and it tells what it sees of its parameters"
)]

mod effects;
mod fault;
mod guarded;
mod listing;
mod plain_http;
mod polite;
mod reaching;
mod refusing;
mod rough;
mod sse;
mod web;

use fault::Faults;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["polite", options @ ..] => polite::over_stdio(options),
        ["polite-http", options @ ..] => web::serve(options),
        ["rough", faults @ ..] => rough::over_stdio(Faults::parse(faults)),
        ["rough-sse", faults @ ..] => sse::serve(&Faults::parse(faults)),
        ["effects", file] => effects::over_stdio(file.as_ref()),
        ["reaching"] => reaching::over_stdio(),
        ["guarded", ways @ ..] => guarded::serve(ways),
        ["elsewhere", url] => refusing::serve(&refusing::ReservationRefusal::Redirect((*url).to_owned())),
        ["status", number] => refusing::serve(&refusing::ReservationRefusal::Status(number.parse().expect("a status"))),
        ["mute"] => refusing::serve(&refusing::ReservationRefusal::Silence),
        other => panic!("no such server: {other:?}"),
    }
}

/// Says where a server listens, then ends the program with its standard input: no test can leave one behind.
fn announce(url: &str) {
    println!("{url}");
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
}
