//! Delegates that are called at once.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Figures, millis};
use crate::lab::{Client, Lab, Surroundings};
use crate::process;
use crate::server::{Call, Options, Script, Server};

/// Delegates that a job has at work at a time, unless its configuration allows more.
const DEFAULT_PARALLEL: usize = 8;
/// The key that allows more.
const PARALLEL_KEY: &str = "maxParallelDelegates";

/// From the last byte of the answer that calls this many delegates to the first request of the last of them.
pub fn all_ask(lab: &Lab, client: &Client, count: usize) -> Result<Option<Figures>> {
    if *client != Client::Ours {
        return Ok(None);
    }
    let mut toml = "maxSteps = 1000\n".to_owned();
    if count > DEFAULT_PARALLEL && lab.knows_key(PARALLEL_KEY)? {
        let _ = writeln!(toml, "{PARALLEL_KEY} = {count}");
    }
    toml += "[experts.librarian]\ninstruction = \"You coordinate.\"\ndelegates = [\"reader\"]\n\
             [experts.reader]\ninstruction = \"You read one book.\"\ndescription = \"Reads a book.\"\n";
    let folder = lab.folder(&Surroundings { toml, ..Surroundings::default() })?;
    let call = |number: usize| Call::new("reader", json!({"query": format!("Read book {number}.")}));
    let script = Script::Delegates { calls: (0..count).map(call).collect() };
    let server = Server::start(script, Options::default())?;
    let mut command = lab.ours();
    Lab::lead_to(&mut command, &server);
    process::run(command.args(["run", "librarian", "Which owls?"]), folder.path(), |_| Ok(()))?;
    let arrivals = server.arrivals();
    // One of the coordinator, one of each delegate, and the coordinator's last.
    let asked = arrivals.first().and_then(|first| first.answered).context("no first answer")?;
    let last = arrivals.get(count).context("a delegate did not ask")?;
    Ok(Some(Figures::from([("all_asked_ms", millis(asked, last.at))])))
}
