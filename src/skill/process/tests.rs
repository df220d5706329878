//! Children, as skills use them.

use std::path::Path;
use std::process::Stdio;
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
        confinement: Confinement::default(),
        held_calls: None,
    }
}

/// The process id in `file`, once the file is there.
fn written_pid(file: &Path) -> i32 {
    within_limit(|| std::fs::read_to_string(file).ok()?.trim().parse().ok())
}

/// True when the process is gone or a zombie.
fn has_ended(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z")
}

fn wait_until_gone(pid: i32) {
    within_limit(|| has_ended(pid).then_some(()));
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

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_keeper_that_was_stopped_goes_on_when_its_child_is_to_end() {
    use rustix::process::{Pid, Signal, kill_process};
    for is_dropped in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let leave = "setsid sh -c 'echo $$ > new; mv new pid; exec sleep 600' &";
        let script = format!("echo $PPID > k; mv k keeper; {leave} wait");
        let mut child = spawn(spec(folder.path(), &script)).await.unwrap();
        let [keeper, left] = ["keeper", "pid"].map(|file| written_pid(&folder.path().join(file)));
        kill_process(Pid::from_raw(keeper).unwrap(), Signal::STOP).unwrap();
        if is_dropped {
            drop(child);
        } else {
            child.terminate(Duration::from_secs(20)).await.unwrap();
        }
        wait_until_gone(left);
        wait_until_gone(keeper);
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_keeper_whose_limits_are_taken_still_ends_its_child() {
    let script = "prlimit --pid $PPID --nofile=0:0 && echo taken; exec sleep 1000";
    let mut child =
        spawn(ChildSpec { confinement: Confinement::Lifted, ..spec(Path::new("/"), script) }).await.unwrap();
    let mut taken = [0; 5];
    child.stdout.take().unwrap().read_exact(&mut taken).await.unwrap();
    assert_eq!(&taken, b"taken");
    assert!(!child.terminate(Duration::ZERO).await.unwrap().success());
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_an_error_at_once() {
    let start = |program: &str| ChildSpec { program: program.to_owned(), ..spec(Path::new("/"), "") };
    for (program, kind) in [
        ("/no/such/program", io::ErrorKind::NotFound),
        ("no-such-program", io::ErrorKind::NotFound),
        ("/etc/passwd", io::ErrorKind::PermissionDenied),
        ("nul\0", io::ErrorKind::InvalidInput),
    ] {
        let error = spawn(start(program)).await.unwrap_err();
        assert!(matches!(&error, SkillError::Spawn { source, .. } if source.kind() == kind), "{program}: {error:?}");
    }
}

#[tokio::test]
async fn a_child_that_is_killed_shows_by_its_status() {
    let mut child = spawn(spec(Path::new("/"), "kill -9 $$")).await.unwrap();
    let status = child.wait().await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
}

/// Scripts that leave a process behind in another session, with its id in the file `pid`.
const DESERTERS: [&str; 3] = [
    "setsid sh -c 'echo $$ > new; mv new pid; exec sleep 600' &",
    "(setsid sh -c 'setsid sh -c \"echo \\$\\$ > new; mv new pid; exec sleep 600\" & exit' &)",
    "(trap '' TERM HUP INT; setsid sh -c 'exec >&- 2>&- <&-; echo $$ > new; mv new pid; exec sleep 600' &)",
];

#[tokio::test]
async fn what_leaves_its_session_ends_with_the_child() {
    for script in DESERTERS {
        let folder = tempfile::tempdir().unwrap();
        let mut child = spawn(spec(folder.path(), &format!("{script}\nread line"))).await.unwrap();
        let pid = written_pid(&folder.path().join("pid"));
        drop(child.stdin.take());
        child.wait().await.unwrap();
        // The keeper has ended by now, and nothing outlives it.
        assert!(has_ended(pid), "{script}");
        let child = spawn(spec(folder.path(), &format!("rm pid; {script}\nsleep 600"))).await.unwrap();
        let pid = written_pid(&folder.path().join("pid"));
        drop(child);
        wait_until_gone(pid);
    }
}

#[tokio::test]
async fn what_a_child_leaves_may_go_on_until_its_end_is_taken_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        spawn(spec(folder.path(), "setsid sh -c 'echo $$ > new; mv new pid; exec sleep 600' &")).await.unwrap();
    let pid = written_pid(&folder.path().join("pid"));
    child.ended().await.unwrap();
    assert!(!has_ended(pid));
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert!(has_ended(pid));
}

#[tokio::test]
async fn a_killed_keeper_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("echo $PPID > new; mv new keeper; {}\nsleep 600", DESERTERS[0]);
    let mut child = spawn(spec(folder.path(), &script)).await.unwrap();
    let (pid, keeper) = (written_pid(&folder.path().join("pid")), written_pid(&folder.path().join("keeper")));
    tree::kill(keeper);
    assert!(!child.wait().await.unwrap().success());
    wait_until_gone(pid);
}

/// The output of a script, and whether it succeeded.
async fn output(script: &str) -> (String, bool) {
    let mut child = spawn(spec(Path::new("/"), script)).await.unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    (text, child.wait().await.unwrap().success())
}

#[tokio::test]
async fn a_child_cannot_signal_those_that_see_to_its_end() {
    let runner = std::process::id();
    let script = format!(
        "for target in $PPID -$PPID {runner} -1; do kill -9 -- $target 2>/dev/null && echo $target; done\n\
         kill -STOP $PPID 2>/dev/null && echo stopped; echo done"
    );
    assert_eq!(output(&script).await, ("done\n".to_owned(), true));
    // Its own processes it may end, and groups.
    let script = "sleep 600 & kill $!; wait $!; timeout 0.05 sleep 600; echo fine";
    assert_eq!(output(script).await, ("fine\n".to_owned(), true));
}

#[tokio::test]
async fn a_child_has_no_terminal_and_gains_no_privileges() {
    let script = "(: < /dev/tty) 2>/dev/null && echo terminal; grep -E '^NoNewPrivs' /proc/self/status";
    assert_eq!(output(script).await.0, "NoNewPrivs:\t1\n");
}

#[tokio::test]
async fn children_of_root_go_without_the_capabilities_that_lead_around() {
    let (text, _) = output("grep -E '^CapEff' /proc/self/status").await;
    let effective = u64::from_str_radix(text.trim_start_matches("CapEff:").trim(), 16).unwrap();
    for capability in [12, 13, 19, 21, 27, 38] {
        assert_eq!(effective >> capability & 1, 0, "{capability} of {effective:x}");
    }
}

/// Plays the runner that the next test kills; by itself it ends within a minute.
#[tokio::test]
#[ignore = "started by the next test"]
async fn a_runner() {
    let script = format!("{}\nsleep 60", DESERTERS[1]);
    spawn(spec(Path::new("."), &script)).await.unwrap().wait().await.unwrap();
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
