//! Programs.

use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn programs_run_without_shell_and_return_the_streams_asked_for() {
    let world = World::new();
    let echo =
        json!({ "command": "echo", "args": ["$HOME; *"], "env": {}, "cwd": ".", "stdout": true, "stderr": false });
    assert_eq!(world.ok("exec", echo).await, json!({ "output": "$HOME; *\n" }));
    assert_eq!(world.ok("exec", shell("echo out; echo err >&2")).await, json!({ "output": "out\nerr\n" }));
    assert_eq!(
        world.ok("exec", with(shell("echo out"), "stdout", json!(false))).await,
        json!({ "output": "Command executed successfully, but produced no output." })
    );
    fs::create_dir(world.path("sub")).unwrap();
    let pwd = world.ok("exec", with(shell("pwd; cat"), "cwd", json!("sub"))).await;
    assert_eq!(pwd, json!({ "output": format!("{}\n", world.path("sub").display()) }));
}

#[tokio::test]
async fn programs_see_safe_variables_and_given_ones_only() {
    let world = World::new();
    let env = json!({ "GIVEN": "yes", "PATH": "/nowhere", "ld_preload": "x", "LD_PRELOAD=x": "y" });
    let output = world.ok("exec", with(shell("env"), "env", env)).await["output"].clone();
    let mut names: Vec<_> =
        output.as_str().unwrap().lines().filter_map(|line| line.split_once('=')).map(|(n, _)| n).collect();
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["GIVEN", "HOME", "PATH"]);
}

#[tokio::test]
async fn failed_programs_are_marked_as_errors_with_what_they_wrote() {
    let world = World::new();
    let result = world.result("exec", shell("echo out; echo err >&2; exit 3")).await;
    assert!(result.is_error);
    assert_eq!(
        text_of(&result),
        r#"{"error":"Command failed: sh -c echo out; echo err >&2; exit 3\nerr\n","stdout":"out\n","stderr":"err\n"}"#
    );
    let missing = with(with(shell(""), "command", json!("no-such-program")), "args", json!([]));
    let result = world.result("exec", missing).await;
    assert_eq!((text_of(&result), result.is_error), (r#"{"error":"spawn no-such-program ENOENT"}"#, true));
    let killed = world.result("exec", shell("kill -9 $$")).await;
    assert_eq!(json_of(&killed)["error"], "Command failed: sh -c kill -9 $$\n(signal: 9 (SIGKILL))\n");
}

/// Waits until no process of the group is left.
async fn gone(pid_file: PathBuf) {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let pid: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z") {
            return;
        }
        assert!(Instant::now() < limit, "process {pid} is still there: {stat}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group() {
    let world = World::new();
    let script = "sleep 600 & echo $! > pid; echo started; wait";
    let result = world.result("exec", with(shell(script), "timeout", json!(3000))).await;
    assert!(result.is_error);
    assert_eq!(json_of(&result), json!({ "error": "Command timed out after 3000ms.", "stdout": "started\n" }));
    gone(world.path("pid")).await;
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed() {
    let world = World::new();
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 600; done";
    let result = world.result("exec", with(shell(script), "timeout", json!(2000))).await;
    assert_eq!(json_of(&result)["error"], "Command timed out after 2000ms.");
    gone(world.path("pid")).await;
}

#[tokio::test]
async fn a_background_process_neither_holds_up_the_call_nor_outlives_it() {
    let world = World::new();
    let result = world.ok("exec", shell("sleep 600 & echo $! > pid; echo done")).await;
    assert_eq!(result, json!({ "output": "done\n" }));
    gone(world.path("pid")).await;
}

#[tokio::test]
async fn cancelling_and_dropping_end_the_program() {
    let world = World::new();
    for is_dropped in [false, true] {
        let cancel = CancellationToken::new();
        let exec = call("exec", shell("echo $$ > new; mv new pid; sleep 600"));
        let task = tokio::spawn(Arc::clone(&world.skill).call(exec, cancel.clone()));
        let limit = Instant::now() + Duration::from_secs(20);
        while !world.path("pid").exists() {
            assert!(Instant::now() < limit, "the program did not start");
            tokio::task::yield_now().await;
        }
        if is_dropped {
            task.abort();
        } else {
            cancel.cancel();
            assert_eq!(json_of(&task.await.unwrap()), json!({ "error": "Command was cancelled." }));
        }
        gone(world.path("pid")).await;
        fs::remove_file(world.path("pid")).unwrap();
    }
}

#[tokio::test]
async fn endless_output_is_stopped_and_long_output_shortened() {
    let world = World::new();
    let result = world.result("exec", shell("yes")).await;
    assert_eq!(json_of(&result)["error"], "Command stopped: stdout exceeded 10 MiB.");
    let long = world.ok("exec", shell("yes | head -n 100000")).await["output"].clone();
    assert!(long.as_str().unwrap().len() < 101_000);
}
