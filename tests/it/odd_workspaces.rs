//! Snapshots of workspaces that no tool has made, that their user may not read or write, or for which there is no room.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::process::Ran;
use crate::support::{Answer, Provider, Test, call, skipped};

/// A job whose only step writes a file.
fn writer() -> Test {
    let test = Test::with(Provider::Anthropic).env("PERSTACK_SNAPSHOT", "every");
    test.server().answer_by(|request| match request.results().len() {
        0 => Answer::calls([call("c1", "writeTextFile", json!({"path": "a.txt", "text": "one"}))]),
        _ => Answer::text("Done."),
    });
    test
}

/// Restores the newest state into another folder.
#[track_caller]
fn restored(test: &Test) -> PathBuf {
    let then = test.root().join("then");
    test.run(["job", "restore", "nest", "--to", then.to_str().unwrap()]).assert_code(0);
    then
}

fn sh(folder: &Path, script: &str) -> bool {
    Command::new("sh").args(["-c", script]).current_dir(folder).status().is_ok_and(|code| code.success())
}

#[test]
fn what_is_no_file_folder_or_link_is_named_and_all_else_comes_back() {
    let test = writer();
    let at = |name: &str| test.workspace().join(name);
    assert!(sh(&test.workspace(), "mkfifo pipe"));
    let has_device = sh(&test.workspace(), "mknod device c 1 3 2> made");
    fs::remove_file(at("made")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let long = "o".repeat(255);
    fs::write(at(&long), "long").unwrap();
    let odd = OsStr::from_bytes(b"odd-\xff\n\x1b[31m");
    fs::write(test.workspace().join(odd), "odd").unwrap();
    fs::write(at("hard"), "hard").unwrap();
    fs::hard_link(at("hard"), at("other")).unwrap();
    symlink("round", at("round")).unwrap();
    symlink("/", at("top")).unwrap();
    fs::File::create(at("sparse")).unwrap().set_len(5 << 30).unwrap();
    let ran = test.run(["run", "librarian", "Go.", "--job-id", "nest"]).assert_code(0);
    ran.assert_stderr(["snapshots of the workspace leave out", "pipe (it is a socket, a pipe or a device)"]);
    let then = restored(&test);
    let then = |name: &OsStr| then.join(name);
    for gone in ["pipe", "device", "socket", "sparse"] {
        assert!(then(gone.as_ref()).symlink_metadata().is_err(), "{gone}");
    }
    for (name, text) in [(long.as_ref(), "long"), (odd, "odd"), ("hard".as_ref(), "hard"), ("other".as_ref(), "hard")] {
        assert_eq!(fs::read_to_string(then(name)).unwrap(), text, "{name:?}");
    }
    assert_eq!(fs::metadata(then("hard".as_ref())).unwrap().nlink(), 1, "two files");
    assert_eq!(fs::read_link(then("round".as_ref())).unwrap(), Path::new("round"));
    assert_eq!(fs::read_link(then("top".as_ref())).unwrap(), Path::new("/"));
    // In the place where the state was taken, what was left out stays.
    fs::remove_file(at("hard")).unwrap();
    fs::write(at("new"), "new").unwrap();
    test.run(["job", "restore", "nest"]).assert_code(0);
    assert!(at("hard").exists() && !at("new").exists());
    assert!(fs::symlink_metadata(at("pipe")).unwrap().file_type().is_fifo());
    assert_eq!((at("sparse").exists(), at("socket").exists(), at("device").exists()), (true, true, has_device));
    test.run(["job", "verify", "nest"]).assert_code(0);
}

/// Runs the binary as a user whom permissions bind; `None`, with a line, where there is none.
fn bound(test: &Test, args: &[&str]) -> Option<Ran> {
    let is_root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if is_root { "setpriv" } else { "env" });
    if is_root {
        let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let tried = Command::new("setpriv").args(user).arg(test.binary()).arg("--version").output();
        let given = Command::new("chown").args(["-hR", "65534:65534"]).arg(test.root()).status();
        if !tried.is_ok_and(|ran| ran.status.success()) || !given.is_ok_and(|code| code.success()) {
            skipped("no other user can start the binary here");
            return None;
        }
        command.args(user);
    }
    command.arg(test.binary()).args(args);
    Some(test.start(command).finish())
}

#[test]
fn what_may_not_be_read_is_named_and_what_may_not_be_written_is_stored_all_the_same() {
    let test = writer().file("shown.txt", "shown").file("hidden.txt", "hidden").file("shut/in.txt", "in");
    let test = test.file("fixed/in.txt", "in");
    test.binary();
    let at = |name: &str| test.workspace().join(name);
    let mode = |name: &str, mode: u32| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    mode("hidden.txt", 0o000);
    mode("shut", 0o000);
    mode("fixed", 0o555);
    mode("", 0o555);
    let storage = test.root().join("elsewhere");
    let storage = storage.to_str().unwrap();
    let Some(ran) = bound(&test, &["run", "librarian", "Go.", "--job-id", "nest", "--storage", storage]) else {
        return;
    };
    let ran = ran.assert_code(0);
    ran.assert_stderr(["leave out hidden.txt (it may not be read), shut (it may not be read)"]);
    assert!(!at("a.txt").exists(), "the folder cannot be written");
    bound(&test, &["job", "verify", "nest", "--storage", storage]).unwrap().assert_code(0);
    let then = test.root().join("then");
    let restore = ["job", "restore", "nest", "--storage", storage, "--to", then.to_str().unwrap()];
    bound(&test, &restore).unwrap().assert_code(0);
    assert_eq!(fs::read_to_string(then.join("shown.txt")).unwrap(), "shown");
    assert_eq!(fs::read_to_string(then.join("fixed/in.txt")).unwrap(), "in");
    assert!(!then.join("hidden.txt").exists() && !then.join("shut").exists());
    // In a folder that cannot be written nothing is restored either: that is said, and what is kept is named.
    mode("shown.txt", 0o644);
    fs::write(at("shown.txt"), "changed").unwrap();
    let ran = bound(&test, &["job", "restore", "nest", "--storage", storage]).unwrap().assert_code(1);
    ran.assert_stderr(["shown.txt: Permission denied", "is kept as snapshot"]);
    assert_eq!(fs::read_to_string(at("shown.txt")).unwrap(), "changed");
    mode("", 0o755);
    bound(&test, &["job", "restore", "nest", "--storage", storage]).unwrap().assert_code(0);
    assert_eq!(fs::read_to_string(at("shown.txt")).unwrap(), "shown");
    mode("shut", 0o755);
}

#[cfg(target_os = "linux")]
#[test]
fn a_first_state_without_room_leaves_nothing_to_resume_and_the_same_command_begins_anew() {
    let mount = "mkdir -p perstack && mount -t tmpfs -o size=256k none perstack";
    let test = writer();
    let tried = Command::new("unshare").args(["-rm", "sh", "-c", mount]).current_dir(test.root()).output();
    if !tried.is_ok_and(|ran| ran.status.success()) {
        return skipped("no file system can be mounted here");
    }
    assert!(sh(&test.workspace(), "head -c 2000000 /dev/urandom > large"));
    let run = "\"$0\" run librarian Go. --job-id nest";
    let script = format!(
        "{mount} && {{ {run} 2> first; echo $? > codes; \"$0\" resume nest 2> second; echo $? >> codes; \
         ls -A perstack/jobs/nest/snapshots > left; mount -o remount,size=16m perstack; exec {run}; }}"
    );
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script]).arg(test.binary());
    let ran = test.start(command).finish().assert_code(0);
    assert_eq!(ran.stdout, "Done.\n");
    let shown = |name: &str| fs::read_to_string(test.workspace().join(name)).unwrap();
    assert_eq!((shown("codes").as_str(), shown("left").as_str()), ("6\n2\n", ""));
    assert!(shown("first").ends_with("help: free some space\n"), "{}", shown("first"));
    assert!(shown("second").contains("holds nothing to continue from\n  help: run it again"), "{}", shown("second"));
    assert_eq!(test.server().requests().len(), 2);
}
