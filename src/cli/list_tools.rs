//! `perstack list-tools`: the tools that each expert would see.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use perstack::event::{Event, EventSink};
use perstack::expert::{Expert, ExpertKey};
use perstack::message::Message;
use perstack::permission::{PermissionRules, PermissionVerdict};
use perstack::runtime::{self, CassetteMode, InDoubt, Options, SearchState};
use perstack::tool::{ToolHints, ToolKind, ToolSpec};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::completions::candidates;
use super::failure::Failure;
use super::job_runner::async_runtime;
use super::options::{LockArgs, ModelArgs, PermissionArgs, PlaceArgs};
use super::permission_check::word;
use super::program_log::print_log_line;
use super::render::{Paint, json_for, shortened, visible};
use super::setup::{ProjectNeed, Setup, warn};
use super::signals::Signals;
use super::trust::{self, ProjectUse};
use super::{Exit, Process};

/// Fewest columns for a description that is shortened.
const LEAST_DESCRIPTION: usize = 20;

/// Lists the tools that experts would see
#[derive(Debug, Args)]
pub struct ListToolsArgs {
    /// Only this expert's; without it, every expert's of the configuration
    #[arg(add = candidates::experts())]
    expert: Option<String>,
    /// An array of JSON objects, with each tool's input schema
    #[arg(long)]
    json: bool,
    /// Start the skills and ask them, even if perstack.lock is fresh
    #[arg(long)]
    live: bool,
    /// Show errors only
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten, next_help_heading = "Permissions")]
    permissions: PermissionArgs,
}

/// One tool of one expert.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    expert: &'a str,
    skill: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: &'a Map<String, Value>,
    kind: ToolKind,
    hints: ToolHints,
    permission: Permitted,
    /// Requests do not have it before the model has found it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_searched: bool,
}

/// The permission of a tool.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Permitted {
    /// `allowed`, `asks` or `denied`.
    verdict: &'static str,
    /// The rule behind it, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// Some of its calls are decided otherwise, by their arguments.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    by_arguments: bool,
}

/// A sink that drops events: these commands show none.
pub struct NoEvents;

impl EventSink for NoEvents {
    fn emit(&self, _event: &Event, _history: &[Message]) {}
}

/// Runs the command.
pub fn run(args: &ListToolsArgs, process: &Process) -> Result<Exit, Failure> {
    let setup = Setup::read(process, &args.place, &ModelArgs::default(), ProjectNeed::Required)?;
    setup.print_warnings(process, args.quiet);
    let setup =
        if args.live { setup } else { setup.with_lock(LockArgs::default(), process, &args.place, args.quiet)? };
    let experts = match &args.expert {
        Some(expert) => {
            let expert = setup.expert(expert)?;
            setup.print_unusable(process, args.quiet);
            vec![expert]
        }
        None => setup.experts()?,
    };
    let project_use = ProjectUse { experts: &experts, asks_models: false, may_ask: true };
    trust::require(&setup, process, args.place.trust, &project_use)?;
    let cancel = CancellationToken::new();
    let mut options = setup.options(Arc::new(NoEvents), cancel, InDoubt::default(), CassetteMode::None);
    options.run_permissions = args.permissions.given();
    if let Some(log) = &process.log {
        log.attach(options.redactor(), print_log_line);
    }
    let runtime = async_runtime()?;
    let format = if args.json { Format::Json } else { Format::Table(width(process)) };
    let mut warnings = Vec::new();
    let exit = runtime.block_on(list(experts, options, format, Paint::of_stderr(process), &mut warnings));
    runtime.shutdown_background();
    for warning in &warnings {
        warn(process, args.quiet, warning);
    }
    exit
}

/// The form of stdout.
#[derive(Debug, Clone, Copy)]
enum Format {
    Json,
    /// Cut to a number of columns, if there is one.
    Table(Option<usize>),
}

/// Collects and writes, unless a signal ends it. Adds warnings to `warnings`.
async fn list(
    experts: Vec<ExpertKey>,
    options: Options,
    format: Format,
    paint: Paint,
    warnings: &mut Vec<String>,
) -> Result<Exit, Failure> {
    let mut signals = Signals::listen().context("cannot listen to signals").map_err(Failure::other)?;
    let work = async {
        let collected = collect(&experts, &options, warnings).await;
        // A reader that stalls must not block the signals.
        tokio::task::spawn_blocking(move || write(&collected, format, paint)).await.map_err(Failure::other)?
    };
    tokio::select! {
        exit = work => exit,
        signal = signals.next() => Ok(signal.exit()),
    }
}

/// The tools that were found, and the failures of other experts.
struct Collected {
    found: Vec<(ExpertKey, Vec<(ToolSpec, Permitted)>)>,
    /// The servers of each expert whose tools its model has to search for.
    searched: Vec<(ExpertKey, HashSet<String>)>,
    /// There are permissions.
    decides: bool,
    failures: Vec<Failure>,
}

/// Asks for each expert's tools in turn. One that fails does not hide the others'.
async fn collect(experts: &[ExpertKey], options: &Options, warnings: &mut Vec<String>) -> Collected {
    let mut collected = Collected { found: Vec::new(), searched: Vec::new(), decides: false, failures: Vec::new() };
    for expert in experts {
        match runtime::list(expert, options).await {
            Ok(listed) => {
                warnings.extend(listed.warnings.iter().map(|warning| format!("expert {expert}: {warning}")));
                let permitted = options.experts.get(expert).map(|expert| {
                    let rules = rules(options, expert);
                    collected.decides |= !rules.is_empty();
                    listed
                        .tools
                        .into_iter()
                        .map(|tool| (permitted(&rules, &tool), tool))
                        .map(|(it, tool)| (tool, it))
                        .collect()
                });
                collected.found.push((expert.clone(), permitted.unwrap_or_default()));
                if let Ok(state) = SearchState::new(expert, options) {
                    warnings.extend(state.warning().map(|line| format!("expert {expert}: {line}")));
                    collected.searched.push((expert.clone(), state.servers().map(str::to_owned).collect()));
                }
            }
            Err(error) => collected.failures.push(Failure::from(error).in_expert(expert)),
        }
    }
    collected
}

fn write(collected: &Collected, format: Format, paint: Paint) -> Result<Exit, Failure> {
    for failure in &collected.failures {
        failure.print(paint);
    }
    let rows: Vec<Row<'_>> = collected
        .found
        .iter()
        .flat_map(|(expert, tools)| {
            let searched = collected.searched.iter().find(|(other, _)| other == expert);
            let is_searched = move |tool: &ToolSpec| {
                tool.kind == ToolKind::Mcp && searched.is_some_and(|(_, servers)| servers.contains(&tool.skill_name))
            };
            tools
                .iter()
                .map(move |(tool, permitted)| Row { is_searched: is_searched(tool), ..row(expert, tool, permitted) })
        })
        .collect();
    let text = match format {
        Format::Json => json_for(&json(&rows)?, io::stdout().is_terminal()).into_owned(),
        Format::Table(width) => table(&rows, width, collected.decides),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(collected.failures.first().map_or(Exit::Completed, Failure::exit)),
    }
}

/// The rules for the calls of an expert.
fn rules<'a>(options: &'a Options, expert: &'a Expert) -> PermissionRules<'a> {
    PermissionRules {
        run: &options.run_permissions,
        user: &options.user_permissions,
        project: &options.permissions,
        expert: &expert.permissions,
    }
}

fn permitted(rules: &PermissionRules<'_>, tool: &ToolSpec) -> Permitted {
    if tool.kind == ToolKind::Conversation {
        return Permitted { verdict: "allowed", rule: None, by_arguments: false };
    }
    let (verdict, by_arguments) = rules.decide_tool(tool, &tool.name);
    let rule = match &verdict {
        PermissionVerdict::Allowed(rule) => rule.clone(),
        PermissionVerdict::Asks(rule) | PermissionVerdict::Denied(rule) => Some(rule.clone()),
    };
    Permitted { verdict: word(&verdict), rule, by_arguments }
}

fn row<'a>(expert: &'a ExpertKey, tool: &'a ToolSpec, permitted: &Permitted) -> Row<'a> {
    Row {
        expert: expert.as_str(),
        skill: &tool.skill_name,
        name: &tool.name,
        description: tool.description.as_deref(),
        input_schema: &tool.input_schema,
        kind: tool.kind,
        hints: tool.hints,
        permission: permitted.clone(),
        is_searched: false,
    }
}

fn json(rows: &[Row<'_>]) -> Result<String, Failure> {
    serde_json::to_string_pretty(rows).map(|text| text + "\n").map_err(Failure::other)
}

/// Columns for people. With a width, descriptions are shortened to fit; with permissions there is a column for them, and where
/// tools are searched one for that.
fn table(rows: &[Row<'_>], width: Option<usize>, decides: bool) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut lines = vec![(["EXPERT", "SKILL", "TOOL"].map(str::to_owned).to_vec(), "DESCRIPTION".to_owned())];
    lines.extend(rows.iter().map(|row| {
        let cells = [row.expert, row.skill, row.name].map(visible).to_vec();
        (cells, visible(row.description.unwrap_or_default()))
    }));
    if decides {
        let words = std::iter::once("PERMISSION".to_owned()).chain(rows.iter().map(permission_text));
        for ((cells, _), word) in lines.iter_mut().zip(words) {
            cells.push(word);
        }
    }
    if rows.iter().any(|row| row.is_searched) {
        let words = rows.iter().map(|row| if row.is_searched { "by search" } else { "always" });
        for ((cells, _), word) in lines.iter_mut().zip(std::iter::once("SENT").chain(words)) {
            cells.push(word.to_owned());
        }
    }
    let length = |text: &String| text.chars().count();
    let columns = lines.first().map_or(0, |(cells, _)| cells.len());
    let widths: Vec<usize> = (0..columns)
        .map(|at| lines.iter().filter_map(|(cells, _)| cells.get(at)).map(length).max().unwrap_or(0))
        .collect();
    let taken = widths.iter().sum::<usize>() + 2 * columns;
    let room = width.map(|width| width.saturating_sub(taken).max(LEAST_DESCRIPTION));
    let mut text = String::new();
    for (cells, description) in &lines {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            // Writing to a String does not fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        line.push_str(&room.map_or_else(|| description.clone(), |room| shortened(description, room)));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The permission of a tool in a few words.
fn permission_text(row: &Row<'_>) -> String {
    let star = if row.permission.by_arguments { "*" } else { "" };
    let reads = if row.hints.read_only { ", read-only" } else { "" };
    format!("{}{star}{reads}", row.permission.verdict)
}

/// The columns of the terminal that stdout is; `None` where it is none, and nothing needs to be cut.
pub fn width(process: &Process) -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let given = process.variable("COLUMNS").and_then(|columns| columns.parse().ok());
    given.or_else(terminal_width)
}

#[cfg(unix)]
fn terminal_width() -> Option<usize> {
    rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

#[cfg(not(unix))]
fn terminal_width() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(skill: &str, name: &str, description: &str) -> ToolSpec {
        ToolSpec {
            skill_name: skill.to_owned(),
            name: name.to_owned(),
            description: Some(description.to_owned()),
            input_schema: Map::from_iter([("type".to_owned(), Value::from("object"))]).into(),
            kind: ToolKind::Mcp,
            hints: ToolHints { read_only: true, ..ToolHints::default() },
        }
    }

    fn allowed() -> Permitted {
        Permitted { verdict: "allowed", rule: None, by_arguments: false }
    }

    #[test]
    fn permissions_have_a_column_where_there_are_any() {
        let expert: ExpertKey = "reader".parse().unwrap();
        let tools = [tool("web", "get", "Gets"), tool("web", "find", "Finds")];
        let asks = Permitted { verdict: "asks", rule: None, by_arguments: true };
        let rows = [row(&expert, &tools[0], &allowed()), row(&expert, &tools[1], &asks)];
        assert_eq!(
            table(&rows, None, true),
            "EXPERT  SKILL  TOOL  PERMISSION          DESCRIPTION\n\
             reader  web    get   allowed, read-only  Gets\n\
             reader  web    find  asks*, read-only    Finds\n"
        );
    }

    #[test]
    fn the_table_is_cut_to_the_terminal_only() {
        let expert: ExpertKey = "reader".parse().unwrap();
        let tools = [
            tool("@perstack/base", "readTextFile", "Reads a text\nfile with \u{1b}[1mlines"),
            tool("web", "get", "Gets"),
        ];
        let rows: Vec<Row<'_>> = tools.iter().map(|t| row(&expert, t, &allowed())).collect();
        assert_eq!(
            table(&rows, None, false),
            "EXPERT  SKILL           TOOL          DESCRIPTION\n\
             reader  @perstack/base  readTextFile  Reads a text file with \\x1b[1mlines\n\
             reader  web             get           Gets\n"
        );
        assert_eq!(
            table(&rows, Some(60), false).lines().nth(1),
            Some("reader  @perstack/base  readTextFile  Reads a text file wit…")
        );
    }

    #[test]
    fn json_holds_the_schema() {
        let expert: ExpertKey = "reader".parse().unwrap();
        let tool = tool("web", "get", "Gets");
        insta::assert_snapshot!(json(&[row(&expert, &tool, &allowed())]).unwrap(), @r#"
        [
          {
            "expert": "reader",
            "skill": "web",
            "name": "get",
            "description": "Gets",
            "inputSchema": {
              "type": "object"
            },
            "kind": "mcp",
            "hints": {
              "readOnly": true,
              "idempotent": false,
              "destructive": false,
              "openWorld": false
            },
            "permission": {
              "verdict": "allowed"
            }
          }
        ]
        "#);
    }
}
