//! Completion of this program's words by shells: [`answer`] gives a shell the words for a line, `perstack completions` prints
//! the script that makes a shell ask. What the words are is left to [`candidates`].

pub mod candidates;

use std::io::{self, Write};

use anyhow::anyhow;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_complete::env::{CompleteEnv, Shells};

use super::Exit;
use super::failure::Failure;

/// The variable by which a shell's script asks for words.
const VARIABLE: &str = "PERSTACK_COMPLETE";

/// The program's name, by which the script calls it.
const PROGRAM: &str = "perstack";

/// The end of a script in zsh's `fpath`, where it is the body of a function, called for the first line.
const ZSH_AUTOLOAD: &str = "
if [ \"${funcstack[1]}\" = \"_perstack\" ]; then
    _clap_dynamic_completer_perstack \"$@\"
fi
";

const EXAMPLES: &str = "\
Examples:
  perstack completions bash > ~/.local/share/bash-completion/completions/perstack
  perstack completions fish > ~/.config/fish/completions/perstack.fish
  perstack completions zsh > ~/.zfunc/_perstack     # a folder of your fpath

The script asks perstack itself for words: experts, jobs with their queries, checkpoints, models,
skills, tools, files. Nothing is started for that, and no model is asked.";

/// Prints the completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Answers a shell that asks for words, and ends the process then.
pub fn answer(command: fn() -> Command) {
    CompleteEnv::with_factory(|| with_known_words(command())).var(VARIABLE).completer(PROGRAM).complete();
}

/// The command line with the models that are known for `--model`, and the tools for permissions: the options that commands
/// share know no candidates.
fn with_known_words(command: Command) -> Command {
    let permissions = |command: Command| {
        ["allow", "ask", "deny"]
            .into_iter()
            .fold(command, |command, name| command.mut_arg(name, |arg| arg.add(candidates::permissions())))
    };
    let models = |command: Command| command.mut_arg("model", |model| model.add(candidates::models()));
    let command = ["run", "resume"].into_iter().fold(command, |command, name| command.mut_subcommand(name, models));
    let deciding = ["run", "resume", "list-tools"].into_iter();
    deciding.fold(command, |command, name| command.mut_subcommand(name, permissions))
}

/// Writes the script to stdout.
pub fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    match io::stdout().lock().write_all(&script(args.shell)?) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("cannot write the script to standard output")))
        }
        _ => Ok(Exit::Completed),
    }
}

/// The script.
fn script(shell: Shell) -> Result<Vec<u8>, Failure> {
    let name = shell.to_string();
    let shells = Shells::builtins();
    let completer =
        shells.completer(&name).ok_or_else(|| Failure::usage(anyhow!("{name} is no shell that is known")))?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script).map_err(Failure::other)?;
    if shell == Shell::Zsh {
        script.extend(ZSH_AUTOLOAD.as_bytes());
    }
    Ok(script)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

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
            let made = String::from_utf8(script(shell).unwrap()).unwrap();
            if std::env::var_os("UPDATE_DOCS").is_some() {
                std::fs::write(&path, &made).unwrap();
            }
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(kept == made, "{} is not what `perstack completions {shell}` prints", path.display());
        }
    }
}
