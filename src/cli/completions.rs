//! `perstack completions`: what a shell needs to complete this program's words.

use std::io::{self, Write};

use clap::{Args, Command};
use clap_complete::Shell;

use super::Exit;
use super::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  perstack completions bash > ~/.local/share/bash-completion/completions/perstack
  perstack completions fish > ~/.config/fish/completions/perstack.fish";

/// Prints the completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the script to stdout.
pub fn run(args: &CompletionsArgs, command: &mut Command) -> Result<Exit, Failure> {
    match io::stdout().lock().write_all(&script(args.shell, command)) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("cannot write the script to standard output")))
        }
        _ => Ok(Exit::Completed),
    }
}

/// The script. Made in memory first, because the generator panics when its writer fails.
fn script(shell: Shell, command: &mut Command) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "perstack", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    /// `UPDATE_DOCS=1 cargo test --bins cli::` writes them anew.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "asks for the file to be written anew")]
    fn the_scripts_in_the_repository_are_current() {
        for (shell, file) in [
            (Shell::Bash, "perstack.bash"),
            (Shell::Zsh, "_perstack"),
            (Shell::Fish, "perstack.fish"),
            (Shell::PowerShell, "_perstack.ps1"),
            (Shell::Elvish, "perstack.elv"),
        ] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions").join(file);
            let made = String::from_utf8(script(shell, &mut Cli::command())).unwrap();
            if std::env::var_os("UPDATE_DOCS").is_some() {
                std::fs::write(&path, &made).unwrap();
            }
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(kept == made, "{} is not what `perstack completions {shell}` prints", path.display());
        }
    }
}
