//! `--help` of every command, and what the program answers when it is given none.

use crate::support::Test;

#[test]
fn every_command_explains_itself() {
    Test::new().run(["--help"]).assert_code(0).snapshot("help/perstack");
    let listed = Test::new().run(["--help"]).stdout;
    let (_, listed) = listed.split_once("Commands:\n").unwrap();
    let (listed, _) = listed.split_once("\n\n").unwrap();
    let names =
        listed.lines().filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    for name in names.filter(|name| *name != "help") {
        Test::new().run([name, "--help"]).assert_code(0).snapshot(&format!("help/{name}"));
    }
    for action in ["diff", "rm"] {
        Test::new().run(["job", action, "--help"]).assert_code(0).snapshot(&format!("help/job-{action}"));
    }
}

#[test]
fn a_command_line_that_is_not_one_is_answered_with_help() {
    Test::new().run([]).assert_code(2).snapshot("help/no-command");
    Test::new().run(["runn"]).assert_code(2).snapshot("help/unknown-command");
    Test::new().run(["run"]).assert_code(2).snapshot("help/no-expert");
}
