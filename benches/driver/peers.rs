//! [`Peer`]: another agent, as a file of `--peers` describes it. `benches/peers.toml` is one.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::server::Call;

/// Where a peer's texts have the server's host and port.
const ADDRESS: &str = "{address}";

/// An agent's program and all that leads it to the server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    #[serde(skip)]
    pub name: String,
    /// The program; its path is relative to the file's folder.
    program: PathBuf,
    /// Its arguments for one job, whose end is the program's.
    run: Vec<String>,
    /// Its environment beside `PATH` and `HOME`, which is the folder that it works in.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Its files, by their names in that folder.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// The tool that the model calls, and the call's arguments as JSON.
    tool: String,
    arguments: String,
}

/// Reads the peers of a file: a table for each.
pub fn read(file: &Path) -> Result<Vec<Peer>> {
    let text = fs::read_to_string(file).with_context(|| format!("no file {}", file.display()))?;
    let peers: toml::Table = text.parse().with_context(|| format!("{}", file.display()))?;
    let folder = file.canonicalize()?.parent().map(Path::to_owned).unwrap_or_default();
    let peer = |(name, table): (String, toml::Value)| -> Result<Peer> {
        let peer: Peer = table.try_into().with_context(|| format!("{}, {name}", file.display()))?;
        serde_json::from_str::<serde_json::Value>(&peer.arguments).context("arguments of a call are JSON")?;
        let program = folder.join(&peer.program);
        Ok(Peer { name, program, ..peer })
    };
    peers.into_iter().map(peer).collect()
}

impl Peer {
    /// The call that the model makes.
    pub fn call(&self) -> Call {
        // Read before, in `read`.
        Call::new(&self.tool, serde_json::from_str(&self.arguments).unwrap_or_default())
    }

    /// The program in an environment of its own, with the usual folders of programs.
    pub fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("HOME", folder).env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command
    }

    /// The command that runs a job against the server at this address.
    pub fn job(&self, folder: &Path, address: SocketAddr) -> Result<Command> {
        let fill = |text: &String| text.replace(ADDRESS, &address.to_string());
        for (name, text) in &self.files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::write(path, fill(text))?;
        }
        let mut command = self.command(folder);
        command.args(self.run.iter().map(fill));
        command.envs(self.environment.iter().map(|(name, value)| (name, fill(value))));
        Ok(command)
    }
}
