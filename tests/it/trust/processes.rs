//! What a tool starts: it outlives neither its call nor the run, signals nobody who sees to its end, and finds no key.
#![cfg(target_os = "linux")]

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{attack, neighbour};
use crate::mcp::{calling, is_running, tool_results, wait_until};
use crate::support::tool_server::{lines, program};
use crate::support::{Answer, KEY, Provider, Test, call};

/// Programs that leave a process behind in a session of its own, with its id in the file `pid`.
const DESERTERS: [&str; 2] = [
    "setsid sh -c 'echo $$ > new; mv new pid; exec sleep 1000' > /dev/null 2>&1 &",
    "(setsid sh -c 'trap \"\" TERM; (setsid sh -c \"echo \\$\\$ > new; mv new pid; exec sleep 1000\" &); exit' &) > /dev/null 2>&1",
];

/// An expert with the base skill.
fn worker() -> Test {
    let test = Test::new().toml("[experts.librarian]\ninstruction = \"You work.\"\n").provider(Provider::Anthropic);
    // Programs are kept from their keepers without containment too, unless that is lifted.
    test.env("PERSTACK_SANDBOX", "auto")
}

fn sh(script: &str) -> Value {
    json!({"command": "sh", "args": ["-c", script]})
}

/// The id in the file `pid`, once it is there.
#[track_caller]
fn deserter(test: &Test) -> u32 {
    wait_until("the process", || test.workspace().join("pid").exists());
    lines(test, "pid")[0].parse().unwrap()
}

#[test]
fn what_leaves_its_session_ends_with_its_call() {
    attack("a program that exec starts leaves its session, or forks twice");
    for script in DESERTERS {
        let look = "sleep 0; kill -0 $(cat pid) 2>/dev/null && echo lives || echo gone";
        let script = format!("{script}\nwhile [ ! -e pid ]; do sleep 0.01; done; echo $(cat pid)");
        let (test, requests) = calling(worker(), [("exec", sh(&script)), ("exec", sh(look))]);
        let id = deserter(&test);
        assert!(tool_results(&requests[1])[0].0.contains(&id.to_string()), "it was there during the call");
        assert!(tool_results(&requests[2])[1].0.contains("gone"), "{script}: {:?}", tool_results(&requests[2]));
        wait_until("its end", || !is_running(id));
    }
}

#[test]
fn what_leaves_its_session_ends_with_a_killed_runner() {
    attack("a process in another session outlives a killed runner");
    for script in DESERTERS {
        let call = call("c1", "exec", sh(&format!("{script}\nsleep 1000")));
        let test = worker().answers([Answer::calls([call])]).may_leave_answers();
        let running = test.spawn(["run", "librarian", "Look."]);
        let id = deserter(&test);
        wait_until("its program", || is_running(id));
        running.signal(Signal::KILL);
        assert_eq!(running.finish().signal, Some(9));
        wait_until("its end", || !is_running(id));
    }
}

#[test]
fn a_background_job_is_there_for_as_long_as_its_call() {
    neighbour("a background job within its call, which prints late");
    // The state comes whole under its name: a file written in place could be read while it is empty.
    let script = "(echo up > writing; mv writing state; while :; do sleep 0.01; done) & while [ ! -e state ]; do sleep 0.01; \
                  done; cat state; kill $!; wait $!; (sleep 0.2; echo late) &";
    let (_test, requests) = calling(worker(), [("exec", sh(script))]);
    let (output, is_error) = &tool_results(&requests[1])[0];
    assert!(!is_error && output.contains("up") && output.contains("late"), "{output}");
}

#[test]
fn tools_that_use_groups_sessions_and_signals_of_their_own_work() {
    neighbour("timeout, setsid, nice and limits of a tool's own processes");
    let script = "sleep 1000 & kill $!; timeout -s KILL 0.1 sleep 1000; setsid -w echo apart; \
                  nice -n 5 echo nice; (ulimit -n 64; ulimit -n); sh -c 'kill -TERM $$'; echo done";
    let (_test, requests) = calling(worker(), [("exec", sh(script))]);
    let (output, is_error) = &tool_results(&requests[1])[0];
    assert!(!is_error, "{output}");
    for line in ["apart", "nice", "64", "done"] {
        assert!(output.contains(line), "no {line}: {output}");
    }
}

#[test]
fn a_tool_signals_neither_the_runner_nor_its_keeper() {
    attack("a tool kills, stops or starves those that see to its end");
    let script = "runner=$(cut -d' ' -f4 /proc/$PPID/stat); for target in $PPID -$PPID $runner -1; do kill -9 -- $target \
                  2>/dev/null && echo reached; kill -STOP -- $target 2>/dev/null && echo reached; done; \
                  prlimit --pid $runner --cpu=1 2>/dev/null && echo starved; prlimit --pid $PPID --nofile=0 2>/dev/null && \
                  echo starved; echo done";
    let (_test, requests) = calling(worker(), [("exec", sh(script))]);
    let (output, is_error) = &tool_results(&requests[1])[0];
    assert!(!is_error && output.contains("done"), "{output}");
    assert!(!output.contains("reached") && !output.contains("starved"), "{output}");
}

#[test]
fn no_process_shows_the_models_key() {
    attack("a tool looks for the model's key in /proc");
    let script = "for process in /proc/[0-9]*; do tr '\\0' '\\n' < $process/environ; done 2>/dev/null | \
                  grep -a ANTHROPIC_API_KEY | rev > found; echo done";
    let (test, requests) = calling(worker(), [("exec", sh(script))]);
    assert!(tool_results(&requests[1])[0].0.contains("done"));
    let reversed: String = KEY.chars().rev().collect();
    assert!(!lines(&test, "found").iter().any(|line| line.contains(&reversed)), "found in a process");
    // The program itself still has its variables: the requests carried the key.
    assert_eq!(requests.len(), 2);
}

#[test]
fn a_server_that_saves_while_it_ends_is_given_the_time() {
    neighbour("a server prints and saves after its input has ended");
    let script = format!(
        "{} rough; for line in 1 2 3; do echo '{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{\"level\":\
         \"info\",\"data\":\"bye\"}}}}' || exit; done; sleep 0.8; echo saved > saved",
        program()
    );
    let skill = crate::support::tool_server::command_skill("owls", "sh", &["-c", &script]);
    let test = crate::support::tool_server::librarian(&skill);
    let (test, _requests) = calling(test, [("echo", json!({"text": "owl"}))]);
    assert_eq!(lines(&test, "saved"), ["saved"]);
}
