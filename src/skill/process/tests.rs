//! Children, as skills use them.

use std::path::Path;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn spec(cwd: &Path, script: &str) -> ChildSpec {
    ChildSpec {
        program: "sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]),
        cwd: Cwd::Path(cwd.to_owned()),
        stdin: ChildInput::Piped,
    }
}

/// The process id in `file`, once the file is there.
fn written_pid(file: &Path) -> i32 {
    within_limit(|| std::fs::read_to_string(file).ok()?.trim().parse().ok())
}

fn wait_until_gone(pid: i32) {
    within_limit(|| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z")).then_some(())
    });
}

fn within_limit<T>(look: impl Fn() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < limit, "it did not happen within 20 s");
        std::thread::yield_now();
    }
}

#[test]
fn children_get_safe_and_added_variables_without_protected_ones() {
    let environment = [("PATH", "/bin"), ("TERM", ""), ("SOME_API_KEY", "key"), ("https_proxy", "http://proxy")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    let added = ["SOME_API_KEY", "Path", "NODE_OPTIONS", "LD_PRELOAD=/x", ""];
    let added = added.map(|name| (name.to_owned(), "added".to_owned()));
    assert_eq!(
        child_environment(&environment, added),
        BTreeMap::from(
            [("PATH", "/bin"), ("SOME_API_KEY", "added"), ("https_proxy", "http://proxy")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        )
    );
}

#[tokio::test]
async fn a_child_reads_what_is_written_and_its_end_can_be_asked_for_repeatedly() {
    let mut child = spawn(spec(Path::new("/"), "cat; exit 3")).await.unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    stdin.write_all(b"hello").await.unwrap();
    drop(stdin);
    let mut output = String::new();
    stdout.read_to_string(&mut output).await.unwrap();
    assert_eq!(output, "hello");
    assert_eq!(child.wait().await.unwrap().code(), Some(3));
    assert_eq!(child.wait().await.unwrap().code(), Some(3));
    assert_eq!(child.terminate(Duration::from_secs(1)).await.unwrap().code(), Some(3));
}

#[tokio::test]
async fn a_child_that_tidies_up_is_given_its_grace() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap 'echo tidy; exit 4' TERM; echo $$ > new; mv new pid; while :; do sleep 0.01; done";
    let mut child = spawn(spec(folder.path(), script)).await.unwrap();
    written_pid(&folder.path().join("pid"));
    assert_eq!(child.terminate(Duration::from_secs(20)).await.unwrap().code(), Some(4));
}

#[tokio::test]
async fn dropping_a_child_kills_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let child = spawn(spec(folder.path(), "sleep 600 & echo $! > new; mv new pid; wait")).await.unwrap();
    let pid = written_pid(&folder.path().join("pid"));
    drop(child);
    wait_until_gone(pid);
}

#[tokio::test]
async fn failed_starts_give_their_places_back() {
    let start = || ChildSpec { program: "/no/such/program".to_owned(), ..spec(Path::new("/"), "") };
    for _ in 0..=MAX_CHILDREN {
        let error = spawn(start()).await.unwrap_err();
        assert!(matches!(error, SkillError::Spawn { source, .. } if source.kind() == io::ErrorKind::NotFound));
    }
}

/// Plays the runner that the next test kills; by itself it ends within a minute.
#[tokio::test]
#[ignore = "started by the next test"]
async fn a_runner() {
    let script = "(sleep 60 & echo $! > new; mv new pid; wait); true";
    spawn(spec(Path::new("."), script)).await.unwrap().wait().await.unwrap();
}

#[test]
fn nothing_outlives_a_runner_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut runner = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "skill::process::tests::a_runner", "--ignored"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let grandchild = written_pid(&folder.path().join("pid"));
    runner.kill().unwrap();
    runner.wait().unwrap();
    wait_until_gone(grandchild);
}

#[test]
fn a_child_outlives_the_thread_that_asked_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), "read line; echo $$ > new; mv new pid; sleep 600");
    let asking = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let child = runtime.block_on(spawn(spec)).unwrap();
        (runtime, child)
    });
    let (runtime, mut child) = asking.join().unwrap();
    runtime.block_on(async { child.stdin.take().unwrap().write_all(b"go\n").await.unwrap() });
    let pid = written_pid(&folder.path().join("pid"));
    drop(child);
    wait_until_gone(pid);
}
