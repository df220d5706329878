//! `perstack login`: a person lets this program use a remote skill.

use std::io::{self, BufRead, Read, Write};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use perstack::expert::{Expert, SkillSpec};
use perstack::proxy::ProxySettings;
use perstack::redact::Redactor;
use perstack::skill::mcp::{self, AuthorizationCode, CallbackOutcome, Login, Network};
use tokio::sync::mpsc;

use super::completions::candidates;
use super::failure::Failure;
use super::job_runner::async_runtime;
use super::options::{ConfigArgs, ModelArgs};
use super::render::{Paint, visible};
use super::setup::{ProjectNeed, Setup};
use super::signals::Signals;
use super::trust::{self, ProjectUse};
use super::{Exit, Process};

/// The time that a person has to log in: authorization servers forget their pages sooner.
const PATIENCE: Duration = Duration::from_mins(15);

/// Most bytes of a line on standard input; browsers have shorter addresses.
const MAX_LINE: u64 = 16 << 10;

/// Logs in to a remote skill whose server requires it
#[derive(Debug, Args)]
#[command(after_help = "\
Prints an address to open in a browser, anywhere. A browser on this machine comes back by itself; the address that one \
on another machine ends at is pasted here. The login is kept in the user's configuration folder, readable by its owner \
alone, and renewed as it is used. CI jobs need none: they use oauth.grant = \"clientCredentials\".")]
pub struct LoginArgs {
    /// The skill's name in the configuration
    #[arg(add = candidates::remote_skills())]
    skill: String,
    /// The expert that has it, where several have different skills of that name
    #[arg(add = candidates::experts())]
    expert: Option<String>,
    /// Forget the login instead
    #[arg(long)]
    logout: bool,
    /// The port of this machine that the browser comes back to, where a registered client must name it [default: any]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true, conflicts_with = "logout")]
    port: u16,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the command.
pub fn run(args: &LoginArgs, process: &Process) -> Result<Exit, Failure> {
    let setup = Setup::read(process, &args.config.place(), &ModelArgs::default(), ProjectNeed::Required)?;
    setup.print_warnings(process, false);
    let spec = find(args, &setup)?;
    let holders = setup.experts_with(&spec);
    let project_use = ProjectUse { experts: &holders, asks_models: false, may_ask: true };
    trust::require(&setup, process, args.config.place().trust, &project_use)?;
    let network = Network {
        proxy: ProxySettings::settle(setup.proxy.as_deref(), &setup.environment),
        logins: setup.logins.clone(),
        redactor: Redactor::default(),
    };
    let paint = Paint::of_stderr(process);
    let runtime = async_runtime()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::listen().context("cannot listen to signals").map_err(Failure::other)?;
        let work = async {
            if args.logout {
                forget(&spec, &setup, &network).await
            } else {
                log_in(&spec, &setup, &network, args.port, paint).await
            }
        };
        tokio::select! {
            done = work => done.map(|()| Exit::Completed),
            signal = signals.next() => Ok(signal.exit()),
        }
    });
    // A read of standard input may never return.
    runtime.shutdown_background();
    ended
}

/// The one remote skill that is meant.
fn find(args: &LoginArgs, setup: &Setup) -> Result<SkillSpec, Failure> {
    let only = args.expert.as_deref().map(|expert| setup.expert(expert)).transpose()?;
    let all = setup.project.iter().flat_map(|project| project.experts.values());
    let experts: Vec<&Expert> = all.filter(|expert| only.as_ref().is_none_or(|key| *key == expert.key)).collect();
    let mut found: Vec<&SkillSpec> = Vec::new();
    for spec in experts.iter().filter_map(|expert| expert.skills.get(&args.skill)) {
        if !found.iter().any(|known| is_same(known, spec)) {
            found.push(spec);
        }
    }
    match found.as_slice() {
        [spec] => Ok((*spec).clone()),
        [] => {
            let is_remote = |spec: &&SkillSpec| matches!(spec, SkillSpec::McpSseSkill { .. });
            let remote = experts.iter().flat_map(|expert| expert.skills.values()).filter(is_remote);
            let mut names: Vec<&str> = remote.map(|spec| spec.common().name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            let help = if names.is_empty() {
                "skills to log in to have the type mcpSseSkill; there is none".to_owned()
            } else {
                format!("the skills on the network are {}", names.join(", "))
            };
            Err(Failure::usage(anyhow!("there is no skill {:?}", args.skill)).help(help))
        }
        _ => Err(Failure::usage(anyhow!("several experts have different skills {:?}", args.skill))
            .help("name the expert, too: perstack login SKILL EXPERT")),
    }
}

/// Returns true if one login serves both skills.
fn is_same(one: &SkillSpec, other: &SkillSpec) -> bool {
    match (one, other) {
        (
            SkillSpec::McpSseSkill { endpoint, oauth, .. },
            SkillSpec::McpSseSkill { endpoint: other_endpoint, oauth: other_oauth, .. },
        ) => endpoint == other_endpoint && oauth == other_oauth,
        _ => one == other,
    }
}

async fn forget(spec: &SkillSpec, setup: &Setup, network: &Network) -> Result<(), Failure> {
    let was_there = mcp::forget(spec, &setup.environment, network).await.map_err(Failure::usage)?;
    let name = &spec.common().name;
    print_line(&if was_there {
        format!("logged out of skill {name}: its login is forgotten here; to revoke it, ask its server")
    } else {
        format!("there was no login for skill {name}")
    });
    Ok(())
}

async fn log_in(spec: &SkillSpec, setup: &Setup, network: &Network, port: u16, paint: Paint) -> Result<(), Failure> {
    let login = Login::begin(spec, &setup.environment, network, port).await.map_err(Failure::usage)?;
    let name = &spec.common().name;
    print_line(&format!(
        "to log in to skill {name}, open this address in a browser:\n\n  {}\n\nwaiting for the browser to come back to \
         {}; if it runs on another machine, paste the address that it ends at here",
        login.url(),
        login.comes_back_to()
    ));
    let returned = tokio::time::timeout(PATIENCE, returned(&login, paint)).await;
    let returned = returned.map_err(|_| {
        let minutes = PATIENCE.as_secs() / 60;
        Failure::other(anyhow!("no login to skill {name} within {minutes} minutes"))
    })?;
    let answer = match returned {
        CallbackOutcome::Agreed(answer) => answer,
        CallbackOutcome::Refused(why) => {
            return Err(Failure::other(anyhow!("no login for skill {name}: its authorization server refused: {why}")));
        }
    };
    let file = finish(login, &answer).await?;
    print_line(&format!("logged in to skill {name}; the login is kept in {file}"));
    Ok(())
}

async fn finish(login: Login, answer: &AuthorizationCode) -> Result<String, Failure> {
    let file = login.finish(answer).await.map_err(Failure::other)?;
    Ok(file.display().to_string())
}

/// The answer that the browser comes back with, here or pasted.
async fn returned(login: &Login, paint: Paint) -> CallbackOutcome {
    let mut lines = lines();
    let mut is_over = false;
    // One wait for all: giving up the wait may lose an answer that the browser was already thanked for.
    let mut browser = std::pin::pin!(login.returned());
    loop {
        tokio::select! {
            returned = &mut browser => return returned,
            line = lines.recv(), if !is_over => match line {
                None => is_over = true,
                Some(line) if line.trim().is_empty() => {}
                Some(line) => match login.read(&line) {
                    Ok(returned) => return returned,
                    Err(why) => print_line(&format!("{} {why}", paint.yellow("not accepted:"))),
                },
            },
        }
    }
}

/// Standard input by lines, read on a thread that ends with the process.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    let read = move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            // Input that cannot be read any more is at its end.
            match (&mut stdin).take(MAX_LINE).read_until(b'\n', &mut line) {
                Ok(1..) if sender.blocking_send(String::from_utf8_lossy(&line).into_owned()).is_ok() => {}
                _ => return,
            }
        }
    };
    std::thread::spawn(read);
    lines
}

/// Writes to stderr; several lines, each with its control characters shown.
fn print_line(text: &str) {
    let text: Vec<String> = text.lines().map(visible).collect();
    // With stderr closed there is no place left to report to.
    let _ = writeln!(io::stderr().lock(), "{}", text.join("\n"));
}
