//! [`TurnRunner`]: a turn as a process of its own, so that one job's memory, servers and end are no other's. It is the same
//! program: what holds for `run` holds for a submitted job.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use perstack::id::JobId;
use perstack::snapshot::SnapshotMode;
use perstack::workspace;
use perstack::workspace_source::WorkspaceSource;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::turn::{TurnEnd, TurnInput};
use crate::cli::command_line::CommandLine;
use crate::cli::job_runner::GRACE;
use crate::cli::options::{Format, JobArgs, ModelArgs};
use crate::cli::workspace_from::own_folder;
use crate::cli::{Exit, Process};

/// The variable that names the process without which this one has nothing to do.
const PARENT: &str = "PERSTACK_PARENT";

/// The end of standard error that is kept, in bytes.
const MESSAGES: usize = 8 * 1024;

/// Bytes read at once.
const PIECE: usize = 16 * 1024;

/// The longest result that goes through the engine, in bytes. A longer one is in the storage.
const MAX_RESULT: usize = 4 * 1024 * 1024;

/// The longest that a turn takes to end once it is asked to: what a job has for it, and a little more. Then it is killed.
pub const END: Duration = GRACE.saturating_add(Duration::from_secs(5));

/// A way to run turns.
#[derive(Clone)]
pub struct TurnRunner {
    pub process: Process,
    /// The worker's own places, and all else that a job does not choose.
    pub args: JobArgs,
    /// The storage is in an object store: a job is taken from a process that the engine has given up.
    pub takes_over: bool,
}

/// The end of the process of a turn.
pub enum ProcessEnd {
    Turn(TurnEnd),
    /// Another try may come further: the storage could not be asked, or the process was killed.
    Again(String),
}

impl TurnRunner {
    /// Runs a turn to its end. As soon as `stop` is fired it is asked to stop; dropped, it is too.
    ///
    /// # Errors
    /// The system gives no process.
    pub async fn run(
        &self,
        job: &JobId,
        input: &TurnInput,
        (model, source): (ModelArgs, Option<WorkspaceSource>),
        stop: &CancellationToken,
    ) -> io::Result<ProcessEnd> {
        let own = |source| {
            let folder = own_folder(&self.process).ok_or_else(|| io::Error::other("there is no cache folder"))?;
            Ok::<_, io::Error>(OwnWorkspace { source, folder })
        };
        let workspace = source.map(own).transpose()?;
        let command = self.command(job, input, model, workspace.as_ref())?;
        let mut child = RunningTurn::start(command, workspace.map(|workspace| workspace.folder))?;
        let text = input.answer.as_ref().map_or(&input.query, |answer| &answer.text);
        let (status, out, err) = child.finish(text, stop).await?;
        Ok(end_of(status, &out, &err))
    }

    fn command(
        &self,
        job: &JobId,
        input: &TurnInput,
        model: ModelArgs,
        workspace: Option<&OwnWorkspace>,
    ) -> io::Result<Command> {
        let mut words = match &input.answer {
            None => {
                let mut words = CommandLine::new(["run", input.expert.as_str(), "-", "--ensure"]);
                words.value("--job-id", Some(job));
                words
            }
            Some(answer) => {
                let mut words = CommandLine::new(["resume", job.as_str(), "-"]);
                words.value("--answer-to", Some(&answer.checkpoint)).switch("--restore", workspace.is_some());
                words
            }
        };
        let mut args = self.args.clone();
        args.model = model;
        args.account.clone_from(&input.account);
        if let Some(OwnWorkspace { source, folder }) = workspace {
            args.workspace_from = Some(source.clone());
            args.place.workspace = Some(folder.clone());
            // Whoever takes the job over, or goes on behind a question, has the files from there.
            args.session.snapshot = Some(SnapshotMode::Every);
        }
        args.session.no_interactive = true;
        args.output.output = Some(Format::Json);
        args.output.quiet = true;
        args.add_to(&mut words);
        let mut command = Command::new(std::env::current_exe()?);
        command.args(words.into_words()).current_dir(&self.process.folder).env_clear();
        command.envs(self.process.variables.iter().map(|(name, value)| (name, value)));
        command.env(PARENT, std::process::id().to_string());
        if self.takes_over {
            command.env("PERSTACK_TAKE_OVER", "1");
        }
        // The address may hold a password, which a list of processes would show.
        if let Some(proxy) = &self.args.place.proxy {
            command.env("PERSTACK_PROXY_URL", proxy);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }
}

/// The workspace that a turn has of its own.
struct OwnWorkspace {
    source: WorkspaceSource,
    /// A folder that is not there yet.
    folder: PathBuf,
}

/// A process at work. Dropped, it is asked to stop and waited for elsewhere.
struct RunningTurn {
    child: Option<Child>,
    /// The folder that is removed behind it.
    folder: Option<PathBuf>,
}

impl RunningTurn {
    fn start(mut command: Command, folder: Option<PathBuf>) -> io::Result<Self> {
        Ok(Self { child: Some(command.spawn()?), folder })
    }

    async fn finish(&mut self, text: &str, stop: &CancellationToken) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let Some(child) = &mut self.child else { return Err(io::Error::other("the process is gone")) };
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let give = async {
            if let Some(mut stdin) = stdin {
                // A process that has ended already gives its reason by its exit code.
                let _ = stdin.write_all(text.as_bytes()).await;
            }
        };
        let end = async {
            tokio::select! {
                status = child.wait() => return status,
                () = stop.cancelled() => ask_to_stop(child),
            }
            wait_or_kill(child).await
        };
        // One byte more shows that there was more.
        let (output, messages) = (last_bytes(stdout, MAX_RESULT + 1), last_bytes(stderr, MESSAGES));
        let ((), output, messages, status) = tokio::join!(give, output, messages, end);
        self.child = None;
        remove(self.folder.take()).await;
        Ok((status?, output?, messages?))
    }
}

impl Drop for RunningTurn {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            ask_to_stop(&mut child);
            // Its end is nobody's to report; it must not stay behind as a zombie.
            let folder = self.folder.take();
            tokio::spawn(async move {
                drop(wait_or_kill(&mut child).await);
                remove(folder).await;
            });
        }
    }
}

/// Removes the folder of a turn: what counts of it is in the job's snapshots.
async fn remove(folder: Option<PathBuf>) {
    if let Some(folder) = folder {
        // What is left of it is in a folder of its own in the cache.
        let _ = tokio::task::spawn_blocking(move || workspace::remove(&folder)).await;
    }
}

/// The last bytes of a stream, which is read to its end.
async fn last_bytes(stream: Option<impl AsyncRead + Unpin>, most: usize) -> io::Result<Vec<u8>> {
    let (mut kept, mut piece) = (Vec::new(), vec![0; PIECE]);
    let Some(mut stream) = stream else { return Ok(kept) };
    loop {
        let read = stream.read(&mut piece).await?;
        kept.extend(piece.iter().take(read));
        // Seldom, since what stays is moved.
        if read == 0 || kept.len() >= most.saturating_mul(2) {
            kept.drain(..kept.len().saturating_sub(most));
        }
        if read == 0 {
            return Ok(kept);
        }
    }
}

async fn wait_or_kill(child: &mut Child) -> io::Result<ExitStatus> {
    if let Ok(status) = tokio::time::timeout(END, child.wait()).await {
        return status;
    }
    child.start_kill()?;
    child.wait().await
}

/// Asks the process to record its state and to end.
#[cfg(unix)]
fn ask_to_stop(child: &mut Child) {
    let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid {
        // One that has ended cannot be asked any more.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

#[cfg(not(unix))]
fn ask_to_stop(child: &mut Child) {
    // What it has recorded is kept.
    let _ = child.start_kill();
}

fn end_of(status: ExitStatus, out: &[u8], err: &[u8]) -> ProcessEnd {
    let messages = String::from_utf8_lossy(err).into_owned();
    let Some(exit) = status.code().and_then(|code| u8::try_from(code).ok()) else {
        return ProcessEnd::Again(format!("its process was killed ({status})"));
    };
    if exit == Exit::Storage as u8 {
        return ProcessEnd::Again(messages.trim().replace('\n', " "));
    }
    let result = Some(out).filter(|out| out.len() <= MAX_RESULT).and_then(|out| serde_json::from_slice(out).ok());
    ProcessEnd::Turn(TurnEnd { exit, result, messages })
}

/// Ends this process by a signal when the worker that started it ends, however that comes about: nobody waits for it then.
pub fn end_with_parent(process: &mut Process) {
    let parent = process.variable(PARENT).and_then(|text| text.parse::<i32>().ok());
    // Of what this process starts it is not the parent's affair.
    process.variables.retain(|(name, _)| name != PARENT);
    if let Some(parent) = parent {
        follow(parent);
    }
}

#[cfg(target_os = "linux")]
fn follow(parent: i32) {
    let asked = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    let is_there = rustix::process::getppid().is_some_and(|now| now.as_raw_nonzero().get() == parent);
    // It may have ended before the signal was asked for.
    if asked.is_ok() && !is_there {
        std::process::exit(i32::from(Exit::Terminated as u8));
    }
}

/// Nothing: this system has no such signal.
#[cfg(not(target_os = "linux"))]
fn follow(_parent: i32) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner() -> TurnRunner {
        let process = Process {
            variables: vec![("HOME".to_owned(), "/home/owl".to_owned())],
            folder: "/project".into(),
            color: clap::ColorChoice::Never,
            log: None,
        };
        TurnRunner { process, args: JobArgs::default(), takes_over: true }
    }

    fn words_of(
        answer: Option<super::super::turn::TurnAnswer>,
        account: Option<&str>,
        workspace: Option<&OwnWorkspace>,
    ) -> Vec<String> {
        let input = TurnInput {
            format_version: 1,
            expert: "owl".parse().unwrap(),
            query: "--trust".to_owned(),
            project: String::new(),
            flags: Vec::new(),
            account: account.map(|name| name.parse().unwrap()),
            workspace_from: None,
            answer,
        };
        let model = ModelArgs { max_steps: Some(3), ..ModelArgs::default() };
        let command = runner().command(&"j1".parse().unwrap(), &input, model, workspace).unwrap();
        command.as_std().get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[tokio::test]
    async fn of_a_long_stream_the_end_is_kept() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
        for most in [1, 5, 20_000, text.len(), text.len() + 1] {
            let kept = last_bytes(Some(&text[..]), most).await.unwrap();
            assert_eq!(kept, text[text.len().saturating_sub(most)..], "{most}");
        }
        assert!(last_bytes(None::<&[u8]>, 9).await.unwrap().is_empty());
    }

    #[test]
    fn a_turn_is_a_command_that_the_query_is_no_part_of() {
        let line = words_of(None, None, None).join(" ");
        assert_eq!(line, "run owl - --ensure --job-id j1 --max-steps 3 --output json --quiet --no-interactive");
        let line = words_of(None, Some("nightly"), None);
        assert!(line.ends_with(&["--account".to_owned(), "nightly".to_owned()]), "{line:?}");
        let answer = || super::super::turn::TurnAnswer { checkpoint: "c1".parse().unwrap(), text: "-x".to_owned() };
        let source = "https://example.com/owls#v1".parse().unwrap();
        let workspace = OwnWorkspace { source, folder: "/cache/w".into() };
        let line = words_of(None, None, Some(&workspace)).join(" ");
        assert!(line.contains("--workspace /cache/w") && line.contains("--snapshot every"), "{line}");
        assert!(line.contains("--workspace-from 'https") || line.contains("--workspace-from https"), "{line}");
        assert!(!line.contains("--restore"), "{line}");
        let line = words_of(Some(answer()), None, Some(&workspace)).join(" ");
        assert!(line.starts_with("resume j1 - --answer-to c1 --restore "), "{line}");
        let line = words_of(Some(answer()), Some("nightly"), None).join(" ");
        assert!(line.starts_with("resume j1 - --answer-to c1 --max-steps 3 "), "{line}");
        assert!(line.ends_with(" --account nightly"), "{line}");
    }
}
