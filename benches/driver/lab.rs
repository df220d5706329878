//! [`Lab`]: the place of the measurements. It has the programs to compare, and makes each of them a fresh folder and the
//! command that leads it to a server.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use serde_json::value::RawValue;
use tempfile::TempDir;

use crate::peers::Peer;
use crate::process;
use crate::scenario::fixtures;
use crate::server::{Options, Script, Server};

/// A line of the file that the tool reads.
const LINE: &str = "tawny\n";

/// A program that is measured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// The floor, with one flushed file a step.
    Floor,
    /// The floor, with two flushed lines of a log a step.
    Log2,
    Ours,
    /// Another agent.
    Peer(Peer),
}

impl Client {
    /// A script of this many answers, all but the last of which read the small file with a tool that the client has.
    pub fn reading(&self, answers: usize) -> Script {
        match self {
            Self::Peer(peer) => Script::Steps { answers, call: peer.call() },
            _ => Script::reading(answers),
        }
    }

    /// The head of its column.
    pub fn name(&self) -> &str {
        match self {
            Self::Floor => "floor",
            Self::Log2 => "log2",
            Self::Ours => "perstack",
            Self::Peer(peer) => &peer.name,
        }
    }
}

/// What surrounds a run: the configuration, and the file that the tool reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Surroundings {
    pub toml: String,
    /// Bytes of the file.
    pub file_size: usize,
    /// MCP servers of the expert, locked, with this many tools each.
    pub skills: usize,
    pub tools: usize,
    /// How long a server goes on after its input has ended.
    pub lingering_ms: u64,
}

impl Default for Surroundings {
    fn default() -> Self {
        let toml = "maxSteps = 1000000\n\n[experts.librarian]\ninstruction = \"You find things in books.\"\n";
        Self { toml: toml.to_owned(), file_size: LINE.len(), skills: 0, tools: 0, lingering_ms: 0 }
    }
}

impl Surroundings {
    /// Those of a model whose context has no known end.
    pub fn endless() -> Self {
        let plain = Self::default();
        Self { toml: format!("model = \"endless\"\n{}", plain.toml), ..plain }
    }
}

/// Sizes of what takes long to make.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Steps of the long job.
    pub steps: usize,
    /// Jobs to list.
    pub jobs: usize,
}

pub struct Lab {
    /// The binary under test.
    pub binary: PathBuf,
    pub sizes: Sizes,
    /// The folder of the floor's programs.
    programs: PathBuf,
    scratch: TempDir,
    home: PathBuf,
    /// The floor's scripts, made from our own first requests.
    scripts: Mutex<HashMap<Surroundings, Vec<u8>>>,
    locks: Mutex<HashMap<Surroundings, Vec<u8>>>,
}

/// A folder to measure in. Dropped, its files are emptied, and stay: for minutes behind a removal ext4 passes over what was
/// removed whenever a file is created near by, which takes longer than what is measured. The lab removes all at its end.
pub struct ScratchFolder(PathBuf);

impl ScratchFolder {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // They would only fill the disk until the lab's end.
        let _ = empty_files(&self.0);
    }
}

fn empty_files(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            empty_files(&entry.path())?;
        } else if kind.is_file() {
            fs::OpenOptions::new().write(true).truncate(true).open(entry.path())?;
        }
    }
    Ok(())
}

impl Lab {
    /// A lab whose scratch files are beneath `folder`, on a disk.
    pub fn new(binary: &Path, folder: &Path, sizes: Sizes) -> Result<Self> {
        let binary = binary.canonicalize().with_context(|| format!("no binary {}", binary.display()))?;
        let own = std::env::current_exe()?;
        let programs = own.parent().context("no folder of programs")?.to_owned();
        fs::create_dir_all(folder)?;
        let scratch = tempfile::Builder::new().prefix("measure-").tempdir_in(folder.canonicalize()?)?;
        let home = scratch.path().join("home");
        fs::create_dir(&home)?;
        Ok(Self { binary, sizes, programs, scratch, home, scripts: Mutex::default(), locks: Mutex::default() })
    }

    /// A new folder with a configuration and the tool's file.
    pub fn folder(&self, surroundings: &Surroundings) -> Result<ScratchFolder> {
        let folder = tempfile::tempdir_in(self.scratch.path())?;
        let folder = ScratchFolder(folder.keep());
        self.furnish(folder.path(), surroundings)?;
        Ok(folder)
    }

    fn furnish(&self, folder: &Path, around: &Surroundings) -> Result<()> {
        fs::write(folder.join("owls.txt"), LINE.repeat(around.file_size / LINE.len()))?;
        let mut toml = around.toml.clone();
        let skill = self.programs.join("skill");
        for number in 0..around.skills {
            let _ = write!(
                toml,
                "[experts.librarian.skills.shelf-{number}]\ntype = \"mcpStdioSkill\"\ncommand = \"{}\"\n\
                 args = [\"{number}\", \"{}\", \"{}\"]\n",
                skill.display(),
                around.tools,
                around.lingering_ms
            );
        }
        fs::write(folder.join("perstack.toml"), toml)?;
        if around.skills == 0 {
            return Ok(());
        }
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let file = folder.join("perstack.lock");
        if let Some(lock) = locks.get(around) {
            return Ok(fs::write(file, lock)?);
        }
        process::run(self.ours().arg("install"), folder, |_| Ok(()))?;
        locks.insert(around.clone(), fs::read(file)?);
        Ok(())
    }

    /// Returns whether the configuration may have this key.
    pub fn knows_key(&self, key: &str) -> Result<bool> {
        let schema = Command::new(&self.binary).arg("schema").output()?;
        Ok(String::from_utf8_lossy(&schema.stdout).contains(key))
    }

    /// The folder of a job of [`Sizes::steps`] steps, made once.
    pub fn long_job(&self) -> Result<PathBuf> {
        self.made_once("long-job", &Surroundings::endless(), |folder| {
            fixtures::job(self, folder, &Surroundings::endless(), self.sizes.steps)
        })
    }

    /// The folder of [`Sizes::jobs`] jobs, made once.
    pub fn many_jobs(&self) -> Result<PathBuf> {
        self.made_once("many-jobs", &Surroundings::default(), |folder| fixtures::jobs(self, folder, self.sizes.jobs))
    }

    fn made_once(&self, name: &str, around: &Surroundings, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let folder = self.scratch.path().join(name);
        if !folder.exists() {
            fs::create_dir(&folder)?;
            self.furnish(&folder, around)?;
            make(&folder).with_context(|| format!("{name} could not be made"))?;
        }
        Ok(folder)
    }

    /// One of the floor's programs.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.env_clear();
        command
    }

    /// Our binary, in an environment of its own. Its home folder is not the one that it works in, as people have it:
    /// nothing can be contained there.
    pub fn ours(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear().env("HOME", &self.home).env("PATH", "/usr/bin:/bin").env("PERSTACK_TRUST", "1");
        command
    }

    /// Makes our binary ask this server.
    pub fn lead_to(command: &mut Command, server: &Server) {
        command.env("ANTHROPIC_API_KEY", "none needed");
        command.env("ANTHROPIC_BASE_URL", format!("http://{}/v1", server.address()));
    }

    /// The command that runs a job against this server.
    pub fn job(&self, client: &Client, folder: &Path, server: &Server, around: &Surroundings) -> Result<Command> {
        let store = match client {
            Client::Peer(peer) => return peer.job(folder, server.address()),
            Client::Ours => {
                let mut command = self.ours();
                Self::lead_to(&mut command, server);
                command.args(["run", "librarian", "Which owls?"]);
                return Ok(command);
            }
            Client::Floor => "file",
            Client::Log2 => "log2",
        };
        fs::write(folder.join("floor.script"), self.script(around)?)?;
        let mut command = self.program("floor");
        command.args([&server.address().to_string(), store]);
        Ok(command)
    }

    /// The parts of the requests that our binary sends in these surroundings, for the floor to send the same.
    pub fn script(&self, around: &Surroundings) -> Result<Vec<u8>> {
        let mut scripts = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(script) = scripts.get(around) {
            return Ok(script.clone());
        }
        let folder = self.folder(around)?;
        let server = Server::start(Script::reading(3), Options { keep: 3, ..Options::default() })?;
        process::run(&mut self.job(&Client::Ours, folder.path(), &server, around)?, folder.path(), |_| Ok(()))?;
        let script = parts(&server.bodies()).context("our requests cannot be taken apart")?;
        scripts.insert(around.clone(), script.clone());
        Ok(script)
    }
}

/// Cuts requests into a head, the messages of one step, and a tail.
fn parts(bodies: &[Vec<u8>]) -> Option<Vec<u8>> {
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        messages: Vec<&'a RawValue>,
    }
    let [_, second, third] = bodies else { return None };
    let (second, third) = (std::str::from_utf8(second).ok()?, std::str::from_utf8(third).ok()?);
    let (before, after): (Body, Body) = (serde_json::from_str(second).ok()?, serde_json::from_str(third).ok()?);
    // Of a request, where the messages of its last step begin and end.
    let place = |body: &str, part: &RawValue| part.get().as_ptr() as usize - body.as_ptr() as usize;
    let first_of_last = after.messages.get(before.messages.len())?;
    let last = after.messages.last()?;
    let begin = place(third, first_of_last);
    let end = place(third, last) + last.get().len();
    // The head ends with the question, which is the message before the first step.
    let question = before.messages.first()?;
    let head = second.get(..place(second, question) + question.get().len())?;
    let step = format!(",{}", third.get(begin..end)?);
    let tail = third.get(end..)?;
    let lengths = format!("{} {} {}\n", head.len(), step.len(), tail.len());
    Some([lengths.as_str(), head, &step, tail].concat().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_made_of_a_head_steps_and_a_tail() {
        let body = |messages: &str| format!(r#"{{"model":"m","messages":[{messages}],"tools":[]}}"#).into_bytes();
        let bodies = [
            body(r#"{"q":1}"#),
            body(r#"{"q":1},{"a":1},{"r":1}"#),
            body(r#"{"q":1},{"a":1},{"r":1},{"a":2},{"r":2}"#),
        ];
        let script = String::from_utf8(parts(&bodies).unwrap()).unwrap();
        let (head, step, tail) = (r#"{"model":"m","messages":[{"q":1}"#, r#",{"a":2},{"r":2}"#, r#"],"tools":[]}"#);
        assert_eq!(script, format!("{} {} {}\n{head}{step}{tail}", head.len(), step.len(), tail.len()));
    }
}
