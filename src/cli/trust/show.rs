//! `perstack trust`: asks about the folder now, shows what there is to trust, or takes an agreement back.

use std::io::{self, Write};

use anyhow::anyhow;
use clap::Args;
use perstack::config::trust::record::TrustRecord;

use super::{ProjectTrust, can_ask, screen};
use crate::cli::failure::Failure;
use crate::cli::options::{ConfigArgs, ModelArgs};
use crate::cli::render::visible;
use crate::cli::setup::{ProjectNeed, Setup};
use crate::cli::{Exit, Process};

const AFTER_HELP: &str = "\
A perstack.toml is code, as a Makefile is: it starts programs and chooses addresses. On a terminal,
run, list-tools and install ask about a folder once, and again when its dangerous parts change.
Elsewhere programs are started unasked; only what sends your keys away is refused, unless
PERSTACK_TRUST is 1 or the digest that --show prints. Folders that you always trust are listed in
your config.toml: trustFolders = [\"~/work\"].";

/// Trusts this folder: what its configuration starts, sends and gives away
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct TrustCommandArgs {
    /// Show what there is to trust, and its digest; ask nothing
    #[arg(long, conflicts_with = "revoke")]
    show: bool,
    /// Take back what was agreed to for this folder
    #[arg(long)]
    revoke: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the command.
pub fn run(args: &TrustCommandArgs, process: &Process) -> Result<Exit, Failure> {
    let setup = Setup::read(process, &args.config.place(), &ModelArgs::default(), ProjectNeed::Required)?;
    let Some(trust) = ProjectTrust::read(&setup, process)? else { return Ok(Exit::Completed) };
    if args.revoke {
        return revoke(&trust);
    }
    let is_agreed_to = trust.is_agreed_to(&setup, process);
    if args.show {
        let state = match (trust.parts.is_empty(), is_agreed_to) {
            (true, _) => "there is nothing to trust in",
            (false, true) => "trusted:",
            (false, false) => "not trusted yet:",
        };
        return print(&format!("{state} {}\n{}", trust.folder.display(), screen::everything(&trust.parts)));
    }
    if trust.parts.is_empty() || is_agreed_to {
        let state = if is_agreed_to { "is trusted already" } else { "has nothing to trust" };
        return print(&format!("{} {state}\n", trust.folder.display()));
    }
    if !can_ask(process) {
        let value = trust.parts.digest().unwrap_or_else(|| "1".to_owned());
        return Err(Failure::usage(anyhow!("there is no terminal to ask on")).help(format!(
            "read `perstack trust --show`, then set PERSTACK_TRUST={value} for the commands that need it"
        )));
    }
    trust.ask(process)?;
    let state = if trust.parts.digest().is_some() { "is trusted" } else { "is asked about by each run" };
    print(&format!("{} {state}\n", trust.folder.display()))
}

fn revoke(trust: &ProjectTrust) -> Result<Exit, Failure> {
    let record = trust.records.as_ref().map(|records| TrustRecord::open(records, &trust.folder, &|| {})).transpose();
    let record = record.map_err(|error| unkept(error, trust))?;
    let was_there = record.map(TrustRecord::revoke).transpose().map_err(|error| unkept(error, trust))?;
    let state = if was_there == Some(true) { "is no longer trusted" } else { "was not trusted" };
    print(&format!("{} {state}\n", trust.folder.display()))
}

fn unkept(error: io::Error, trust: &ProjectTrust) -> Failure {
    let folder = trust.records.as_ref().map(|records| records.display().to_string()).unwrap_or_default();
    Failure::other(anyhow::Error::new(error).context(format!("cannot change the agreements in {folder}")))
}

/// Writes to stdout, with acting characters shown.
fn print(text: &str) -> Result<Exit, Failure> {
    let lines = text.lines().map(|line| format!("{}{}", indent(line), visible(line)));
    let text = lines.collect::<Vec<_>>().join("\n") + "\n";
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(Exit::Completed),
    }
}

fn indent(line: &str) -> &str {
    let text = line.trim_start();
    line.get(..line.len() - text.len()).unwrap_or_default()
}
