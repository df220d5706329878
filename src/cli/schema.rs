//! `perstack schema`: the JSON Schema of `perstack.toml`, for editors.

use std::io::{self, Write};

use clap::Args;
use perstack::config::schema;

use super::Exit;
use super::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  perstack schema > perstack.schema.json

An editor with a TOML extension (Even Better TOML, taplo) uses it in a perstack.toml whose
first line is
  #:schema ./perstack.schema.json";

/// Prints the JSON Schema of perstack.toml
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SchemaArgs {}

/// Writes the schema to stdout.
pub fn run() -> Result<Exit, Failure> {
    match io::stdout().lock().write_all(format!("{:#}\n", schema()).as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("cannot write the schema to standard output")))
        }
        _ => Ok(Exit::Completed),
    }
}
