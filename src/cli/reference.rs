//! Pages about every command, made from the command line's own definition: `docs/reference/commands.md` and the manual
//! pages in `man/`. `UPDATE_DOCS=1 cargo test --bins cli::` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};

use super::{Cli, exit};

/// Columns of help in the page.
const WIDTH: usize = 100;

fn in_repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn command() -> Command {
    let mut command = Cli::command().term_width(WIDTH);
    command.build();
    command
}

/// All commands that `--help` lists, each before its own.
fn listed(command: &Command) -> Vec<&Command> {
    // Workers are there in builds with a feature of their own, and described in docs/scale.md.
    let is_left_out = |name: &str| matches!(name, "help" | "fleet");
    let below = command.get_subcommands().filter(|below| !below.is_hide_set() && !is_left_out(below.get_name()));
    [command].into_iter().chain(below.flat_map(listed)).collect()
}

/// The command's name with those above it, joined by dashes.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

fn page(root: &Command) -> String {
    let mut page =
        "# Commands\n\nMade from `--help`; a test keeps this page current. `man/` has the same as manual pages.\n"
            .to_owned();
    for command in listed(root) {
        let title = command.get_bin_name().unwrap_or_else(|| command.get_name());
        let help = command.clone().term_width(WIDTH).render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        let _ = write!(page, "\n## {title}\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
    }
    page
}

fn manual_pages(root: &Command) -> BTreeMap<String, String> {
    let manual_page = |command: &Command| {
        let mut text = Vec::new();
        clap_mangen::Man::new(command.clone()).render(&mut text).unwrap();
        (format!("{}.1", name(command)), String::from_utf8(text).unwrap())
    };
    listed(root).into_iter().map(manual_page).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "asks for the file to be written anew")]
fn the_reference_of_commands_is_current() {
    let (file, page) = (in_repository("docs/reference/commands.md"), page(&command()));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, &page).unwrap();
    }
    assert!(fs::read_to_string(&file).unwrap_or_default() == page, "UPDATE_DOCS=1 cargo test --bins cli:: renews it");
}

/// The table of exit codes in `docs/scripts.md`: the first behind their heading.
#[test]
#[expect(clippy::disallowed_methods, reason = "asks for the file to be written anew")]
fn the_table_of_exit_codes_is_current() {
    let file = in_repository("docs/scripts.md");
    let text = fs::read_to_string(&file).unwrap();
    let (before, behind) = text.split_once("## Exit codes\n\n").unwrap();
    let is_row = |line: &&str| line.starts_with('|');
    let table: String = behind.split_inclusive('\n').take_while(is_row).collect();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let rest: String = behind.split_inclusive('\n').skip_while(is_row).collect();
        fs::write(&file, format!("{before}## Exit codes\n\n{}{rest}", exit::markdown())).unwrap();
        return;
    }
    assert_eq!(table, exit::markdown(), "UPDATE_DOCS=1 cargo test --bins cli:: renews it");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "asks for the file to be written anew")]
fn the_manual_pages_are_current() {
    let (folder, pages) = (in_repository("man"), manual_pages(&command()));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in &pages {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let kept: BTreeMap<String, String> = files
        .map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&file).unwrap()))
        .collect();
    assert!(kept == pages, "UPDATE_DOCS=1 cargo test --bins cli:: renews man/");
}
