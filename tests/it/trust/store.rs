//! The storage, the lock and cassettes: for their owner alone, and nothing written through a link that a folder brings.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::process::Ran;
use crate::support::{Answer, Provider, Test, call};
use crate::trust::{attack, neighbour};

/// Everything below `folder`, itself included.
fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() { found.extend(all(&path)) } else { found.push(path) }
    }
    found
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o777
}

/// A test whose base skill has the tools that these tests call.
fn library() -> Test {
    Test::with(Provider::Anthropic)
}

/// Runs the binary under a umask.
fn run_with_umask(test: &Test, umask: &str, arguments: &str) -> Ran {
    let mut shell = std::process::Command::new("/bin/sh");
    shell.arg("-c").arg(format!("umask {umask}; exec \"$0\" {arguments}")).arg(test.binary());
    test.start(shell).finish()
}

#[test]
fn stored_files_and_cassettes_are_for_their_owner_under_any_umask() {
    attack("another user who reads the storage or a cassette");
    for umask in ["000", "022", "077", "777"] {
        let long = "An owl a line.\n".repeat(20_000);
        let arguments = json!({
            "command": "cat", "args": ["long.txt"], "env": {}, "cwd": ".", "stdout": true, "stderr": false,
            "timeout": 10_000,
        });
        let read = call("c1", "exec", arguments);
        let test = library().answers([Answer::calls([read]), Answer::text("Read.")]).file("long.txt", long);
        run_with_umask(&test, umask, "run librarian q --record tape.jsonl").assert_code(0);
        let stored = all(&test.workspace().join("perstack"));
        assert!(stored.iter().any(|path| path.ends_with("outputs")), "{stored:?}");
        for path in stored {
            let right = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(format!("{:o}", mode(&path)), format!("{right:o}"), "{umask}: {}", path.display());
        }
        assert_eq!(mode(&test.workspace().join("tape.jsonl")) & 0o077, 0, "{umask}");
    }
}

#[test]
fn a_storage_that_is_a_link_is_refused_unless_it_is_named() {
    attack("a storage that a folder brings along as a link");
    neighbour("a linked storage that the user names");
    let test = library().answers([Answer::text("One."), Answer::text("Two.")]);
    let elsewhere = test.root().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, test.workspace().join("perstack")).unwrap();
    for arguments in [["run", "librarian", "q"], ["resume", "latest", "more"], ["log", "--job", "latest"]] {
        test.run(arguments).assert_code(2).snapshot(&format!("trust-store/linked-storage-{}", arguments[0]));
    }
    assert_eq!(all(&elsewhere).len(), 1);
    assert_eq!(test.server().requests().len(), 0);
    test.run(["run", "librarian", "q", "--storage", "perstack"]).assert_code(0);
    let test = test.env("PERSTACK_STORAGE", "perstack");
    test.run(["run", "librarian", "q"]).assert_code(0);
    assert_eq!(fs::read_dir(elsewhere.join("jobs")).unwrap().count(), 2);
}

/// Replaces the entry at `path` by a link to `target`.
fn link(path: &Path, target: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
    symlink(target, path).unwrap();
}

#[test]
fn no_part_of_a_stored_job_may_be_a_link() {
    attack("a link in the place of a part of a stored job");
    for part in ["jobs", "jobs/j1", "jobs/j1/lock", "jobs/j1/job.json", "jobs/j1/runs", "RUN", "RUN/log.jsonl"] {
        let test =
            library().answers([Answer::text("One."), Answer::text("Two."), Answer::text("Three.")]).may_leave_answers();
        test.run(["run", "librarian", "q", "--job-id", "j1"]).assert_code(0);
        let storage = test.workspace().join("perstack");
        let run = test.storage().runs().remove(0);
        let path = if let Some(rest) = part.strip_prefix("RUN") {
            run.join(rest.trim_start_matches('/'))
        } else {
            storage.join(part)
        };
        let path = PathBuf::from(path.to_string_lossy().trim_end_matches('/').to_owned());
        let target = test.root().join("target");
        // The link leads to a true copy: nothing but its being a link is wrong.
        if path.is_dir() {
            fs::rename(&path, &target).unwrap();
        } else {
            let _ = fs::copy(&path, &target);
        }
        if !target.exists() {
            fs::write(&target, "").unwrap();
        }
        link(&path, &target);
        let contents = |path: &Path| if path.is_file() { fs::read(path).unwrap() } else { Vec::new() };
        let before: Vec<_> = all(&target).into_iter().map(|path| (contents(&path), path)).collect();
        let again = test.run(["run", "librarian", "q", "--job-id", "j1"]);
        let more = test.run(["resume", "latest", "more"]);
        assert_ne!(again.code, Some(0), "{part}: {}", again.stderr);
        // The first of these is rebuilt, the second not needed: neither is opened.
        if !matches!(part, "jobs/j1/job.json" | "RUN/log.jsonl") {
            assert_ne!(more.code, Some(0), "{part}: {}", more.stderr);
        }
        let after: Vec<_> = all(&target).into_iter().map(|path| (contents(&path), path)).collect();
        assert!(before == after, "{part}: the target changed");
    }
}

#[test]
fn a_file_with_a_second_name_is_not_changed_in_place() {
    attack("a second name of a file elsewhere in the storage");
    neighbour("a resumption once the second name is gone");
    let test = library().answers([Answer::text("One."), Answer::text("Two.")]);
    test.run(["run", "librarian", "q", "--job-id", "j1"]).assert_code(0);
    let (path, other) = (test.workspace().join("perstack/jobs/j1/lock"), test.root().join("other"));
    fs::hard_link(&path, &other).unwrap();
    fs::write(&other, "precious").unwrap();
    test.run(["resume", "latest", "more"]).assert_code(6).snapshot("trust-store/a-second-name");
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
    fs::remove_file(&other).unwrap();
    test.run(["resume", "latest", "more"]).assert_code(0);
}

#[test]
fn a_lock_that_is_a_link_is_read_and_never_written_through() {
    attack("a lock that leads to a file of the user's");
    neighbour("a lock that two folders share");
    let test = library();
    let shared = test.root().join("shared.lock");
    test.run(["install"]).assert_code(0);
    let lock = test.workspace().join("perstack.lock");
    fs::rename(&lock, &shared).unwrap();
    symlink(&shared, &lock).unwrap();
    // Read: an equivalent lock needs no writing.
    test.run(["install", "--check"]).assert_code(0);
    test.run(["install"]).assert_code(0);
    fs::write(&shared, "precious").unwrap();
    test.run(["install"]).assert_code(2).snapshot("trust-store/a-linked-lock");
    assert_eq!(fs::read_to_string(&shared).unwrap(), "precious");
    // A second name is no way to it either: the file is replaced, not changed.
    fs::remove_file(&lock).unwrap();
    fs::hard_link(&shared, &lock).unwrap();
    test.run(["install"]).assert_code(0);
    assert_eq!(fs::read_to_string(&shared).unwrap(), "precious");
    assert_ne!(lock.metadata().unwrap().ino(), shared.metadata().unwrap().ino());
}

#[test]
fn a_cassette_is_not_recorded_through_a_link() {
    attack("a link in the place of the cassette to be recorded");
    neighbour("a cassette that is recorded again, and one in a linked folder that the user names");
    let test = library().answers((0..3).map(|_| Answer::text("Owls.")));
    let record =
        |storage: &str, file: &str| test.run(["run", "librarian", "q", "--record", file, "--storage", storage]);
    record("one", "tape").assert_code(0);
    record("two", "tape").assert_code(0);
    let (cassette, precious) = (test.root().join("cassette"), test.root().join("precious"));
    fs::copy(test.workspace().join("tape"), &cassette).unwrap();
    fs::write(&precious, "precious").unwrap();
    // A cassette too is not replaced through one: the link may be the folder's.
    for target in [&cassette, &precious, &test.root().join("absent")] {
        let before = fs::read(target).ok();
        link(&test.workspace().join("link"), target);
        let ran = record("three", "link");
        assert_ne!(ran.code, Some(0), "{}", ran.stderr);
        assert_eq!(fs::read(target).ok(), before);
    }
    assert_eq!(test.server().requests().len(), 2);
    let folder = test.root().join("tapes");
    fs::create_dir(&folder).unwrap();
    symlink(&folder, test.workspace().join("tapes")).unwrap();
    record("four", "tapes/tape").assert_code(0);
    assert!(folder.join("tape").is_file());
}
