//! A job as a person sees it while it waits: for a server that takes long to start, and for three delegates at once.

use std::fs;

use serde_json::json;

use super::{at, terminal};
use crate::support::process::Running;
use crate::support::screen::last_screen;
use crate::support::settle::assert_snapshot;
use crate::support::signpost::Signpost;
use crate::support::tool_server::{command_skill, program};
use crate::support::{Answer, Gate, Provider, Test, call};

/// The end of a drawing.
const END_UPDATE: &str = "\u{1b}[?2026l";

/// The screen of a running job, as soon as it is one of these; drawings are whole, and the spinner stands still.
#[track_caller]
fn screen_when(running: &Running, columns: usize, holds: impl Fn(&str) -> bool) -> String {
    let whole = |bytes: &str| last_screen(bytes.rfind(END_UPDATE).map_or("", |end| &bytes[..end]), columns);
    let bytes = running.stdout_when(|bytes| holds(&whole(bytes)));
    let screen = whole(&bytes);
    screen.chars().map(|c| if ('\u{2800}'..='\u{28ff}').contains(&c) { '⠋' } else { c }).collect()
}

/// A test with an expert whose server starts when somebody passes the sign.
fn slow_start(term: &str) -> (Test, Signpost) {
    let toml = "[experts.librarian]\ninstruction = \"You find things in books.\"\n".to_owned()
        + &command_skill("owls", "sh", &["server.sh", "--shelf", "night-birds-of-the-northern-forests"]);
    let test = Test::with(Provider::Anthropic).toml(&toml).env("TERM", term).silent_stdin();
    fs::write(test.workspace().join("server.sh"), format!("read _ < sign\nexec '{}' polite\n", program())).unwrap();
    let sign = Signpost::at(&test.workspace(), "sign");
    (test.answers([Answer::text("Two owls.")]), sign)
}

#[test]
fn a_slow_start_fits_the_terminal() {
    for columns in [60, 100, 160] {
        let (test, sign) = slow_start("xterm");
        let Some(running) = at(&test, (columns, 24), "run librarian q") else { return };
        let screen =
            screen_when(&running, columns, |screen| screen.contains("starting skill") && screen.ends_with(" s\n"));
        sign.pass();
        let end = last_screen(&running.finish().assert_code(0).stdout, columns);
        for screen in [&screen, &end] {
            assert!(screen.lines().all(|line| line.chars().count() <= columns), "{screen}");
        }
        let shown = format!("--- while the server starts\n{screen}--- at the end\n{end}");
        assert_snapshot(test.root(), &format!("screens/slow-start-{columns}"), &shown);
    }
}

/// The line of a wait where none is drawn.
const LONG_WAIT: &str = "starting skill owls: sh server.sh";

#[test]
fn a_slow_start_is_reported_in_a_dumb_terminal() {
    let (test, sign) = slow_start("dumb");
    let Some(running) = at(&test, (80, 24), "run librarian q") else { return };
    running.wait_for_stdout(LONG_WAIT);
    sign.pass();
    let stdout = running.finish().assert_code(0).stdout;
    assert!(!stdout.contains('\u{1b}'), "{stdout:?}");
    assert_snapshot(test.root(), "screens/slow-start-dumb", &stdout.replace('\r', ""));
}

#[test]
fn a_slow_start_is_reported_in_a_pipe() {
    let (test, sign) = slow_start("xterm");
    let running = test.spawn(["run", "librarian", "q", "--no-stdin"]);
    running.wait_for_stderr(LONG_WAIT);
    sign.pass();
    running.finish().assert_code(0).snapshot("screens/slow-start-pipe");
}

/// A leader and three readers.
const TEAM: &str = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"barn\", \"tawny\", \"snowy\"]\n\
                    [experts.barn]\ninstruction = \"You read of barn owls.\"\ndescription = \"Reads.\"\n\
                    [experts.tawny]\ninstruction = \"You read of tawny owls.\"\ndescription = \"Reads.\"\n\
                    [experts.snowy]\ninstruction = \"You read of snowy owls.\"\ndescription = \"Reads.\"\n";

const READERS: [&str; 3] = ["barn", "tawny", "snowy"];

/// A job whose three delegates wait for their model, each at a gate of its own.
fn three_delegates(test: Test) -> (Test, [Gate; 3]) {
    let gates = READERS.map(|_| Gate::new());
    let query = "Find the sentence about its nest in all the books of the library, and report where it is.";
    let calls = READERS.map(|reader| call(reader, reader, json!({ "query": format!("{reader}: {query}") })));
    let answers = READERS.iter().zip(&gates).map(|(reader, gate)| {
        let instruction = format!("You read of {reader} owls.");
        Answer::text(&format!("The {reader} owl nests on page 2.")).delay(gate).when(move |r| r.contains(&instruction))
    });
    let test = test.toml(TEAM).answers([Answer::calls(calls)]);
    test.server().script(answers);
    test.server().script([Answer::text("All three are on page 2.")]);
    (test, gates)
}

/// Lets the delegates answer one after another, each when the line of the one before is there.
fn answer_in_order(gates: &[Gate; 3], wait_for: impl Fn(&str)) {
    for (reader, gate) in READERS.iter().zip(gates) {
        gate.open();
        wait_for(&format!("{reader}  answered"));
    }
}

/// The screen with the lines of the three, which start at once, in order of their names.
fn sorted(screen: &str) -> String {
    let (mut theirs, mut lines): (Vec<&str>, Vec<&str>) = screen.lines().partition(|line| line.starts_with("⠋   "));
    theirs.sort_unstable();
    lines.extend(theirs);
    lines.join("\n") + "\n"
}

#[test]
fn three_delegates_fit_the_terminal() {
    for columns in [60, 100, 160] {
        let (test, gates) = three_delegates(terminal());
        let Some(running) = at(&test, (columns, 24), "run lead 'Where do they nest?'") else { return };
        running.wait_for_request(4);
        // The narrow one has no room for the time of the leader.
        let asking = |screen: &str| {
            let asking = screen.lines().filter(|line| line.contains("asking the model ")).count();
            asking == 3 && (columns == 60 || screen.contains(" s in all"))
        };
        let screen = sorted(&screen_when(&running, columns, asking));
        answer_in_order(&gates, |text| {
            screen_when(&running, columns, |screen| screen.contains(text));
        });
        let end = last_screen(&running.finish().assert_code(0).stdout, columns);
        for screen in [&screen, &end] {
            assert!(screen.lines().all(|line| line.chars().count() <= columns), "{screen}");
        }
        let shown = format!("--- while the three are asked\n{screen}--- at the end\n{end}");
        assert_snapshot(test.root(), &format!("screens/three-delegates-{columns}"), &shown);
    }
}

#[test]
fn three_delegates_in_a_dumb_terminal_are_plain_lines() {
    let (test, gates) = three_delegates(terminal().env("TERM", "dumb"));
    let Some(running) = at(&test, (80, 24), "run lead 'Where do they nest?'") else { return };
    answer_in_order(&gates, |text| running.wait_for_stdout(text));
    let stdout = running.finish().assert_code(0).stdout;
    assert!(!stdout.contains('\u{1b}'), "{stdout:?}");
    assert_snapshot(test.root(), "screens/three-delegates-dumb", &stdout.replace('\r', ""));
}

#[test]
fn three_delegates_in_a_pipe_are_the_same_lines() {
    let (test, gates) = three_delegates(Test::with(Provider::Anthropic));
    let running = test.spawn(["run", "lead", "Where do they nest?", "--no-stdin"]);
    answer_in_order(&gates, |text| {
        running.wait_for_stderr(text);
    });
    running.finish().assert_code(0).snapshot("screens/three-delegates-pipe");
}
