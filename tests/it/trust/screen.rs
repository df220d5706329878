//! Text of models on a terminal: nothing acts on it, and nothing is hidden from the person who reads.

use crate::interactive::on_terminal;
use crate::support::{Answer, Provider, Test};
use crate::trust::{attack, neighbour};

/// A control sequence, direction overrides and DEL, none of which JSON must escape.
const ACTING: &str = "a\u{9b}31mb\u{202e}c\u{2066}d\u{7f}e";

fn at_terminal(answer: &str) -> Test {
    Test::with(Provider::Anthropic).env("TERM", "xterm").silent_stdin().answers([Answer::text(answer)])
}

fn assert_escaped(shown: &str) {
    for c in ['\u{9b}', '\u{202e}', '\u{2066}', '\u{7f}'] {
        assert!(!shown.contains(c), "{c:?} in {shown:?}");
    }
    assert!(shown.contains(r"a\u009b31mb\u202ec\u2066d\u007fe"), "{shown:?}");
}

#[test]
fn json_on_a_terminal_escapes_what_acts_on_it() {
    attack("an answer in JSON gives orders to the terminal");
    neighbour("an answer in JSON goes to a pipe as it is");
    for output in ["json", "jsonl"] {
        let test = at_terminal(ACTING);
        let Some(running) = on_terminal(&test, &format!("run librarian q --output {output}")) else { return };
        assert_escaped(&running.finish().assert_code(0).stdout);
        let log = on_terminal(&test, "log --json").unwrap().finish().assert_code(0);
        assert_escaped(&log.stdout);
    }
    // A pipe gets the text as the model wrote it.
    let ran = at_terminal(ACTING).run(["run", "librarian", "q", "--output", "json"]).assert_code(0);
    assert_eq!(ran.object()["text"], ACTING);
    assert!(ran.stdout.contains('\u{202e}'));
}

#[test]
fn an_answer_hides_nothing_on_a_terminal() {
    attack("an answer holds text that cannot be seen");
    neighbour("accents, emoji and joiners of Persian stay");
    let tags: String = "rm".chars().filter_map(|c| char::from_u32(0xe0000 + c as u32)).collect();
    let test = at_terminal(&format!("owls{tags} are\u{2063} n\u{feff}ice\u{61c}: café 👩\u{200d}👧 می\u{200c}خواهم"));
    let Some(running) = on_terminal(&test, "run librarian q --plain --quiet") else { return };
    let shown = running.finish().assert_code(0).stdout;
    assert!(shown.contains(r"owls\u{e0072}\u{e006d} are\u{2063} n\u{feff}ice\u{61c}"), "{shown:?}");
    assert!(shown.contains("café 👩\u{200d}👧 می\u{200c}خواهم"), "{shown:?}");
}
