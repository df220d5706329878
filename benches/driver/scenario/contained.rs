//! The cost of containment: steps that start a command each, contained and not.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Figures, memory, millis};
use crate::lab::{Client, Lab, Surroundings};
use crate::process;
use crate::server::{Call, Options, Script, Server};

/// Commands of a job, and one answer more.
const ANSWERS: usize = 41;

/// The further cost of each start, and the further memory of the runner.
pub fn starts(lab: &Lab, client: &Client) -> Result<Option<Figures>> {
    if *client != Client::Ours {
        return Ok(None);
    }
    let (plain, contained) = (job(lab, "off")?, job(lab, "required")?);
    Ok(Some(Figures::from([("start_extra_ms", contained.0 - plain.0), ("extra_mb", contained.1 - plain.1)])))
}

/// Milliseconds of a step, and the private megabytes of the runner behind the last.
fn job(lab: &Lab, sandbox: &str) -> Result<(f64, f64)> {
    let around = Surroundings::default();
    let folder = lab.folder(&around)?;
    let call = Call { name: "exec".to_owned(), arguments: json!({"command": "true", "args": []}) };
    let script = Script::Steps { answers: ANSWERS, call };
    let server = Server::start(script, Options { hold: Some(ANSWERS), ..Options::default() })?;
    let mut command = lab.job(&Client::Ours, folder.path(), &server, &around)?;
    command.args(["--sandbox", sandbox]);
    let mut private = 0.0;
    process::run(&mut command, folder.path(), |process| {
        server.wait_for(ANSWERS)?;
        private = memory::private_mb(process)?;
        server.release();
        Ok(())
    })?;
    let arrivals = server.arrivals();
    let (first, last) = (arrivals.first().context("no request")?, arrivals.last().context("no request")?);
    Ok((millis(first.at, last.at) / (ANSWERS - 1) as f64, private))
}
