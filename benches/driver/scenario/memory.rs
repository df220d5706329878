//! Memory of a job while its last request is under way.

use std::fs;

use anyhow::{Context as _, Result};

use super::Figures;
use crate::lab::{Client, Lab, Surroundings};
use crate::process;
use crate::server::{Options, Server};

/// Steps and bytes a step of a conversation of 20 megabytes.
const LARGE_STEPS: usize = 210;
const LARGE_FILE: usize = 96_000;

/// A job of ten steps.
pub fn small(lab: &Lab, client: &Client) -> Result<Option<Figures>> {
    at_last_request(lab, client, 10, &Surroundings::default()).map(Some)
}

/// A job whose conversation has 20 megabytes at its end.
pub fn large(lab: &Lab, client: &Client) -> Result<Option<Figures>> {
    if matches!(client, Client::Floor | Client::Peer(_)) {
        // The floor's files would have two gigabytes.
        return Ok(None);
    }
    let around = Surroundings { file_size: LARGE_FILE, ..Surroundings::endless() };
    at_last_request(lab, client, LARGE_STEPS, &around).map(Some)
}

fn at_last_request(lab: &Lab, client: &Client, steps: usize, around: &Surroundings) -> Result<Figures> {
    let folder = lab.folder(around)?;
    let server = Server::start(client.reading(steps), Options { hold: Some(steps), ..Options::default() })?;
    let mut figures = Figures::new();
    process::run(&mut lab.job(client, folder.path(), &server, around)?, folder.path(), |process| {
        server.wait_for(steps)?;
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        figures.insert("private_mb", private_mb(process)?);
        figures.insert("resident_mb", kilobytes(&rollup(process)?, "Rss:")? / 1e3);
        figures.insert("peak_mb", kilobytes(&status, "VmHWM:")? / 1e3);
        server.release();
        Ok(())
    })?;
    Ok(figures)
}

fn rollup(process: u32) -> Result<String> {
    fs::read_to_string(format!("/proc/{process}/smaps_rollup"))
        .context("memory of a process that is closed to others is root's to read")
}

/// The megabytes that are a process's alone however many of its kind there are: what it has written. Pages of the
/// program that nobody else has mapped at the moment are not among them; a second process would share them.
pub fn private_mb(process: u32) -> Result<f64> {
    Ok(kilobytes(&rollup(process)?, "Private_Dirty:")? / 1e3)
}

/// The number of a line of `/proc`.
pub fn kilobytes(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    Ok(number.with_context(|| format!("no {name}"))?.parse::<f64>()? * 1.024)
}
