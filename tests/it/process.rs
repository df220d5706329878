//! The builder of tests: what it starts a program with, and what it reports of it.

use std::process::Command;

use rustix::process::Signal;

use crate::support::{Answer, Provider, Test};

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn programs_end_with_a_code_and_two_streams() {
    let ran = Test::new().start(sh("echo out; echo err >&2; exit 3")).finish().assert_code(3);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
}

#[test]
fn the_environment_is_the_tests_own() {
    let test = Test::with(Provider::OpenAi).env("OWL", "grey");
    let ran = test.start(sh("env | cut -d= -f1 | sort; pwd -P >&2")).finish().assert_code(0);
    // The shell adds `PWD` and its like.
    let names: Vec<_> = ran.stdout.lines().filter(|name| !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_")).collect();
    let wanted =
        ["HOME", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OWL", "PATH", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"];
    assert_eq!(names, [&wanted[..], &["XDG_DATA_HOME"]].concat());
    let workspace = std::fs::canonicalize(ran.workspace()).unwrap();
    assert_eq!(ran.stderr.trim_end(), workspace.to_str().unwrap());
}

#[test]
fn standard_input_is_empty_a_text_or_silent() {
    assert_eq!(Test::new().start(sh("cat")).finish().assert_code(0).stdout, "");
    assert_eq!(Test::new().stdin("owl").start(sh("cat")).finish().assert_code(0).stdout, "owl");
    let silent = Test::new().silent_stdin().start(sh("echo up; exec cat"));
    silent.wait_for_stdout("up");
    silent.signal(Signal::TERM);
    let ran = silent.finish();
    assert_eq!((ran.code, ran.signal), (None, Some(15)));
}

#[test]
fn waiting_for_a_request_ends_with_the_program() {
    let test = Test::new().answers([Answer::text("unheard")]).may_leave_answers();
    let running = test.start(sh("exit 0"));
    let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| running.wait_for_request(1)));
    assert_eq!(waited.unwrap_err().downcast_ref::<String>().unwrap(), "0 requests came, not 1");
    running.finish().assert_code(0);
}

#[test]
fn the_configuration_names_the_provider_unless_it_does_so_itself() {
    let read = |test: Test| {
        test.run([]);
        std::fs::read_to_string(test.workspace().join("perstack.toml")).unwrap()
    };
    let own = "[provider]\nproviderName = \"google\"\n";
    assert_eq!(read(Test::new().toml(own).provider(Provider::OpenAi)), own);
    let chat = read(Test::with(Provider::OpenAiChat));
    assert!(chat.ends_with("[provider]\nproviderName = \"openai\"\n[provider.setting]\napi = \"chat\"\n"), "{chat}");
}
