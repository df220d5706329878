//! Files of another user of the machine: not used unless the user names them. Needs root, to act as two users.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::process::Ran;
use crate::support::{Answer, Provider, Test};
use crate::trust::{attack, neighbour};

/// The user that runs the binary, and another one.
const RUNNER: u32 = 65_534;
const OTHER: u32 = 1_234;

/// A test whose files are the runner's; `None`, with the reason printed, where there are no two users to act as.
#[expect(clippy::print_stderr, reason = "a test that is skipped says why")]
fn as_user() -> Option<Test> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can act as two users");
        return None;
    }
    let test = Test::with(Provider::OpenAi).answers([Answer::text("Owls.")]).may_leave_answers();
    test.binary();
    give(test.root(), RUNNER);
    // The folder of the build may be closed to others. Copied by a process of its own: a child that another test starts
    // meanwhile would inherit the descriptor that writes, and a file that is open for writing cannot be executed.
    let binary = test.root().join("perstack-binary");
    let copied = Command::new("install").args(["-m", "755", env!("CARGO_BIN_EXE_perstack")]).arg(&binary).status();
    assert!(copied.unwrap().success(), "the binary is copied");
    Some(test)
}

fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}

fn run(test: &Test, user: u32, args: &[&str]) -> Ran {
    let mut command = Command::new(test.root().join("perstack-binary"));
    command.args(args);
    if user != 0 {
        command.uid(user).gid(user);
    }
    test.start(command).finish()
}

#[test]
fn a_configuration_of_another_user_is_used_only_when_it_is_named() {
    attack("another user's perstack.toml is found");
    neighbour("another user's perstack.toml is named");
    let Some(test) = as_user() else { return };
    let theirs = test.workspace().join("perstack.toml");
    run(&test, RUNNER, &["run", "librarian", "q"]).assert_code(0);
    test.server().script([Answer::text("Owls."), Answer::text("Owls.")]);
    chown(&theirs, Some(OTHER), Some(OTHER)).unwrap();
    let ran = run(&test, RUNNER, &["run", "librarian", "q"]).assert_code(2);
    ran.snapshot("trust-owner/configuration");
    run(&test, RUNNER, &["check"]);
    assert_eq!(test.server().requests().len(), 1);
    run(&test, RUNNER, &["run", "librarian", "q", "--config", "perstack.toml"]).assert_code(0);
    run(&test, RUNNER, &["run", "librarian", "q", "--trust"]).assert_code(0);
    // Root's files are everybody's.
    test.server().script([Answer::text("Owls.")]);
    chown(&theirs, Some(0), Some(0)).unwrap();
    run(&test, RUNNER, &["run", "librarian", "q"]).assert_code(0);
}

#[test]
fn an_included_file_an_env_file_and_a_storage_of_another_user_are_not_used() {
    attack("another user's .env or storage is found");
    let Some(test) = as_user() else { return };
    for (name, text) in [(".env", "OWL=1\n"), (".env.local", "")] {
        let path = test.workspace().join(name);
        fs::write(&path, text).unwrap();
        chown(&path, Some(OTHER), Some(OTHER)).unwrap();
        let ran = run(&test, RUNNER, &["run", "librarian", "q"]).assert_code(2);
        ran.snapshot(&format!("trust-owner/env-file{}", name.replace('.', "-")));
        fs::remove_file(&path).unwrap();
    }
    let storage = test.workspace().join("perstack");
    fs::create_dir(&storage).unwrap();
    fs::set_permissions(&storage, fs::Permissions::from_mode(0o777)).unwrap();
    chown(&storage, Some(OTHER), Some(OTHER)).unwrap();
    for args in [&["run", "librarian", "q"][..], &["log"]] {
        run(&test, RUNNER, args).assert_code(2).snapshot(&format!("trust-owner/storage-{}", args[0]));
    }
    // The way on is one that the command has.
    let ran = run(&test, RUNNER, &["log"]).assert_code(2).assert_stderr(["set PERSTACK_TRUST=1"]);
    assert!(!ran.stderr.contains("--trust"), "{}", ran.stderr);
    run(&test, RUNNER, &["log", "--jobs", "--storage", "perstack"]).assert_code(0);
    assert_eq!(test.server().requests().len(), 0);
    run(&test.env("PERSTACK_TRUST", "1"), RUNNER, &["log", "--jobs"]).assert_code(0);
}

#[test]
fn root_of_a_container_works_in_a_folder_of_another_user() {
    attack("another user puts a perstack.toml into root's folder");
    neighbour("root works in a folder that belongs to one user");
    let Some(test) = as_user() else { return };
    give(&test.workspace(), OTHER);
    run(&test, 0, &["run", "librarian", "q"]).assert_code(0);
    // A file that another user has put into root's own folder is not that user's folder.
    test.server().script([Answer::text("Owls.")]);
    chown(test.workspace(), Some(0), Some(0)).unwrap();
    run(&test, 0, &["run", "librarian", "q"]).assert_code(2).snapshot("trust-owner/in-roots-folder");
}
