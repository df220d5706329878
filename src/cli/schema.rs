//! `perstack schema`: the JSON Schemas of `perstack.toml`, for editors, and of what scripts read.

use std::io::{self, Write};

use anyhow::Context;
use clap::{Args, ValueEnum};
use perstack::config::schema;
use serde_json::{Map, Value};

use super::Exit;
use super::failure::Failure;

/// The schemas of everything but the configuration, by their names; the library's tests make it from the types.
const CONTRACTS: &str = include_str!("schema/contracts.json");

const EXAMPLES: &str = "\
Examples:
  perstack schema > perstack.schema.json
  perstack schema events

An editor with a TOML extension (Even Better TOML, taplo) uses it in a perstack.toml whose
first line is
  #:schema ./perstack.schema.json";

/// Prints the JSON Schema of perstack.toml, or of what perstack writes
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SchemaArgs {
    /// The file or output that it describes
    #[arg(value_enum, default_value_t, hide_default_value = true)]
    of: Described,
}

/// The files and outputs that have schemas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Described {
    /// perstack.toml (the default)
    #[default]
    Config,
    /// A line of `--output jsonl`
    Events,
    /// The object of `--output json`
    Result,
    /// The object of `--dry-run --output json`
    DryRun,
    /// A job.json of the storage
    Job,
    /// A checkpoint file of the storage, the TypeScript version's included
    Checkpoint,
    /// The object of `perstack test --output json`
    Tests,
}

impl Described {
    fn schema(self) -> Result<Value, Failure> {
        if self == Self::Config {
            return Ok(schema());
        }
        let mut contracts: Map<String, Value> = serde_json::from_str(CONTRACTS)
            .context("the schemas in this program cannot be read")
            .map_err(Failure::other)?;
        let name: &str = self.into();
        contracts.remove(name).with_context(|| format!("this program has no schema of {name}")).map_err(Failure::other)
    }
}

/// Writes the schema to stdout.
pub fn run(args: &SchemaArgs) -> Result<Exit, Failure> {
    match io::stdout().lock().write_all(format!("{:#}\n", args.of.schema()?).as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("cannot write the schema to standard output")))
        }
        _ => Ok(Exit::Completed),
    }
}
