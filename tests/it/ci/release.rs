//! A release from the pack to the machine that installs it: `.ci/pack` and the action's first step.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::start;
use crate::support::{Provider, Test};

const TARGET: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-musl" } else { "x86_64-unknown-linux-musl" };

/// A world with a release in `releases`, made of a program that starts the binary.
fn released() -> Test {
    let test = Test::new().provider(Provider::Anthropic);
    let program = format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_perstack"));
    let test = test.file("perstack", program);
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/pack");
    let script =
        format!("chmod +x perstack\n{} {TARGET} perstack owls/perstack/releases/latest/download", pack.display());
    start(&test, &script).finish().assert_code(0);
    test
}

#[test]
fn what_is_packed_is_what_the_action_installs() {
    let test = released();
    let root = test.workspace();
    let server = format!("file://{}", root.display());
    let github =
        [("github.action_repository || github.repository", "owls/perstack"), ("github.server_url", server.as_str())];
    let (test, ran) = super::action::run(super::action::in_runner(test), "Install perstack", &[], &github);
    ran.assert_code(0);
    let folder = fs::read_to_string(test.root().join("path")).unwrap();
    let program = Path::new(folder.trim()).join("perstack");
    assert_eq!(program.metadata().unwrap().permissions().mode() & 0o111, 0o111);
    start(&test, &format!("{} --version", program.display())).finish().assert_code(0);
    for part in ["LICENSE", "completions/perstack.bash", "man/perstack.1"] {
        assert!(program.with_file_name(part).is_file(), "{part}");
    }
    // One byte more, and it is not installed.
    let archive = root.join(format!("owls/perstack/releases/latest/download/perstack-{TARGET}.tar.gz"));
    let mut bytes = fs::read(&archive).unwrap();
    bytes.push(0);
    fs::write(&archive, bytes).unwrap();
    fs::remove_dir_all(folder.trim()).unwrap();
    let (_, ran) = super::action::run(test, "Install perstack", &[], &github);
    ran.assert_code(1);
    assert!(!program.exists());
}

#[test]
fn a_pack_has_the_same_bytes_each_time() {
    let [one, two] = [released(), released()].map(|test| {
        let name = format!("owls/perstack/releases/latest/download/perstack-{TARGET}.tar.gz");
        fs::read(test.workspace().join(name)).unwrap()
    });
    assert!(one == two);
}
