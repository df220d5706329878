//! Starts the process.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
