//! Streamed answers on standard output, as events.

use std::time::Duration;

use anyhow::Result;

use super::Figures;
use crate::lab::{Client, Lab, Surroundings};
use crate::process;
use crate::server::{Options, Script, Server};

/// Bytes of the long answer.
const LONG_ANSWER: usize = 2_000_000;

/// Two megabytes of text in pieces of one word each, as fast as they come.
pub fn long_answer(lab: &Lab, client: &Client) -> Result<Option<Figures>> {
    let piece = "owls ";
    streamed(lab, client, piece, LONG_ANSWER / piece.len(), Duration::ZERO)
}

/// Words that come one by one, with a few milliseconds between.
pub fn paced_answer(lab: &Lab, client: &Client) -> Result<Option<Figures>> {
    streamed(lab, client, "owls ", 200, Duration::from_millis(5))
}

fn streamed(lab: &Lab, client: &Client, piece: &str, count: usize, pause: Duration) -> Result<Option<Figures>> {
    if *client != Client::Ours {
        return Ok(None);
    }
    let around = Surroundings::default();
    let folder = lab.folder(&around)?;
    let script = Script::Pieces { count, piece: piece.to_owned(), pause };
    let server = Server::start(script, Options::default())?;
    let mut command = lab.job(client, folder.path(), &server, &around)?;
    let ended = process::run(command.args(["--output", "jsonl"]), folder.path(), |_| Ok(()))?;
    Ok(Some(Figures::from([
        ("output_mb", ended.output_bytes as f64 / 1e6),
        ("bytes_a_delta", ended.output_bytes as f64 / count as f64),
    ])))
}
