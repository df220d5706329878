//! [`check_out`]: a commit of a git repository in a folder, by the user's own `git`.
//!
//! Only https and ssh are spoken, whatever the repository or a configuration redirects to. Hooks, submodules and file system
//! monitors are off; attributes are read from nowhere, so that no filter that the user's configuration knows is started on
//! files of strangers. Passwords come from the user's own credential helpers and agents; nobody is asked.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::anyhow;
use perstack::provider::vendor_variables;
use perstack::workspace_source::GitSource;

use crate::cli::Process;
use crate::cli::failure::Failure;
use crate::cli::render::visible;

/// The empty tree, which every repository has: attributes are read from it.
const NO_ATTRIBUTES: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

/// Settings of every call, above all files.
const SETTINGS: [&str; 15] = [
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.ssh.allow=always",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "filter.lfs.smudge=",
    "filter.lfs.process=",
    "filter.lfs.required=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "gc.auto=0",
    "advice.detachedHead=false",
];

/// Variables of git that are the user's way to a server; the others would change what is done here.
const PASSED: [&str; 8] = [
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
];

/// Most lines of an error of git's.
const MOST_LINES: usize = 4;

/// Makes the empty `folder` a repository with the files of the source's commit; returns the commit.
///
/// # Errors
/// With the exit code for usage: there is no git, the repository cannot be asked, or it has no such revision.
pub fn check_out(source: &GitSource, folder: &Path, process: &Process) -> Result<String, Failure> {
    let GitSource { address, revision } = source;
    let git = Git { folder, process };
    git.call(&["init", "--quiet", "--template="])?;
    git.call(&["remote", "add", "--", "origin", address])?;
    let wanted = revision.as_deref().unwrap_or("HEAD");
    git.call(&["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", "origin", wanted])
        .map_err(|failure| {
            failure.help(format!(
                "look whether {address} has {wanted}, a branch, a tag or a whole commit, and lets git read it"
            ))
        })?;
    git.call(&["checkout", "--quiet", "--detach", "FETCH_HEAD"])?;
    Ok(git.call(&["rev-parse", "HEAD"])?.trim().to_owned())
}

struct Git<'a> {
    folder: &'a Path,
    process: &'a Process,
}

impl Git<'_> {
    /// The output of a call.
    fn call(&self, words: &[&str]) -> Result<String, Failure> {
        let mut command = Command::new("git");
        command.env_clear().envs(self.variables()).arg("-C").arg(self.folder);
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", *setting])).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = words.first().copied().unwrap_or_default();
        let output = command.output().map_err(|error| {
            let failure = anyhow::Error::new(error).context("cannot start git, which a workspace is made with");
            Failure::usage(failure).help("install git, or name a folder")
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(MOST_LINES).collect();
        Err(Failure::usage(anyhow!("git {name} failed: {}", visible(&lines.join("; ")))))
    }

    /// The user's variables, without keys to models; and what keeps git from asking and from other ways to a repository.
    fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let vendors = vendor_variables();
        let keys: Vec<&str> = vendors.iter().flat_map(|vendor| vendor.keys.iter().flatten().copied()).collect();
        let is_passed =
            move |name: &str| !keys.contains(&name) && (!name.starts_with("GIT_") || PASSED.contains(&name));
        let users = self.process.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        users.filter(move |(name, _)| is_passed(name)).chain([
            ("GIT_ALLOW_PROTOCOL", "https:ssh"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ATTR_SOURCE", NO_ATTRIBUTES),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
        ])
    }
}
