//! What is on record beside a configuration: a storage or a cassette that came with a folder brings its conversation, and
//! starts, reaches and lifts nothing.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::cassette;
use crate::support::log::chained;
use crate::support::process::Ran;
use crate::support::storage::read_json;
use crate::support::tool_server::{command_skill, lines, program};
use crate::support::{Answer, Provider, Test, call};
use crate::trust::{attack, neighbour};

/// Two experts: a stranger whose skill starts a script, and a librarian.
fn both() -> String {
    let stranger = "[experts.stranger]\ninstruction = \"You take things.\"\n";
    let skill = command_skill("owls", "sh", &["serve.sh"]).replace("experts.librarian", "experts.stranger");
    format!("{stranger}{skill}{LIBRARIAN}")
}

const LIBRARIAN: &str = "[experts.librarian]\ninstruction = \"You find things in books.\"\n";

/// A script that leaves a mark and serves.
fn serve() -> String {
    format!("#!/bin/sh\necho started >> mark\nexec '{}' polite\n", program())
}

/// Whether the script was started since it was last asked.
fn is_started(test: &Test) -> bool {
    fs::remove_file(test.workspace().join("mark")).is_ok()
}

#[test]
fn a_storage_in_a_folder_brings_no_expert() {
    attack("a storage that came with a folder defines an expert with a command");
    neighbour("a job goes on with its expert, and with a changed definition of it");
    let test = Test::new().toml(&both()).provider(Provider::Anthropic).file("serve.sh", serve());
    test.server().script([Answer::text("Mine."), Answer::text("Still mine."), Answer::text("Changed.")]);
    test.run(["run", "stranger", "q", "--job-id", "theirs"]).assert_code(0);
    assert!(is_started(&test));
    test.run(["resume", "latest", "Go on."]).assert_code(0);
    assert!(is_started(&test));

    // The same storage beside a configuration without the expert.
    let test = test.toml(LIBRARIAN);
    for arguments in [["resume", "latest", "Go on.", "--quiet"], ["resume", "theirs", "Go on.", "--trust"]] {
        let ran = test.run(arguments).assert_code(2);
        assert!(
            ran.stderr.contains("job theirs is of expert stranger, which is not defined here: there are librarian")
        );
    }
    test.run(["run", "librarian", "q", "--continue"]).assert_code(2);
    assert!(!is_started(&test));
    assert_eq!(test.server().requests().len(), 2);

    let changed = both().replace("You take things.", "You give things.").replace("serve.sh", "other.sh");
    let test = test.toml(&changed).file("other.sh", format!("exec '{}' polite\n", program()));
    test.run(["resume", "latest", "Go on."]).assert_code(0);
    assert!(!is_started(&test), "the definition at hand counts, not the recorded one");
}

#[test]
fn a_resumed_job_never_starts_the_masked_words_of_a_command() {
    attack("a command whose recorded words are masked");
    let secret = "sk-owl-0123456789abcdef";
    let skill = command_skill("owls", "sh", &["serve.sh", &format!("--api-key={secret}")]);
    let test = Test::new().toml(&format!("{LIBRARIAN}{skill}")).provider(Provider::Anthropic);
    let script = format!("echo \"$1\" >> words\nexec '{}' polite\n", program());
    let test = test.file("serve.sh", script).answers([Answer::text("One."), Answer::text("Two.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let setting = fs::read_to_string(test.storage().runs()[0].join("run-setting.json")).unwrap();
    assert!(setting.contains("[redacted]") && !setting.contains(secret), "{setting}");
    test.run(["resume", "latest", "More."]).assert_code(0);
    assert_eq!(lines(&test, "words"), [format!("--api-key={secret}"), format!("--api-key={secret}")]);
    let test = test.toml("[experts.other]\ninstruction = \"x\"\n");
    test.run(["resume", "latest", "More."]).assert_code(2);
    assert_eq!(lines(&test, "words").len(), 2);
}

/// Sets a value of the job's record.
fn alter(test: &Test, pointer: &str, value: Value) {
    let path = test.storage().jobs()[0].join("job.json");
    let mut job = read_json(&path);
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    job.pointer_mut(parent).unwrap()[key] = value;
    fs::write(path, job.to_string()).unwrap();
}

#[test]
fn a_storage_in_a_folder_names_no_other_delegate() {
    attack("a stored delegation to an expert that is no delegate");
    neighbour("a stored delegation to a delegate");
    let toml = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"worker\"]\n\
                [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Works.\"\n\
                [experts.publisher]\ninstruction = \"You publish.\"\ndescription = \"Publishes.\"\n";
    for (delegate, is_asked) in [("worker", true), ("publisher", false)] {
        let test = Test::new().toml(toml).provider(Provider::Anthropic);
        let task = Answer::calls([call("d1", "worker", json!({"query": "Do it."}))]);
        test.server().script([task, Answer::silence().when(|request| request.contains("You work."))]);
        let running = test.spawn(["run", "lead", "Go."]);
        running.wait_for_request(2);
        running.kill();
        running.finish();
        // As if the job had stopped before its delegate began, and had been written by somebody else.
        for run in test.storage().runs() {
            let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
            if log.contains("You work.") {
                fs::remove_dir_all(run).unwrap();
                continue;
            }
            for entry in fs::read_dir(&run).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_str().unwrap().starts_with("checkpoint-") {
                    fs::remove_file(path).unwrap();
                }
            }
            let other = chained(&log.replace("\"worker\"", &format!("\"{delegate}\"")));
            fs::write(run.join("log.jsonl"), other).unwrap();
        }
        let (works, leads) = (
            |r: &crate::support::Request| !r.contains("You lead."),
            |r: &crate::support::Request| r.contains("You lead."),
        );
        test.server().script([Answer::text("Done.").when(works), Answer::text("End.").when(leads)]);
        let test = test.may_leave_answers();
        let before = test.server().requests().len();
        let ran = test.run(["resume", "latest"]);
        let later: Vec<_> = test.server().requests().split_off(before);
        assert_eq!(later.iter().any(works), is_asked, "{delegate}: {}", ran.stderr);
        if is_asked {
            ran.assert_code(0);
        }
    }
}

#[test]
fn a_storage_in_a_folder_lifts_no_limit_of_the_user() {
    attack("a stored job with a budget above the user's own");
    neighbour("a stored job's budget in a folder that is trusted, and a flag");
    let test = Test::with(Provider::Anthropic).env("PERSTACK_CONFIG_DIR", "settings");
    let test = test.file("settings/config.toml", "maxTotalSteps = 2\n");
    let look = |id: &str| Answer::calls([call(id, "listDirectory", json!({"path": "."}))]);
    let test = test.answers([look("c1"), look("c2"), look("c3"), look("c4"), Answer::text("Done.")]);
    test.run(["run", "librarian", "q"]).assert_code(3);
    alter(&test, "/budget/limits/maxSteps", json!(1000));
    let ran = test.run(["resume", "latest"]).assert_code(3);
    assert!(ran.stderr.contains("the budget of 2 steps is reached"), "{}", ran.stderr);
    assert_eq!(test.server().requests().len(), 2);
    // A flag is the user's word, and so is the trust in the folder.
    test.run(["resume", "latest", "--max-total-steps", "3"]).assert_code(3);
    alter(&test, "/budget/limits/maxSteps", json!(1000));
    test.run(["resume", "latest", "--trust"]).assert_code(0);
}

/// Records a session that writes a file and runs a command, and takes their effects away.
fn recorded(place: &str) -> Test {
    let skill = "[experts.librarian.skills.\"@perstack/base\"]\ntype = \"mcpStdioSkill\"\ncommand = \"npx\"\n\
                 packageName = \"@perstack/base\"\n";
    let toml = format!("{LIBRARIAN}{}{skill}", command_skill("owls", "sh", &["serve.sh"]));
    let test =
        Test::new().toml(&toml).provider(Provider::Anthropic).file("serve.sh", serve()).file("book.txt", "Owls.");
    let test = test.file("shelf.txt", "Owls on a shelf.");
    let touch = json!({"command": "touch", "args": ["touched"], "env": {}, "cwd": ".", "stdout": true, "stderr": true});
    let test = test.file("gone.txt", "x").answers([
        Answer::calls([
            call("c1", "writeTextFile", json!({"path": "written", "text": "x"})),
            call("c2", "exec", touch),
            call("c3", "deleteFile", json!({"path": "gone.txt"})),
            call("c4", "echo", json!({"text": "owl"})),
            call("c5", "readTextFile", json!({"path": "shelf.txt"})),
            call("c6", "editTextFile", json!({"path": "book.txt", "oldText": "Owls", "newText": "Bees"})),
        ]),
        Answer::text("Done."),
    ]);
    test.run(["run", "librarian", "q", "--record", place]).assert_code(0);
    assert!(is_started(&test));
    restore(test.workspace().as_path());
    test
}

/// The workspace as it was before the session.
fn restore(workspace: &Path) {
    for file in ["written", "touched", "mark"] {
        let _ = fs::remove_file(workspace.join(file));
    }
    fs::write(workspace.join("gone.txt"), "x").unwrap();
    fs::write(workspace.join("book.txt"), "Owls.").unwrap();
}

/// The effects of the session that took place.
fn effects(test: &Test) -> Vec<&'static str> {
    let there = |file: &str| test.workspace().join(file).exists();
    let book = fs::read_to_string(test.workspace().join("book.txt")).unwrap();
    let all = [
        ("written", there("written")),
        ("run", there("touched")),
        ("deleted", !there("gone.txt")),
        ("edited", book != "Owls."),
        ("served", there("mark")),
    ];
    restore(&test.workspace());
    all.into_iter().filter(|(_, took_place)| *took_place).map(|(name, _)| name).collect()
}

const ALL: [&str; 5] = ["written", "run", "deleted", "edited", "served"];

fn replay(test: &Test, cassette: &str, storage: &str, option: &str) -> Ran {
    let ran = test.run(["run", "librarian", "q", "--replay", cassette, "--storage", storage, option]).assert_code(0);
    assert_eq!(ran.stdout, "Done.\n");
    ran
}

/// An option that changes nothing of a session.
const NONE: &str = "--max-steps=100";

const CONTAINED: &str = "calls that write or run are answered from it, not made: ";

#[test]
fn a_replay_in_a_folder_that_is_not_trusted_has_no_effects() {
    attack("a cassette that writes, deletes and runs where it is replayed");
    neighbour("the same cassette in a folder that is trusted");
    let test = recorded("c.cassette");
    let ran = replay(&test, "c.cassette", "one", NONE);
    assert!(ran.stderr.contains(CONTAINED) && ran.stderr.contains("this folder is not trusted"), "{}", ran.stderr);
    assert_eq!(effects(&test), [""; 0]);
    // Reading is not replayed: it is what the session's next request shows.
    fs::write(test.workspace().join("shelf.txt"), "Bats.").unwrap();
    let args = ["run", "librarian", "q", "--replay", "c.cassette", "--storage", "two"];
    let ran = test.run(args).assert_code(1);
    assert!(ran.stderr.contains("Bats."), "{}", ran.stderr);
    assert_eq!(effects(&test), [""; 0]);
    fs::write(test.workspace().join("shelf.txt"), "Owls on a shelf.").unwrap();

    let ran = replay(&test, "c.cassette", "three", "--trust");
    assert!(!ran.stderr.contains(CONTAINED), "{}", ran.stderr);
    assert_eq!(effects(&test), ALL);
    replay(&test, "c.cassette", "four", "--replay-tools");
    assert_eq!(effects(&test), [""; 0]);
}

#[test]
fn a_cassette_from_elsewhere_has_no_effects_in_a_trusted_folder() {
    attack("a cassette from elsewhere in a trusted folder");
    neighbour("a cassette that was recorded here, kept elsewhere");
    let test = recorded("../c.cassette");
    let ran = replay(&test, "../c.cassette", "one", "--trust");
    assert!(!ran.stderr.contains(CONTAINED), "{}", ran.stderr);
    assert_eq!(effects(&test), ALL);
    // Any change makes it another's.
    let path = test.root().join("c.cassette");
    let whole = fs::read_to_string(&path).unwrap();
    let result = whole.lines().find(|line| line.contains("\"record\":\"tool\"")).unwrap();
    fs::write(&path, format!("{whole}{result}\n")).unwrap();
    let ran = replay(&test, "../c.cassette", "two", "--trust");
    assert!(ran.stderr.contains(CONTAINED) && ran.stderr.contains("not recorded on this machine"), "{}", ran.stderr);
    assert_eq!(effects(&test), [""; 0]);
    // A link in the folder does not bring it in.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&path, test.workspace().join("link")).unwrap();
        replay(&test, "link", "three", "--trust");
        assert_eq!(effects(&test), [""; 0]);
    }
    fs::copy(&path, test.workspace().join("own")).unwrap();
    replay(&test, "own", "four", "--trust");
    assert_eq!(effects(&test), ALL);
}

#[test]
fn an_older_cassette_starts_no_server_where_the_folder_is_not_trusted() {
    attack("a cassette without the tools of servers, so that they are started");
    let test = recorded("c.cassette");
    let file = test.workspace().join("c.cassette");
    let whole = cassette::whole(&fs::read_to_string(&file).unwrap());
    let older: Vec<&str> = whole.lines().filter(|line| !line.contains("\"offer\"")).collect();
    fs::write(&file, older.join("\n") + "\n").unwrap();
    for (storage, option) in [("one", NONE), ("two", "--replay-tools")] {
        let arguments = ["run", "librarian", "q", "--replay", "c.cassette", "--storage", storage, option];
        let ran = test.run(arguments).assert_code(1);
        assert!(ran.stderr.contains("a request differs"), "{}", ran.stderr);
    }
    assert_eq!(effects(&test), [""; 0]);
    replay(&test, "c.cassette", "three", "--trust");
    assert_eq!(effects(&test), ALL);
}

#[cfg(unix)]
#[test]
fn a_replay_asks_no_question() {
    neighbour("a recorded session in a new folder on a terminal");
    let test = recorded("c.cassette").env("TERM", "xterm");
    let line = format!("'{}' run librarian q --replay c.cassette --storage one", env!("CARGO_BIN_EXE_perstack"));
    let Some(running) = crate::interactive::at_new_terminal(&test, &line) else { return };
    let ran = running.finish().assert_code(0);
    assert!(ran.stdout.contains("Done.") && !ran.stdout.contains("trust this folder?"), "{}", ran.stdout);
    assert_eq!(effects(&test), [""; 0]);
}
