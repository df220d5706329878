//! [`require`]: trust of the project's folder, asked for before anything of it is started or sent. Called by the commands
//! that start skills or ask models.
//!
//! The parts that can do harm, their digest and the record of agreements are the library's; this module decides who is
//! asked, and refuses where nobody can be.

pub mod cassettes;
mod device;
mod screen;
pub mod show;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use perstack::config::FolderTrust;
use perstack::config::trust::record::TrustRecord;
use perstack::config::trust::{DangerousParts, TrustInputs, VendorRules};
use perstack::expert::ExpertKey;
use perstack::provider;

use super::Process;
use super::failure::Failure;
use super::options::JobArgs;
use super::setup::{Setup, warn};

/// The folder of the records in the user's configuration folder.
const RECORDS: &str = "trust";

/// The hexadecimal digits of a digest.
const DIGEST_LEN: usize = 64;

/// The value of `PERSTACK_TRUST`. Only the process's environment counts: a folder's `.env` must not agree for its user.
#[derive(Debug, PartialEq, Eq)]
enum TrustVariable<'a> {
    Unset,
    /// `1`: whatever the folder brings along.
    All,
    /// Only the parts with this digest.
    Digest(&'a str),
}

impl<'a> TrustVariable<'a> {
    fn read(process: &'a Process) -> Result<Self, Failure> {
        match process.variable("PERSTACK_TRUST") {
            None | Some("0") => Ok(Self::Unset),
            Some("1") => Ok(Self::All),
            Some(digest) if digest.len() == DIGEST_LEN && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Ok(Self::Digest(digest))
            }
            Some(_) => Err(Failure::usage(anyhow!("PERSTACK_TRUST is neither 1 nor a digest of {DIGEST_LEN} digits"))
                .help("`perstack trust --show` prints the digest of this folder")),
        }
    }
}

/// The use that a command makes of a project.
pub struct ProjectUse<'a> {
    /// The experts that it starts with.
    pub experts: &'a [ExpertKey],
    /// False for commands that ask no model.
    pub asks_models: bool,
    /// False with `--no-interactive`.
    pub may_ask: bool,
}

/// The project's folder with the parts to agree to.
struct ProjectTrust {
    parts: DangerousParts,
    /// The real path, by which agreements are kept.
    folder: PathBuf,
    /// The name of the configuration file.
    config: String,
    /// The folder of the records; none where the system has no configuration folder.
    records: Option<PathBuf>,
}

impl ProjectTrust {
    fn read(setup: &Setup, process: &Process) -> Result<Option<Self>, Failure> {
        let Some(project) = &setup.project else { return Ok(None) };
        let variables = provider::vendor_variables();
        let env_files: Vec<PathBuf> = setup.env_files.iter().map(|file| process.folder.join(file)).collect();
        let inputs = TrustInputs {
            project,
            settings: &setup.settings,
            environment: &setup.environment,
            vendors: VendorRules {
                variables: &variables,
                is_own_address: provider::is_own_address,
                users_credential: provider::users_credential,
            },
            workspace: &setup.workspace,
            env_files: &env_files,
        };
        let folder = project.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = folder
            .canonicalize()
            .with_context(|| format!("cannot find the real path of {}", folder.display()))
            .map_err(Failure::usage)?;
        let config = project.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let records = setup.user_folder.as_ref().map(|folder| folder.join(RECORDS));
        Ok(Some(Self { parts: inputs.parts(), folder, config, records }))
    }

    /// Returns true if the user has agreed to these parts, or to all folders in which this one is.
    fn is_agreed_to(&self, setup: &Setup, process: &Process) -> bool {
        let is_within = |folder: &String| {
            let path = match (folder.strip_prefix('~'), process.variable("HOME")) {
                (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
                    PathBuf::from(format!("{home}{rest}"))
                }
                _ => PathBuf::from(folder),
            };
            path.is_absolute() && path.canonicalize().is_ok_and(|path| self.folder.starts_with(path))
        };
        setup.trust_folders.iter().any(is_within) || self.has_record()
    }

    fn has_record(&self) -> bool {
        let known = self.records.as_ref().zip(self.parts.digest());
        known.is_some_and(|(records, digest)| TrustRecord::has_agreement(records, &self.folder, &digest))
    }

    /// Asks on the terminal device, unless another run has just been given the answer, and keeps a yes.
    fn ask(&self, process: &Process) -> Result<(), Failure> {
        let wait = || {
            // With stderr closed there is no place left to report to.
            let _ = writeln!(std::io::stderr().lock(), "waiting: another perstack asks about this folder");
        };
        let record = self.records.as_ref().map(|records| TrustRecord::open(records, &self.folder, &wait));
        let mut record = match record.transpose() {
            Ok(record) => record,
            Err(error) => {
                warn(process, false, &format!("the answer cannot be kept: {error}"));
                None
            }
        };
        if record.as_ref().zip(self.parts.digest()).is_some_and(|(record, digest)| record.has(&digest)) {
            return Ok(());
        }
        let earlier = record.as_ref().and_then(|record| record.latest(&self.config));
        let question = screen::question(&self.folder, &self.config, &self.parts, earlier);
        if !device::ask(&question, &screen::everything(&self.parts))? {
            return Err(Failure::usage(anyhow!("this folder is not trusted: nothing was started"))
                .help("`perstack trust` asks again; --trust trusts it for one run"));
        }
        if let Some(Err(error)) = record.as_mut().map(|record| record.agree(&self.config, &self.parts)) {
            warn(process, false, &format!("the answer cannot be kept: {error}"));
        }
        Ok(())
    }
}

/// Agrees to the parts of a configuration that the user has just had written, without asking. If the agreement cannot be
/// kept, the first run asks.
pub fn agree_as_written(setup: &Setup, process: &Process) {
    let Ok(Some(trust)) = ProjectTrust::read(setup, process) else { return };
    let Some(records) = trust.records.as_ref().filter(|_| !trust.parts.is_empty()) else { return };
    let kept = TrustRecord::open(records, &trust.folder, &|| {});
    if let Err(error) = kept.and_then(|mut record| record.agree(&trust.config, &trust.parts)) {
        warn(process, false, &format!("the first run asks about this folder: {error}"));
    }
}

/// Returns true if a person sees questions and can answer them, whatever standard input and output are.
pub fn can_ask(process: &Process) -> bool {
    use std::io::IsTerminal as _;
    process.variable("CI").is_none() && std::io::stderr().is_terminal() && device::is_ours()
}

/// The trust that a command line, a variable or an earlier answer gives to the folder.
enum Standing {
    /// Nothing is left to ask about.
    Decided(FolderTrust),
    /// The user has decided nothing yet.
    Open(ProjectTrust),
}

/// # Errors
/// With the exit code for usage, when the variable names another state of the folder.
fn standing(setup: &Setup, process: &Process, flag: bool) -> Result<Standing, Failure> {
    let variable = TrustVariable::read(process)?;
    if flag || variable == TrustVariable::All {
        return Ok(Standing::Decided(FolderTrust::Trusted));
    }
    // Without a project, all is the user's.
    let Some(trust) = ProjectTrust::read(setup, process)? else { return Ok(Standing::Decided(FolderTrust::Trusted)) };
    let digest = trust.parts.digest();
    if let TrustVariable::Digest(given) = variable {
        match digest {
            Some(digest) if given.eq_ignore_ascii_case(&digest) => {
                return Ok(Standing::Decided(FolderTrust::Trusted));
            }
            Some(digest) if !trust.parts.is_empty() => {
                return Err(Failure::usage(anyhow!("PERSTACK_TRUST is the digest of another state of this folder"))
                    .help(format!("read `perstack trust --show`; the digest of this state is {digest}")));
            }
            Some(_) => {}
            None => {
                return Err(Failure::usage(anyhow!(
                    "PERSTACK_TRUST is a digest, and this folder has none: {}",
                    unread(&trust.parts)
                ))
                .help(
                    "keep such a file out of the words of commands, or use --trust or PERSTACK_TRUST=1 (any state)",
                ));
            }
        }
    }
    if trust.is_agreed_to(setup, process) {
        return Ok(Standing::Decided(FolderTrust::Trusted));
    }
    if trust.parts.is_empty() {
        return Ok(Standing::Decided(FolderTrust::Untrusted));
    }
    Ok(Standing::Open(trust))
}

/// Lets a command go on with the project, once its folder is trusted. On a terminal a person is asked once for each state
/// of the dangerous parts. Elsewhere commands are started unasked, as `make` does, but what sends the user's own
/// credentials away is refused.
///
/// # Errors
/// With the exit code for usage, when the folder is not trusted.
pub fn require(
    setup: &Setup,
    process: &Process,
    flag: bool,
    project_use: &ProjectUse<'_>,
) -> Result<FolderTrust, Failure> {
    let trust = match standing(setup, process, flag)? {
        Standing::Decided(trust) => return Ok(trust),
        Standing::Open(trust) => trust,
    };
    if project_use.may_ask && can_ask(process) {
        trust.ask(process)?;
        return Ok(FolderTrust::Trusted);
    }
    let refusals = trust.parts.refusals(&reachable(setup, project_use.experts), project_use.asks_models);
    if refusals.is_empty() {
        return Ok(FolderTrust::Untrusted);
    }
    let help = match trust.parts.digest() {
        Some(digest) => format!(
            "to allow it, set PERSTACK_TRUST={digest} (this state alone), or use --trust or PERSTACK_TRUST=1 (any \
             state), or agree once on a terminal with `perstack trust`"
        ),
        None => format!(
            "to allow it, use --trust or PERSTACK_TRUST=1 (any state); this folder has no digest: {}",
            unread(&trust.parts)
        ),
    };
    Err(Failure::usage(anyhow!("refused in a folder that is not trusted: {}", refusals.join("; "))).help(help))
}

/// As [`require`], for `run` and `resume`. A replay asks nothing: it sends nothing to models, and where the folder is not
/// trusted it starts and changes nothing either.
///
/// # Errors
/// As [`require`].
pub fn require_for_job(
    setup: &Setup,
    process: &Process,
    args: &JobArgs,
    experts: &[ExpertKey],
) -> Result<FolderTrust, Failure> {
    if args.session.replay.is_some() {
        return Ok(match standing(setup, process, args.place.trust)? {
            Standing::Decided(trust) => trust,
            Standing::Open(_) => FolderTrust::Untrusted,
        });
    }
    let refuses_questions = process.variable("PERSTACK_NO_INTERACTIVE").is_some_and(|value| value != "0");
    let may_ask = !args.session.no_interactive && !refuses_questions;
    require(setup, process, args.place.trust, &ProjectUse { experts, asks_models: true, may_ask })
}

/// The dangerous parts of a project, for `check`.
pub struct TrustSummary {
    pub is_trusted: bool,
    pub lines: Vec<String>,
    /// The parts that are refused where nobody is asked.
    pub refusals: Vec<String>,
    /// None where it would not stand for all of them.
    pub digest: Option<String>,
}

/// The reason why the parts have no digest.
fn unread(parts: &DangerousParts) -> String {
    parts.unread().map_or_else(String::new, |part| format!("it {}", part.text))
}

/// Lists the dangerous parts; `None` without a project. Asks nothing.
///
/// # Errors
/// With the exit code for usage, when the folder has no real path, or the variable names another state of it.
pub fn summary(setup: &Setup, process: &Process, flag: bool) -> Result<Option<TrustSummary>, Failure> {
    let is_trusted = matches!(standing(setup, process, flag)?, Standing::Decided(FolderTrust::Trusted));
    let Some(trust) = ProjectTrust::read(setup, process)? else { return Ok(None) };
    let lines = trust.parts.parts().iter().map(|part| part.text.clone()).collect();
    let refusals = trust.parts.parts().iter().filter_map(|part| part.refusal.clone()).collect();
    Ok(Some(TrustSummary { is_trusted, lines, refusals, digest: trust.parts.digest() }))
}

/// The experts that `roots` lead to by delegation, themselves included.
fn reachable(setup: &Setup, roots: &[ExpertKey]) -> BTreeSet<ExpertKey> {
    let experts = setup.project.iter().flat_map(|project| roots.iter().map(|key| project.experts.reachable(key)));
    experts.flatten().flatten().map(|expert| expert.key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_one_or_a_digest() {
        let digest = "0123456789abcdef".repeat(4);
        let process = |value: &str| Process {
            variables: vec![("PERSTACK_TRUST".to_owned(), value.to_owned())],
            folder: "/".into(),
            color: clap::ColorChoice::Auto,
            log: None,
        };
        let read = |value: &str| TrustVariable::read(&process(value)).map(|it| format!("{it:?}")).ok();
        assert_eq!(read("").as_deref(), Some("Unset"));
        assert_eq!(read("0").as_deref(), Some("Unset"));
        assert_eq!(read("1").as_deref(), Some("All"));
        assert_eq!(read(&digest), Some(format!("Digest({digest:?})")));
        assert_eq!((read("yes"), read("abc"), read(&"g".repeat(64))), (None, None, None));
    }
}
