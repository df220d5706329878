//! `perstack experts`: the experts of the configuration. Starts nothing and asks no model.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use clap::Args;
use perstack::config::Project;
use perstack::expert::{Expert, ExpertKey, ModelTier};
use perstack::model_name::ModelName;
use serde::Serialize;

use super::failure::Failure;
use super::list_tools::width;
use super::options::{ConfigArgs, ModelArgs};
use super::render::{json_for, shortened, visible};
use super::setup::{ProjectNeed, Setup};
use super::{Exit, Process};

/// Least columns of a description.
const LEAST_DESCRIPTION: usize = 20;

/// Lists the experts with their descriptions
#[derive(Debug, Args)]
pub struct ExpertsArgs {
    /// An array of JSON objects, with skills and delegates
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// An expert in the JSON form, which only grows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExpertRow<'a> {
    key: &'a str,
    version: Option<&'a str>,
    description: Option<&'a str>,
    default_model_tier: Option<ModelTier>,
    /// Absent: as the configuration has it for all experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<&'a [ModelName]>,
    skills: Vec<&'a str>,
    delegates: Vec<&'a str>,
    tags: &'a [String],
    /// The mistakes of an expert that cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    mistakes: Option<String>,
}

/// Runs the command.
pub fn run(args: &ExpertsArgs, process: &Process) -> Result<Exit, Failure> {
    let setup = Setup::read(process, &args.config.place(), &ModelArgs::default(), ProjectNeed::Required)?;
    let rows: Vec<ExpertRow<'_>> = setup.project.iter().flat_map(rows).collect();
    let text = if args.json {
        let text = serde_json::to_string_pretty(&rows).map_err(Failure::other)? + "\n";
        json_for(&text, io::stdout().is_terminal()).into_owned()
    } else {
        table(&rows, width(process))
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(Exit::Completed),
    }
}

fn rows(project: &Project) -> Vec<ExpertRow<'_>> {
    let unusable = project.mistakes.by_expert().into_iter().map(|(key, mistakes)| ExpertRow {
        key,
        version: None,
        description: None,
        default_model_tier: None,
        fallback: None,
        skills: Vec::new(),
        delegates: Vec::new(),
        tags: &[],
        mistakes: Some(mistakes),
    });
    project.experts.values().map(row).chain(unusable).collect()
}

fn row(expert: &Expert) -> ExpertRow<'_> {
    ExpertRow {
        key: expert.key.as_str(),
        version: Some(&expert.version),
        description: expert.description.as_deref(),
        default_model_tier: expert.default_model_tier,
        fallback: expert.fallback.as_deref(),
        skills: expert.skills.keys().map(String::as_str).collect(),
        delegates: expert.delegates.iter().map(ExpertKey::as_str).collect(),
        tags: &expert.tags,
        mistakes: None,
    }
}

/// Columns for people. With a width, descriptions are shortened to fit.
fn table(rows: &[ExpertRow<'_>], width: Option<usize>) -> String {
    let longest = rows.iter().map(|row| visible(row.key).chars().count()).max().unwrap_or(0).max("EXPERT".len());
    let room = width.map(|width| width.saturating_sub(longest + 2).max(LEAST_DESCRIPTION));
    let mut text = format!("{:longest$}  DESCRIPTION\n", "EXPERT");
    for row in rows {
        let description = match (&row.mistakes, row.description) {
            (Some(_), _) => "cannot be used: `perstack check` shows its mistakes".to_owned(),
            (None, Some(description)) => visible(description),
            (None, None) => "-".to_owned(),
        };
        let description = room.map_or_else(|| description.clone(), |room| shortened(&description, room));
        let _ = writeln!(text, "{:longest$}  {description}", visible(row.key));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use perstack::config::parse;

    use super::*;

    #[test]
    fn descriptions_are_cut_to_the_terminal_only() {
        let toml = "[experts.owl]\ninstruction = \"Hoot.\"\ndescription = \"Knows all about\\nowls and \\u001b[1mmice.\"\n\
                    [experts.reviewer]\ninstruction = \"Review.\"\n";
        let project = parse(toml, Path::new("p.toml")).unwrap();
        let rows = rows(&project);
        assert_eq!(
            table(&rows, None),
            "EXPERT    DESCRIPTION\nowl       Knows all about owls and \\x1b[1mmice.\nreviewer  -\n"
        );
        assert_eq!(table(&rows, Some(30)).lines().nth(1), Some("owl       Knows all about owl…"));
    }
}
