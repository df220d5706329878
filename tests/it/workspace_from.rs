//! Workspaces that are made from a folder or a git repository: `--workspace-from`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::object_store::{check, elsewhere, world};
use crate::support::storage::read_json;
use crate::support::{Answer, Gate, Provider, Test, call};

/// A repository beside the workspace, and an ssh of the test's own that leads to it. git's settings know filters and hooks.
pub struct Repository {
    folder: PathBuf,
    first: String,
}

fn git(folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(["-c", "user.name=owl", "-c", "user.email=owl@example.com"]).args(words);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    let output = command.output().expect("git");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Repository {
    /// With two commits, the first of which is the tag `v1`; a filter, a submodule and a configuration come along.
    pub fn new(test: &Test) -> Self {
        let folder = test.root().join("owls");
        fs::create_dir(&folder).unwrap();
        git(&folder, &["init", "--quiet", "--initial-branch=main"]);
        let files = [
            (".gitattributes", "*.txt filter=owl\n*.bin filter=lfs\n"),
            (
                ".gitmodules",
                "[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c 'touch ../SUBMODULE'\n\tupdate = !touch ../UPDATE\n",
            ),
            ("perstack.toml", "[experts.librarian]\ninstruction = \"OTHER\"\n"),
            ("a.txt", "one"),
            ("b.bin", "pointer"),
        ];
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        git(&folder, &["add", "--all"]);
        git(&folder, &["commit", "--quiet", "--message=one"]);
        git(&folder, &["tag", "v1"]);
        let first = git(&folder, &["rev-parse", "HEAD"]);
        fs::write(folder.join("a.txt"), "two").unwrap();
        git(&folder, &["commit", "--quiet", "--all", "--message=two"]);
        Self { folder, first }
    }

    pub fn address(&self, revision: &str) -> String {
        format!("ssh://owl@barn{}{revision}", self.folder.display())
    }
}

/// The test with an ssh that runs what it is asked on this machine, and with settings of git's that would leave marks.
pub fn reached(test: Test) -> Test {
    let root = test.root().to_owned();
    let mark = |name: &str| root.join(name).display().to_string();
    let script = |name: &str, text: &str| {
        let path = root.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    fs::create_dir_all(root.join("hooks")).unwrap();
    script("hooks/post-checkout", &format!("touch {}", mark("HOOK")));
    let ssh = script("ssh", "env > \"$0.env\"\nfor last; do :; done\nexec sh -c \"$last\"");
    let settings = format!(
        "[filter \"owl\"]\n\tsmudge = touch {}; cat\n[filter \"lfs\"]\n\tsmudge = touch {}; cat\n\trequired = true\n\
         [core]\n\thooksPath = {}\n",
        mark("FILTER"),
        mark("LFS"),
        mark("hooks"),
    );
    fs::write(root.join("git-settings"), settings).unwrap();
    let settings = mark("git-settings");
    test.env("GIT_SSH_COMMAND", &ssh).env("GIT_CONFIG_GLOBAL", &settings).env("GIT_CONFIG_SYSTEM", "/dev/null")
}

fn librarian() -> Test {
    Test::with(Provider::Anthropic)
}

pub fn reads(id: &str, path: &str) -> Answer {
    Answer::calls([call(id, "readTextFile", json!({"path": path}))])
}

pub fn writes(id: &str, path: &str, text: &str) -> Answer {
    Answer::calls([call(id, "writeTextFile", json!({"path": path, "text": text}))])
}

/// The folder of a machine's cache where no other is named.
const CACHE: &str = "home/cache";

/// The only workspace in the cache of a machine.
fn made(test: &Test, cache: &str) -> PathBuf {
    let folder = test.root().join(cache).join("perstack/workspaces");
    let made: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(made.len(), 1, "{made:?}");
    made[0].clone()
}

fn has_no_workspace(test: &Test) -> bool {
    fs::read_dir(test.root().join(CACHE).join("perstack/workspaces")).map_or(true, |mut made| made.next().is_none())
}

#[test]
fn a_repository_is_checked_out_and_nothing_that_it_brings_along_is_started() {
    let test = librarian().answers([reads("c1", "a.txt"), Answer::text("Done.")]);
    let repository = Repository::new(&test);
    let test = reached(test);
    let address = repository.address("#v1");
    let ran = test.run(["run", "librarian", "Go.", "--workspace-from", &address]).assert_code(0);
    assert!(test.server().requests()[1].contains("one"), "the file as the tag has it");
    assert!(!test.server().requests()[0].contains("OTHER"), "the experts are those of the project");
    let workspace = made(&test, CACHE);
    assert!(ran.stderr.contains(workspace.to_str().unwrap()), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(workspace.join("b.bin")).unwrap(), "pointer");
    for mark in ["HOOK", "FILTER", "LFS", "SUBMODULE", "UPDATE"] {
        assert!(!test.root().join(mark).exists(), "{mark}");
    }
    let variables = fs::read_to_string(test.root().join("ssh.env")).unwrap();
    assert!(!variables.contains("ANTHROPIC_API_KEY"), "git gets no key to a model");
    let job = read_json(&test.storage().jobs()[0].join("job.json"));
    let from = json!({"kind": "git", "address": repository.address(""), "commit": repository.first});
    assert_eq!(job["workspaceFrom"], from);
}

#[test]
fn a_commit_and_the_repositorys_own_branch_can_be_named_and_what_is_not_there_is_an_error() {
    let test = librarian();
    let repository = Repository::new(&test);
    let test = reached(test);
    for (revision, text) in
        [(format!("#{}", repository.first), "one"), (String::new(), "two"), ("#main".to_owned(), "two")]
    {
        test.server().script([Answer::text("Done.")]);
        let folder = test.root().join(format!("w{}", revision.len()));
        let (source, place) = (repository.address(&revision), folder.to_str().unwrap());
        test.run(["run", "librarian", "Go.", "--workspace-from", &source, "--workspace", place]).assert_code(0);
        assert_eq!(fs::read_to_string(folder.join("a.txt")).unwrap(), text, "{revision}");
    }
    let ran = test.run(["run", "librarian", "Go.", "--workspace-from", &repository.address("#nope")]).assert_code(2);
    assert!(ran.stderr.contains("nope"), "{}", ran.stderr);
    let none = format!("ssh://owl@barn{}/none", test.root().display());
    test.run(["run", "librarian", "Go.", "--workspace-from", &none]).assert_code(2);
    assert!(has_no_workspace(&test), "nothing is left behind");
}

#[test]
fn addresses_that_start_programs_are_refused_before_anything_is_made() {
    let test = librarian();
    for (source, word) in [
        ("ext::sh -c 'touch EXT'", "helper"),
        ("file:///etc", "folder itself"),
        ("--upload-pack=touch EXT", "no source"),
        ("https://owl:hoot@example.com/x", "credential helpers"),
        ("ssh://-oProxyCommand=touch/x", "no host"),
        ("https://example.com/x#--upload-pack=y", "no revision"),
    ] {
        let source = format!("--workspace-from={source}");
        let ran = test.run(["run", "librarian", "Go.", &source]).assert_code(2);
        assert!(ran.stderr.contains(word), "{source}: {}", ran.stderr);
    }
    assert!(has_no_workspace(&test) && !test.workspace().join("EXT").exists());
}

#[test]
fn a_folder_is_copied_with_its_links_and_stays_as_it_is() {
    let test = librarian().answers([writes("c1", "a.txt", "two"), reads("c2", "out.txt"), Answer::text("Done.")]);
    let source = test.root().join("source");
    fs::create_dir_all(source.join("deep/er")).unwrap();
    fs::write(source.join("a.txt"), "one").unwrap();
    fs::write(source.join("deep/er/b.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(source.join("deep/er/b.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(test.root().join("secret.txt"), "hidden owl").unwrap();
    symlink(test.root().join("secret.txt"), source.join("out.txt")).unwrap();
    fs::create_dir_all(source.join("perstack/jobs")).unwrap();
    fs::create_dir_all(source.join("deep/perstack")).unwrap();
    fs::write(source.join(".env"), "KEY=hidden owl\n").unwrap();
    test.run(["run", "librarian", "Go.", "--workspace-from", source.to_str().unwrap()]).assert_code(0);
    let workspace = made(&test, CACHE);
    assert_eq!(fs::read_to_string(source.join("a.txt")).unwrap(), "one");
    assert_eq!(fs::read_to_string(workspace.join("a.txt")).unwrap(), "two");
    assert!(fs::symlink_metadata(workspace.join("out.txt")).unwrap().is_symlink());
    assert!(!test.server().requests()[2].contains("hidden owl"), "a link leads no tool out");
    assert_eq!(fs::metadata(workspace.join("deep/er/b.sh")).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(!workspace.join(".env").exists() && !workspace.join("perstack").exists());
    assert!(workspace.join("deep/perstack").is_dir());
    // Folders that are not there, or not empty.
    let nowhere = ["run", "librarian", "Go.", "--workspace-from", "nowhere"];
    assert!(test.run(nowhere).assert_code(2).stderr.contains("cannot read"), "a folder that is not there");
    let full = ["run", "librarian", "Go.", "--workspace-from", source.to_str().unwrap(), "--workspace", "."];
    assert!(test.run(full).assert_code(2).stderr.contains("is not empty"));
    let within = source.join("new");
    let within = [
        "run",
        "librarian",
        "Go.",
        "--workspace-from",
        source.to_str().unwrap(),
        "--workspace",
        within.to_str().unwrap(),
    ];
    assert!(test.run(within).assert_code(2).stderr.contains("is beneath"));
}

#[test]
fn another_machine_makes_the_workspace_again_and_brings_it_to_the_checkpoint() {
    let (_s3, test) = world();
    let test = test.answers([writes("c1", "a.txt", "changed"), writes("c2", "new.txt", "new"), Answer::text("Done.")]);
    let repository = Repository::new(&test);
    let test = reached(test);
    let address = repository.address("#v1");
    let begun = ["run", "librarian", "Go.", "--job-id", "nest", "--snapshot", "every", "--workspace-from", &address];
    test.run(begun).assert_code(0);
    let job: serde_json::Value = serde_json::from_str(&test.run(["log", "nest", "--json"]).stdout).unwrap();
    let commit = job["job"]["workspaceFrom"]["commit"].as_str().expect("the commit").to_owned();
    assert_eq!(commit, repository.first);
    // The machine is gone with all its files.
    fs::remove_dir_all(test.root().join("home/cache")).unwrap();
    let test = elsewhere(test, "b");
    let address = repository.address(&format!("#{commit}"));
    test.server().script([Answer::text("As it was.")]);
    let ran = test.run(["resume", "nest", "And?", "--workspace-from", &address, "--restore"]).assert_code(0);
    assert_eq!(ran.stdout, "As it was.\n");
    assert!(!ran.stderr.contains("is not as the checkpoint had it"), "{}", ran.stderr);
    let workspace = made(&test, "b");
    assert_eq!(fs::read_to_string(workspace.join("a.txt")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(workspace.join("new.txt")).unwrap(), "new");
    test.run(["job", "verify", "nest"]).assert_code(0);
}

#[test]
fn a_job_that_is_brought_to_its_end_on_another_machine_has_its_files() {
    let gate = Gate::new();
    let (_s3, test) = world();
    let lost = Answer::text("Lost.").delay(&gate);
    let test = test.env("PERSTACK_LEASE", "3s").answers([writes("c1", "new.txt", "new"), check("c2"), lost]);
    let repository = Repository::new(&test);
    let test = reached(test);
    let address = repository.address("#v1");
    let words = ["run", "librarian", "Go.", "--job-id", "nest", "--ensure", "--workspace-from", &address];
    let words = |more: [&'static str; 2]| [&words[..], &more].concat();
    let start = |test: &Test, more| {
        let mut command = Command::new(test.binary());
        command.args(words(more));
        test.start(command)
    };
    let first = start(&test, ["--snapshot", "every"]);
    first.wait_for_request(3);
    first.kill();
    gate.open();
    drop(first);
    let test = elsewhere(test, "b");
    test.server().script([reads("c3", "new.txt"), Answer::text("Done.")]);
    let ran = start(&test, ["--snapshot", "every"]).finish().assert_code(0);
    assert_eq!(ran.stdout, "Done.\n");
    assert!(ran.stderr.contains("restored snapshot"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(made(&test, "b").join("new.txt")).unwrap(), "new");
    assert!(format!("{:?}", test.server().requests().last().unwrap().results()).contains("new"));
    // It has its answer: nothing is restored, and no model asked.
    let asked = test.server().requests().len();
    let test = elsewhere(test, "c");
    assert_eq!(start(&test, ["--snapshot", "every"]).finish().assert_code(0).stdout, "Done.\n");
    assert_eq!(test.server().requests().len(), asked);
    // A new job is none of those whose ids begin so.
    test.server().script([reads("c5", "a.txt"), Answer::text("Done.")]);
    test.run(["run", "librarian", "Go.", "--job-id", "nes", "--ensure", "--workspace-from", &address]).assert_code(0);
    assert!(!format!("{:?}", test.server().requests().last().unwrap().results()).contains("two"));
    // One without snapshots goes on with the source alone, and says so.
    test.server().script([Answer::calls([call("c4", "healthCheck", json!({}))]), Answer::status(400)]);
    let other = ["run", "librarian", "Go.", "--job-id", "hive", "--ensure", "--workspace-from", &address];
    test.run(other).assert_code(1);
    test.server().script([Answer::text("Done.")]);
    assert!(test.run(other).assert_code(0).stderr.contains("job hive has no snapshot of its workspace"));
}

#[test]
fn what_goes_on_without_restoring_makes_no_workspace() {
    let test = librarian();
    for flags in [&["--continue"][..], &["--dry-run"], &["--replay", "c.jsonl"]] {
        let mut command = Command::new(test.binary());
        command.args(["run", "librarian", "Go.", "--workspace-from", "https://example.com/owls"]).args(flags);
        let ran = test.start(command).finish().assert_code(2);
        assert!(ran.stderr.contains("cannot be used with"), "{flags:?}: {}", ran.stderr);
    }
    assert!(has_no_workspace(&test));
}
