//! Completion: the words that shells are given, and the scripts in the real shells.

use std::process::Command;

use crate::interactive::at_new_terminal;
use crate::support::process::Ran;
use crate::support::tool_server::stdio_skill;
use crate::support::{Answer, Provider, Test, skipped};

const TOML: &str = "[experts.researcher]\ninstruction = \"Find.\"\ndescription = \"Finds things.\"\n\
                    [experts.zoologist]\ninstruction = \"Know.\"\n\
                    [experts.zoologist.skills.tickets]\ntype = \"mcpSseSkill\"\nendpoint = \"https://mcp.example.com\"\n\
                    [experts.zoologist.skills.\"$(touch gone)\"]\ntype = \"mcpSseSkill\"\n\
                    endpoint = \"https://mcp.example.com\"\n";

fn project() -> Test {
    Test::new().toml(TOML).provider(Provider::Anthropic).file("sub/x.txt", "")
}

/// The lines that fish is given for these words: a word, then what describes it.
fn words(test: &Test, line: &[&str]) -> Vec<String> {
    let mut command = Command::new(test.binary());
    command.env("PERSTACK_COMPLETE", "fish").args(["--", "perstack"]).args(line);
    let shown = start(test, &command).assert_code(0).stdout;
    shown.lines().map(str::to_owned).collect()
}

/// Starts a program with the variables that were set for it.
fn start(test: &Test, command: &Command) -> Ran {
    let set: Vec<_> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    let mut with_env = Command::new("env");
    with_env.args(set.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())));
    with_env.arg(command.get_program()).args(command.get_args());
    test.start(with_env).finish()
}

#[test]
fn experts_are_offered_with_their_descriptions_from_any_folder() {
    let test = project();
    assert_eq!(words(&test, &["run", "rese"]), ["researcher\tFinds things."]);
    assert_eq!(words(&test, &["list-tools", "z"]), ["zoologist"]);
    let mut command = Command::new("sh");
    let line = format!("cd sub && PERSTACK_COMPLETE=fish '{}' -- perstack run zoo", test.binary().display());
    command.args(["-c", &line]);
    assert_eq!(test.start(command).finish().assert_code(0).stdout, "zoologist\n");
}

#[test]
fn the_configuration_and_storage_of_the_line_are_used() {
    let test = project().file("other.toml", "[experts.reviewer]\ninstruction = \"Review.\"\n");
    assert_eq!(words(&test, &["run", "--config", "other.toml", "r"]), ["reviewer"]);
    assert_eq!(words(&test, &["run", "--config=other.toml", "r"]), ["reviewer"]);
}

#[test]
fn jobs_are_offered_with_their_queries_and_checkpoints_with_their_steps() {
    let toml = "[experts.researcher]\ninstruction = \"Find.\"\n[experts.zoologist]\ninstruction = \"Know.\"\n";
    let test = project().toml(toml).answers([Answer::text("Barn."), Answer::text("Tawny.")]);
    test.run(["run", "researcher", "Which owls hunt\nat night?", "--job-id", "job-a"]).assert_code(0);
    test.run(["run", "zoologist", "And by day?", "--job-id", "job-b"]).assert_code(0);
    let offered = words(&test, &["resume", "job-"]);
    assert_eq!(offered, ["job-b\tzoologist: And by day?", "job-a\tresearcher: Which owls hunt at night?"]);
    assert_eq!(words(&test, &["run", "researcher", "q", "--continue-job", "job-a"]), [offered[1].clone()]);
    let all = words(&test, &["resume", ""]);
    assert!(all[0].starts_with("latest") && all.iter().any(|word| word.ends_with("\tstep 1")), "{all:?}");
    let of_a = words(&test, &["run", "researcher", "q", "--continue-job", "job-a", "--resume-from", ""]);
    let checkpoint = test.storage().checkpoints().into_iter().find(|path| path.to_string_lossy().contains("job-a"));
    let name = checkpoint.unwrap().file_stem().unwrap().to_string_lossy().into_owned();
    assert!(name.ends_with(of_a[0].split('\t').next().unwrap()), "{of_a:?} {name}");
}

#[test]
fn models_skills_and_commands_are_offered() {
    let test = project();
    let models = words(&test, &["run", "researcher", "q", "--provider", "openai", "--model", "gpt"]);
    assert!(!models.is_empty() && models.iter().all(|model| model.ends_with("\topenai")), "{models:?}");
    // A name that a shell would run is not offered.
    let skills = words(&test, &["login", ""]);
    assert_eq!(skills[0], "tickets\tskill of zoologist");
    assert!(skills[1..].iter().all(|word| word.starts_with("--")), "{skills:?}");
    assert_eq!(words(&test, &["login", "$("]), [""; 0], "nor where it is the only one");
    assert!(words(&test, &["ini"])[0].starts_with("init"));
    assert!(words(&test, &["resume", "perstack.t"]).contains(&"perstack.toml".to_owned()));
}

#[test]
fn tools_and_skills_are_offered_where_they_are_looked_for() {
    let test = project();
    assert_eq!(words(&test, &["log", "--grep", "readT"]), ["readTextFile\ttool of @perstack/base"]);
    assert_eq!(words(&test, &["log", "--grep", "tick"]), ["tickets\tskill of zoologist"]);
    assert_eq!(words(&test, &["log", "--grep", "$("]), [""; 0]);
    let questions = "[experts.owl]\ninstruction = \"Ask.\"\n[experts.owl.skills.person]\ntype = \"interactiveSkill\"\n\
                     [experts.owl.skills.person.tools.ask]\ndescription = \"Asks.\"\n\
                     inputJsonSchema = '{\"type\":\"object\"}'\n";
    let test = test.toml(&format!("{questions}{}", stdio_skill("diary", ["polite"]).replace("librarian", "owl")));
    assert_eq!(words(&test, &["log", "--grep", "as"]), ["ask\ttool of person"]);
    assert_eq!(words(&test, &["log", "--grep", "ech"]), [""; 0], "a server is not started to be asked");
    let test = test.env("PERSTACK_TRUST", "1");
    test.run(["install"]).assert_code(0);
    assert_eq!(words(&test, &["log", "--grep", "ech"]), ["echo\ttool of diary"]);
}

#[test]
fn every_place_of_a_job_offers_jobs() {
    let test = project().answers([Answer::text("Barn.")]);
    test.run(["run", "researcher", "Which owls?", "--job-id", "job-a"]).assert_code(0);
    let offered = ["job-a\tresearcher: Which owls?"];
    let places: [&[&str]; 7] = [
        &["log", "job"],
        &["log", "--job", "job"],
        &["resume", "job"],
        &["run", "researcher", "q", "--continue-job", "job"],
        &["job", "rm", "job"],
        &["job", "diff", "job"],
        &["job", "diff", "latest", "job"],
    ];
    for line in places {
        assert_eq!(words(&test, line), offered, "{line:?}");
    }
    assert_eq!(words(&test, &["log", "--job", "job-a", "--checkpoint", ""]).len(), 1);
}

#[test]
fn what_cannot_be_read_gives_no_words_and_no_error() {
    let test = Test::new().toml("[experts\n");
    assert_eq!(words(&test, &["log", "x"]), [""; 0]);
    assert_eq!(words(&test, &["run", "r"]), [""; 0]);
}

/// The folder of the binary, first on the path.
fn path(test: &Test) -> String {
    format!("PATH='{}':\"$PATH\"", test.binary().parent().unwrap().display())
}

fn is_there(shell: &str) -> bool {
    let there = Command::new(shell).args(["-c", "exit 0"]).status().is_ok_and(|status| status.success());
    if !there {
        skipped(&format!("{shell} is not here"));
    }
    there
}

/// Types a line with the tab key behind it into a shell on a terminal, and waits for the rest of the word.
fn completes(test: &Test, start: &str, setup: &str, typed: &str, rest: &str) {
    let Some(running) = at_new_terminal(test, &format!("{} exec {start}", path(test))) else { return };
    running.type_in(&format!("{setup}; echo SOU''RCED\n"));
    running.wait_for_stdout("SOURCED");
    running.type_in(&format!("{typed}\t"));
    running.wait_for_stdout(rest);
}

#[test]
fn bash_completes_an_expert_and_a_tool() {
    if is_there("bash") {
        let setup = "source <(perstack completions bash)";
        let test = project().env("TERM", "xterm").silent_stdin();
        completes(&test, "bash --norc --noprofile -i", setup, "perstack run rese", "archer");
        completes(&test, "bash --norc --noprofile -i", setup, "perstack log --grep readTe", "xtFile");
    }
}

#[test]
fn zsh_completes_an_expert_and_a_tool() {
    if is_there("zsh") {
        let setup = "autoload -U compinit; compinit -u -D; source <(perstack completions zsh)";
        let test = project().env("TERM", "xterm").silent_stdin();
        completes(&test, "zsh -f -i", setup, "perstack run rese", "archer");
        completes(&test, "zsh -f -i", setup, "perstack log --grep readTe", "xtFile");
    }
}

#[test]
fn fish_completes_an_expert_a_job_and_a_tool() {
    if !is_there("fish") {
        return;
    }
    let test = project().answers([Answer::text("Barn.")]);
    test.run(["run", "researcher", "Which owls?", "--job-id", "job-a"]).assert_code(0);
    let line = format!(
        "{} exec fish --no-config -c 'perstack completions fish | source; complete -C \"perstack run rese\"; \
         complete -C \"perstack resume job\"; complete -C \"perstack log --grep readTe\"'",
        path(&test)
    );
    let mut command = Command::new("sh");
    command.args(["-c", &line]);
    let shown = test.start(command).finish().assert_code(0).stdout;
    assert_eq!(
        shown,
        "researcher\tFinds things.\njob-a\tresearcher: Which owls?\nreadTextFile\ttool of @perstack/base\n"
    );
}
