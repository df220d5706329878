//! `perstack install`: starts every skill once, and writes the tools found to `perstack.lock`.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use perstack::config::FolderTrust;
use perstack::config::lockfile::{self, Definition, DiscoveredTools, Lock, Written};
use perstack::expert::ExpertKey;
use perstack::fact::Clock;
use perstack::runtime::{self, CassetteMode, InDoubt, Options, RunError, SystemClock};
use perstack::skill::contain::Learning;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::job_runner::async_runtime;
use super::learn::Proposals;
use super::list_tools::NoEvents;
use super::options::{ConfigArgs, ModelArgs};
use super::program_log::print_log_line;
use super::render::{Paint, visible};
use super::setup::{ProjectNeed, Setup, warn};
use super::signals::Signals;
use super::trust::{self, ProjectUse};
use super::{Exit, Process};

/// Experts whose skills are open at one time: servers take memory, and starting them takes the processor.
const AT_ONCE: usize = 4;

/// Starts every skill once and writes perstack.lock
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Write nothing; print how perstack.lock differs from the skills, and fail if it does
    #[arg(long)]
    check: bool,
    /// Write nothing; start every local server contained, a few times with what it was refused before, and print the lines
    /// for perstack.toml (reads, writes, allowedDomains) that would give each skill what it needed
    #[arg(long, conflicts_with = "check")]
    learn: bool,
    /// Show errors only
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Most starts of a server that learns: each shows what the one before was kept from reaching. Some programs need a file more
/// each time.
const MAX_STARTS: usize = 20;

/// The interval at which the spinner moves: often enough to look alive, rarely enough to cost nothing.
const TICK: Duration = Duration::from_millis(125);

/// The program ends early: by a signal's code, or because something is wrong.
type Stop = Result<Exit, Failure>;

/// The tools of each expert's skills, in the order of the configuration.
type Found = Vec<(ExpertKey, Result<DiscoveredTools, RunError>)>;

/// Runs the command.
pub fn run(args: &InstallArgs, process: &Process) -> Result<Exit, Failure> {
    let setup = Setup::read(process, &args.config.place(), &ModelArgs::default(), ProjectNeed::Required)?;
    setup.print_warnings(process, args.quiet);
    let config = setup.project.as_ref().map(|project| project.path.clone()).unwrap_or_default();
    let experts = setup.experts()?;
    let project_use = ProjectUse { experts: &experts, asks_models: false, may_ask: true };
    let trust = trust::require(&setup, process, args.config.place().trust, &project_use)?;
    let cancel = CancellationToken::new();
    let mut options = setup.options(Arc::new(NoEvents), cancel, InDoubt::default(), CassetteMode::None);
    let learning = args.learn.then(Arc::<Learning>::default);
    options.learning.clone_from(&learning);
    let options = Arc::new(options);
    let runtime = async_runtime()?;
    let bar = bar(experts.len(), process, args.quiet);
    if let Some(log) = &process.log {
        let bar = bar.clone();
        log.attach(options.redactor(), move |line| bar.suspend(|| print_log_line(line)));
    }
    let starts = if learning.is_some() && trust == FolderTrust::Trusted { MAX_STARTS } else { 1 };
    let discovered = runtime.block_on(discover_with_needs(experts, &options, &bar, starts));
    bar.finish_and_clear();
    // A skill that does not end must not keep the program.
    runtime.shutdown_background();
    let found = match discovered {
        Ok(found) => found,
        Err(stop) => return stop,
    };
    if let Some(learning) = &learning {
        print_proposals(learning, &options, process, args.quiet, trust)?;
    }
    let found = match whole(found, process) {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    if let Some(failure) = unmatched(&found) {
        return Err(failure);
    }
    let print = |text: &str| print_line(args.quiet, text);
    for (expert, found) in &found {
        for warning in &found.warnings {
            warn(process, args.quiet, &format!("expert {expert}: {warning}"));
        }
        let count = found.tools.len();
        print(&format!("{expert}: {count} {}", if count == 1 { "tool" } else { "tools" }));
    }
    if args.learn {
        return Ok(Exit::Completed);
    }
    let lock = lock(&config, &found, &options);
    if args.check { check(&lock, print) } else { write(&lock, print) }
}

/// Asks for every expert's tools; and while that shows new needs of servers, for those of the experts concerned again, with
/// what they need. `starts` is the most for one expert.
async fn discover_with_needs(
    experts: Vec<ExpertKey>,
    options: &Arc<Options>,
    bar: &ProgressBar,
    starts: usize,
) -> Result<Found, Stop> {
    let mut found = discover(experts, options, bar).await?;
    for _ in 1..starts {
        let needy = options.learning.as_ref().map(|learning| learning.give_needs()).unwrap_or_default();
        if needy.is_empty() {
            break;
        }
        bar.inc_length(needy.len() as u64);
        for (expert, discovered) in discover(needy.into_iter().collect(), options, bar).await? {
            if let Some((_, place)) = found.iter_mut().find(|(known, _)| *known == expert) {
                *place = discovered;
            }
        }
    }
    Ok(found)
}

/// Asks for every expert's tools, some at one time. A signal ends it.
async fn discover(experts: Vec<ExpertKey>, options: &Arc<Options>, bar: &ProgressBar) -> Result<Found, Stop> {
    let mut signals = Signals::listen()
        .map_err(|error| Err(Failure::other(anyhow::Error::new(error).context("cannot listen to signals"))))?;
    let mut found: Vec<Option<Result<DiscoveredTools, RunError>>> = experts.iter().map(|_| None).collect();
    let mut waiting = experts.iter().cloned().enumerate();
    let mut asked = JoinSet::new();
    loop {
        while asked.len() < AT_ONCE
            && let Some((at, expert)) = waiting.next()
        {
            let options = Arc::clone(options);
            bar.set_message(visible(expert.as_str()));
            asked.spawn(async move { (at, runtime::discover_tools(&expert, &options).await) });
        }
        let answered = tokio::select! {
            answered = asked.join_next() => answered,
            signal = signals.next() => return Err(Ok(signal.exit())),
        };
        match answered {
            None => break,
            Some(Ok((at, discovered))) => {
                bar.inc(1);
                if let Some(place) = found.get_mut(at) {
                    *place = Some(discovered);
                }
            }
            Some(Err(panic)) => return Err(Err(Failure::from(RunError::Internal(panic.to_string())))),
        }
    }
    let unasked = || Err(RunError::Internal("an expert was left out".to_owned()));
    Ok(experts.into_iter().zip(found).map(|(expert, found)| (expert, found.unwrap_or_else(unasked))).collect())
}

/// The findings, when all are there; else every failure is printed, and the exit code is that of the first.
fn whole(found: Found, process: &Process) -> Result<Vec<(ExpertKey, DiscoveredTools)>, Exit> {
    let mut sound = Vec::new();
    let mut exit = None;
    for (expert, discovered) in found {
        match discovered {
            Ok(discovered) => sound.push((expert, discovered)),
            Err(error) => {
                let failure = Failure::from(error).in_expert(&expert);
                failure.print(Paint::of_stderr(process));
                exit = exit.or(Some(failure.exit()));
            }
        }
    }
    match exit {
        None => Ok(sound),
        Some(exit) => {
            print_line(false, "nothing was written");
            Err(exit)
        }
    }
}

/// The failure of a lock that would hold names in `pick` and `omit` that fit no tool.
fn unmatched(found: &[(ExpertKey, DiscoveredTools)]) -> Option<Failure> {
    let lines = found.iter().flat_map(|(expert, found)| found.unmatched.iter().map(move |line| (expert, line)));
    let lines: Vec<String> = lines.map(|(expert, line)| format!("expert {expert}: {line}")).collect();
    let failure = Failure::usage(anyhow::anyhow!("{}", lines.join("\n")));
    (!lines.is_empty()).then(|| {
        failure.help("nothing was written: correct the names in perstack.toml, then run `perstack install` again")
    })
}

/// Prints the lines that would give the skills what their servers needed: the result.
fn print_proposals(
    learning: &Learning,
    options: &Options,
    process: &Process,
    quiet: bool,
    trust: FolderTrust,
) -> Result<(), Failure> {
    let proposals = Proposals::new(learning, options);
    match io::stdout().lock().write_all(proposals.text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Failure::other(anyhow::Error::new(error).context("cannot write to standard output")));
        }
        _ => {}
    }
    if trust != FolderTrust::Trusted {
        let line = "the folder is not trusted: no server was started a second time with what it had been refused";
        warn(process, quiet, line);
    }
    let skills = match proposals.skills {
        0 => return Ok(()),
        1 => "1 skill".to_owned(),
        many => format!("{many} skills"),
    };
    print_line(
        quiet,
        &format!(
            "lines for {skills}, from their starts alone; `perstack run --learn` shows what their calls need. Put what you agree with \
             into perstack.toml, then run `perstack install`"
        ),
    );
    Ok(())
}

fn lock(config: &Path, found: &[(ExpertKey, DiscoveredTools)], options: &Options) -> Lock {
    let base_command = options.base_skill_command.as_deref();
    let entries = found.iter().filter_map(|(key, found)| {
        let expert = options.experts.get(key).ok()?;
        Some((Definition::new(expert, base_command), found))
    });
    Lock::from_experts(config, SystemClock.stamp().at, entries)
}

fn write(lock: &Lock, print: impl Fn(&str)) -> Result<Exit, Failure> {
    let path = visible(&lock.path().display().to_string());
    match lockfile::write(lock.path(), lock).map_err(Failure::usage)? {
        Written::Replaced => print(&format!("wrote {path}")),
        Written::UpToDate => print(&format!("{path} is up to date")),
    }
    Ok(Exit::Completed)
}

/// Compares the lock with the one that is there. The differences go to stdout: they are the result.
fn check(lock: &Lock, print: impl Fn(&str)) -> Result<Exit, Failure> {
    let path = visible(&lock.path().display().to_string());
    let Some(old) = lockfile::read(lock.path()).map_err(Failure::usage)? else {
        return Err(Failure::usage(anyhow::anyhow!("{path} does not exist")).help("run `perstack install`"));
    };
    let differences = lockfile::differences(&old, lock);
    if differences.is_empty() {
        print(&format!("{path} is up to date"));
        return Ok(Exit::Completed);
    }
    let text: String = differences.iter().map(|line| visible(line) + "\n").collect();
    // A reader that has gone away has seen enough; the exit code has the rest.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    Err(Failure::usage(anyhow::anyhow!("{path} is stale")).help("run `perstack install` to renew it"))
}

/// A bar over the experts, on a terminal.
fn bar(experts: usize, process: &Process, quiet: bool) -> ProgressBar {
    let is_shown = !quiet && io::stderr().is_terminal() && process.variable("TERM") != Some("dumb");
    if !is_shown {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(experts as u64);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos}/{len} {wide_msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

/// Writes a line to stderr, unless `quiet`.
fn print_line(quiet: bool, text: &str) {
    if !quiet {
        // With stderr closed there is no place left to report to.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}
