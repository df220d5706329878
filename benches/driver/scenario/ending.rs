//! The end of a job whose skill's server goes on for a while after its input has ended.

use anyhow::{Context as _, Result};

use super::{Figures, millis};
use crate::lab::{Client, Lab, Surroundings};
use crate::process;
use crate::server::{Call, Options, Script, Server};

/// How long the server goes on.
const LINGERING_MS: u64 = 300;

/// A job that uses the server once and then answers.
pub fn lingering(lab: &Lab, client: &Client) -> Result<Option<Figures>> {
    if *client != Client::Ours {
        return Ok(None);
    }
    let around = Surroundings { skills: 1, tools: 1, lingering_ms: LINGERING_MS, ..Surroundings::default() };
    let folder = lab.folder(&around)?;
    let call = Call::new("find_0_0", serde_json::json!({"words": ["owl"]}));
    let server = Server::start(Script::Steps { answers: 2, call }, Options::default())?;
    let ended = process::run(&mut lab.job(client, folder.path(), &server, &around)?, folder.path(), |_| Ok(()))?;
    let answered = server.arrivals().last().and_then(|last| last.answered).context("no last answer")?;
    let printed = ended.first_output.context("no answer was printed")?;
    Ok(Some(Figures::from([("printed_ms", millis(answered, printed)), ("exit_ms", millis(answered, ended.finished))])))
}
