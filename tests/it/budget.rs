//! Budgets: each stops the job with its exit code and a command that goes on, over delegates, failures, kills and forks.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use perstack::cost::Cost;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::answer::{Call, Tokens};
use crate::support::process::Ran;
use crate::support::request::Request;
use crate::support::storage::{checkpoint_id, read_json};
use crate::support::{Answer, Gate, PATIENCE, Provider, Stop, Test, call};

const TEAM: &str = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"worker\"]\n\
                    [experts.worker]\ninstruction = \"You work.\"\ndescription = \"Does one task.\"\n";

/// What a turn takes here. The prompt is shorter than the tools of the base skill are by their bytes.
const TURN: Tokens = Tokens { input: 4000, cached: 0, output: 5000, reasoning: 0 };

fn todo(n: usize) -> Answer {
    Answer::calls([call(&format!("c{n}"), "todo", json!({"newTodos": [format!("task {n}")]}))]).usage(TURN)
}

/// A model that never comes to an end.
fn busy(test: &Test) {
    test.server().answer_by(|request| todo(request.results().len()).usage(within_limit(request)));
}

/// A job file's part, or a whole object's.
fn job(test: &Test) -> Value {
    read_json(&test.storage().jobs()[0].join("job.json"))
}

/// The last line on standard error, as words behind `perstack`.
fn continuation(ran: &Ran) -> Vec<String> {
    let line = ran.stderr.lines().last().unwrap();
    line.strip_prefix("perstack ")
        .unwrap_or_else(|| panic!("no command: {line}"))
        .split(' ')
        .map(str::to_owned)
        .collect()
}

/// Carries out the command that standard error ended with.
fn go_on(test: &Test, ran: &Ran) -> Ran {
    let mut command = Command::new(test.binary());
    command.args(continuation(ran));
    test.start(command).finish()
}

/// The limit on its answer that a request has.
fn limit(request: &Request) -> u64 {
    let keys = ["max_tokens", "max_output_tokens", "max_completion_tokens"];
    keys.iter().find_map(|key| request.body[*key].as_u64()).expect("a limit")
}

/// [`TURN`], as a model keeps to the request's limit.
fn within_limit(request: &Request) -> Tokens {
    Tokens { output: TURN.output.min(limit(request)), ..TURN }
}

/// What the server has answered, in picodollars at the prices of `claude-sonnet-4-5`.
#[derive(Clone, Default)]
struct Meter(Arc<AtomicU64>);

impl Meter {
    /// An answer, and what it costs.
    fn serve(&self, request: &Request, answer: Answer) -> Answer {
        let tokens = within_limit(request);
        self.0.fetch_add(tokens.input * 3_000_000 + tokens.output * 15_000_000, Ordering::SeqCst);
        answer.usage(tokens)
    }

    fn usd(&self) -> f64 {
        Cost::from_picodollars(self.0.load(Ordering::SeqCst)).usd()
    }
}

#[test]
fn a_cost_budget_is_a_wall_with_every_protocol() {
    for (provider, model) in
        [(Provider::Anthropic, "claude-sonnet-4-5"), (Provider::OpenAi, "gpt-5"), (Provider::OpenAiChat, "gpt-5")]
    {
        let test = Test::with(provider);
        busy(&test);
        let args = ["run", "librarian", "Owls?", "--max-cost", "0.5", "--model", model, "--output", "json"];
        let ran = test.run(args).assert_code(5).assert_stderr(["the cost budget of $0.5000 is reached"]);
        let object = ran.object();
        assert_eq!((&object["status"], &object["budget"]["kind"]), (&json!("stoppedByBudget"), &json!("cost")));
        let spent = object["cost"].as_f64().unwrap();
        assert!(spent <= 0.5 && spent > 0.2, "{spent}");
        // The last answer's limit is what was left.
        let requests = test.server().requests();
        assert!(limit(requests.last().unwrap()) < limit(&requests[0]), "{model}");
        assert_eq!(job(&test)["status"], "stoppedByBudget");

        let more = go_on(&test, &ran).assert_code(5);
        assert!(more.object()["cost"].as_f64().unwrap() > spent && more.object()["cost"].as_f64().unwrap() <= 1.0);
        assert!(more.stderr.lines().last().unwrap().contains("--max-cost 2"), "{}", more.stderr);
    }
}

#[test]
fn without_a_budget_no_limit_is_sent_that_was_not_before() {
    let test = Test::with(Provider::OpenAi).answers([Answer::text("Owls.")]);
    test.run(["run", "librarian", "Owls?", "--model", "gpt-5", "--max-steps", "9"]).assert_code(0);
    assert_eq!(test.server().requests()[0].body.get("max_output_tokens"), None);
    assert!(!test.storage().facts().iter().any(|fact| fact["fact"] == "reserved"));
}

#[test]
fn a_token_budget_stops_and_its_command_goes_on() {
    let test = Test::with(Provider::Anthropic).answers([todo(0), todo(1)]);
    let ran = test.run(["run", "librarian", "Owls?", "--max-tokens", "27000"]).assert_code(5);
    assert_reported(&ran, &["the token budget of 27000 is reached: 18000 spent", "to continue:"]);
    assert_eq!(job(&test)["budget"]["spent"]["tokens"], 18_000);
    test.server().script([Answer::text("Owls.").usage(TURN)]);
    let done = go_on(&test, &ran).assert_code(0);
    assert_eq!(done.stdout, "Owls.\n");
    assert!(done.stderr.contains("27.0k of 54.0k tokens"), "{}", done.stderr);
}

#[track_caller]
fn assert_reported(ran: &Ran, texts: &[&str]) {
    for text in texts {
        assert!(ran.stderr.contains(text), "no {text:?} in:\n{}", ran.stderr);
    }
}

#[test]
fn a_budget_that_no_request_fits_into_sends_none() {
    let test = Test::with(Provider::Anthropic);
    let ran = test.run(["run", "librarian", "Owls?", "--max-cost", "0.001"]).assert_code(5);
    assert_eq!(test.server().requests().len(), 0);
    test.server().script([Answer::text("Owls.")]);
    assert_eq!(go_on(&test, &ran).assert_code(0).stdout, "Owls.\n");
}

#[test]
fn a_cost_that_cannot_be_known_is_refused_before_anything_is_begun() {
    let test = Test::with(Provider::OpenAiChat);
    let ran = test.run(["run", "librarian", "Owls?", "--max-cost", "1", "--model", "house-blend"]).assert_code(2);
    assert_reported(&ran, &["house-blend", "openai", "models.toml", "price"]);
    assert_eq!((test.server().requests().len(), test.storage().jobs().len()), (0, 0));
    test.server().script([Answer::text("Owls.")]);
    test.run(["run", "librarian", "Owls?", "--max-tokens", "100000", "--model", "house-blend"]).assert_code(0);
}

#[test]
fn usage_that_is_not_reported_is_charged_as_set_aside() {
    let test = Test::with(Provider::OpenAiChat).answers([
        Answer::calls([call("c1", "todo", json!({"newTodos": ["read"]}))]).without_usage(),
        Answer::text("Owls."),
    ]);
    test.run(["run", "librarian", "Owls?", "--model", "gpt-5", "--max-tokens", "900000"]).assert_code(0);
    let facts = test.storage().facts();
    let reserved = facts.iter().find(|fact| fact["fact"] == "reserved").unwrap()["reservation"].clone();
    let whole = reserved["promptTokens"].as_u64().unwrap() + reserved["outputTokens"].as_u64().unwrap();
    assert_eq!(job(&test)["budget"]["spent"]["tokens"], json!(whole + 120));
}

#[test]
fn a_broken_answer_is_charged_and_a_refused_request_is_not() {
    let refused = Answer::status(529).header("retry-after-ms", "1");
    for (failure, is_charged) in [(refused, false), (Answer::text(&"Owls. ".repeat(50)).cut_after(700), true)] {
        let test = Test::with(Provider::Anthropic).answers([failure, Answer::text("Owls.")]);
        test.run(["run", "librarian", "Owls?", "--max-cost", "5"]).assert_code(0);
        let spent = job(&test)["budget"]["spent"].clone();
        assert_eq!(spent["tokens"].as_u64().unwrap() > 120, is_charged, "{spent}");
        assert_eq!(spent["cost"].as_f64().unwrap() > 0.0006, is_charged, "{spent}");
    }
}

#[test]
fn an_answer_that_the_budget_cuts_off_is_no_result() {
    // Room for little more than an answer's least.
    let test = Test::with(Provider::Anthropic).answers([
        todo(0),
        Answer::text("Owls are").stop_reason(Stop::Length).usage(Tokens { input: 9100, output: 1500, ..TURN }),
    ]);
    let ran = test.run(["run", "librarian", "Owls?", "--max-tokens", "22000"]).assert_code(5);
    assert_eq!(ran.stdout, "");
    test.server().script([Answer::text("Owls are birds.")]);
    assert_eq!(go_on(&test, &ran).assert_code(0).stdout, "Owls are birds.\n");
    let last = test.server().requests().pop().unwrap();
    assert!(!last.contains("Owls are"), "what was cut off is not in the conversation");
}

fn task(n: usize) -> Call {
    call(&format!("d{n}"), "worker", json!({"query": format!("Task #{n}#.")}))
}

/// A lead that hands out `n` tasks, to workers that never come to an end.
fn busy_team(n: usize) -> Test {
    let test = Test::new().toml(TEAM).provider(Provider::Anthropic);
    test.server().answer_by(move |request| {
        if request.contains("You lead.") && request.results().is_empty() {
            return Answer::calls((0..n).map(task).collect::<Vec<_>>()).usage(TURN);
        }
        todo(request.results().len())
    });
    test
}

#[test]
fn delegates_side_by_side_never_pass_the_ceiling_and_all_go_on() {
    let test = Test::new().toml(TEAM).provider(Provider::Anthropic);
    let meter = Meter::default();
    let served = meter.clone();
    test.server().answer_by(move |request| {
        let is_first = request.contains("You lead.") && request.results().is_empty();
        let tasks = || Answer::calls((0..5).map(task).collect::<Vec<_>>());
        served.serve(request, if is_first { tasks() } else { todo(request.results().len()) })
    });
    let ran = test.run(["run", "lead", "Go.", "--max-cost", "2", "--output", "json"]).assert_code(5);
    assert!(meter.usd() <= 2.0 && meter.usd() > 1.5, "{}", meter.usd());
    // The coordinator waits on disk; its workers are on the account at once.
    for holder in [ran.object(), job(&test)] {
        assert_eq!(holder["status"], "stoppedByBudget");
        let cost = holder["cost"].as_f64().unwrap();
        assert!((cost - meter.usd()).abs() < 1e-9, "{cost} is not {}", meter.usd());
    }

    // Without a larger budget the same one holds, and not a request is sent.
    let before = test.server().requests().len();
    test.run(["resume", "latest"]).assert_code(5);
    assert_eq!(test.server().requests().len(), before);

    let served = meter.clone();
    test.server().answer_by(move |request| served.serve(request, Answer::text("Done.")));
    assert_eq!(test.run(["resume", "latest", "--max-cost", "9"]).assert_code(0).stdout, "Done.\n");
    let results = test.server().requests().pop().unwrap().results();
    assert_eq!(results.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["Done."; 5]);
    let cost = job(&test)["cost"].as_f64().unwrap();
    assert!((cost - meter.usd()).abs() < 1e-9, "{cost} is not {}", meter.usd());
}

#[test]
fn what_a_failed_delegate_spent_stays_on_the_account() {
    let test = Test::new().toml(TEAM).provider(Provider::Anthropic).answers([
        Answer::calls([task(0)]).usage(TURN),
        todo(0),
        Answer::status(400).message("no such thing"),
        Answer::text("All done.").usage(TURN),
    ]);
    let ran = test.run(["run", "lead", "Go.", "--max-tokens", "500000", "--output", "json"]).assert_code(0);
    assert_eq!(job(&test)["budget"]["spent"]["tokens"], 27_000);
    assert_eq!(ran.object()["usage"]["inputTokens"], 12_000);
}

#[test]
fn steps_are_counted_over_all_delegates() {
    let test = busy_team(3);
    let ran = test.run(["run", "lead", "Go.", "--max-total-steps", "10", "--output", "json"]).assert_code(3);
    assert_eq!(test.server().requests().len(), 10);
    assert_eq!(job(&test)["status"], "stoppedByMaxSteps");
    assert_reported(&ran, &["the budget of 10 steps is reached"]);
    test.server().answer_by(|_| Answer::text("Done."));
    assert_eq!(go_on(&test, &ran).assert_code(0).object()["text"], "Done.");
}

#[test]
fn delegates_side_by_side_have_each_their_own_line_of_steps() {
    let test = Test::new().toml(TEAM).provider(Provider::Anthropic);
    test.server().answer_by(|request| match request.results().len() {
        0 if request.contains("You lead.") => Answer::calls((0..3).map(task).collect::<Vec<_>>()).usage(TURN),
        3 if request.contains("You lead.") => Answer::text("All done."),
        taken if taken < 4 => todo(taken),
        _ => Answer::text("Done."),
    });
    test.run(["run", "lead", "Go.", "--max-steps", "10"]).assert_code(0);
    assert_eq!(test.server().requests().len(), 1 + 3 * 5 + 1);
    test.run(["run", "lead", "Go.", "--max-steps", "10", "--max-total-steps", "9"]).assert_code(3);
    assert_eq!(test.server().requests().len(), 17 + 9);
}

#[test]
fn a_line_of_experts_has_its_steps_as_before() {
    let test = Test::new().toml(TEAM).provider(Provider::Anthropic).answers([
        Answer::calls([task(0)]),
        todo(0),
        Answer::text("Done."),
        Answer::text("All done."),
    ]);
    // Lead 1, worker 2 and 3, lead 4 (the answer) and 5.
    test.run(["run", "lead", "Go.", "--max-steps", "5"]).assert_code(0);
    assert_eq!((&job(&test)["totalSteps"], &job(&test)["budget"]["spent"]["steps"]), (&json!(5), &json!(5)));
}

#[test]
fn the_same_call_with_the_same_result_ends_the_run() {
    let read = |n: usize, path: &str| Answer::calls([call(&format!("r{n}"), "readTextFile", json!({"path": path}))]);
    let test = Test::with(Provider::Anthropic).file("owls.txt", "Owls.").file("bees.txt", "Bees.").answers([
        read(0, "owls.txt"),
        read(1, "bees.txt"),
        read(2, "owls.txt"),
        read(3, "owls.txt"),
        read(4, "owls.txt"),
    ]);
    let ran =
        test.run(["run", "librarian", "Owls?", "--max-tool-repetitions", "3", "--output", "jsonl"]).assert_code(5);
    assert_reported(&ran, &["readTextFile was called 3 times in a row", "--max-tool-repetitions 6"]);
    let events = ran.events();
    let end = events.iter().find(|event| event["type"] == "stopRunByBudget").unwrap();
    assert_eq!(end["reached"], json!({"kind": "toolRepetitions", "limit": 3, "toolName": "readTextFile"}));
    test.server().script([read(5, "owls.txt"), Answer::text("Owls.")]);
    test.run(["resume", "latest", "--max-tool-repetitions", "6"]).assert_code(0);
}

#[test]
fn a_delegate_that_repeats_itself_is_a_failure_of_its_own() {
    let test = Test::new().toml(TEAM).provider(Provider::Anthropic).file("a.txt", "A.");
    test.server().answer_by(|request| match (request.contains("You lead."), request.results().is_empty()) {
        (true, true) => Answer::calls([task(0)]),
        (true, false) => Answer::text("All done."),
        (false, _) => {
            let id = format!("r{}", request.results().len());
            Answer::calls([call(&id, "readTextFile", json!({"path": "a.txt"}))])
        }
    });
    let ran = test.run(["run", "lead", "Go.", "--max-tool-repetitions", "2"]).assert_code(0);
    assert_eq!(ran.stdout, "All done.\n");
    let results = test.server().requests().pop().unwrap().results();
    assert!(results[0].1.contains("readTextFile was called 2 times in a row"), "{results:?}");
}

#[test]
fn time_that_is_up_ends_a_silent_model_and_a_running_tool() {
    let sleep = json!({"command": "sleep", "args": ["600"], "env": {}, "cwd": ".", "stdout": true, "stderr": true});
    for answer in [Answer::silence(), Answer::calls([call("s1", "exec", sleep)])] {
        let test = Test::with(Provider::Anthropic).answers([answer]);
        let ran = test.run(["run", "librarian", "Owls?", "--max-duration", "1s", "--output", "json"]).assert_code(5);
        assert_reported(&ran, &["the time budget of 1s is reached"]);
        assert_eq!(ran.object()["budget"]["kind"], "duration");
        let active = job(&test)["budget"]["spent"]["activeMs"].as_u64().unwrap();
        assert!(active >= 1000 && u128::from(active) < PATIENCE.as_millis(), "{active}");
        // The time that is spent stays spent.
        test.run(["resume", "latest"]).assert_code(5);
        test.server().script([Answer::text("Owls.")]);
        assert_eq!(test.run(["resume", "latest", "--max-duration", "1h"]).assert_code(0).stdout, "Owls.\n");
    }
}

#[test]
fn time_that_is_up_leaves_delegates_to_go_on() {
    let test = Test::new().toml(TEAM).provider(Provider::Anthropic).answers([
        Answer::calls([task(0), task(1)]),
        Answer::silence(),
        Answer::silence(),
    ]);
    let ran = test.run(["run", "lead", "Go.", "--max-duration", "2s", "--output", "json"]).assert_code(5);
    assert_eq!(ran.object()["status"], "stoppedByBudget");
    test.server().answer_by(|_| Answer::text("Done."));
    assert_eq!(go_on(&test, &ran).object()["text"], "Done.");
}

#[test]
fn a_killed_job_goes_on_with_what_was_left_and_its_fork_too() {
    let gate = Gate::new();
    let test = Test::with(Provider::Anthropic).answers([todo(0), todo(1), Answer::hang_up().delay(&gate)]);
    let running = test.spawn(["run", "librarian", "Owls?", "--max-tokens", "100000", "--job-id", "nest"]);
    running.wait_for_request(3);
    running.poll(Duration::from_millis(1), || test.storage().checkpoints().len() == 2);
    running.kill();
    assert_eq!(running.finish().signal, Some(Signal::KILL.as_raw()));
    gate.open();

    test.server().script([todo(2), Answer::text("Owls.").usage(TURN)]);
    test.run(["resume", "nest"]).assert_code(0);
    let spent = || job(&test)["budget"]["spent"].clone();
    // Four answers, and the prompt of the request that was under way: the 9000 tokens known then, and a little.
    let tokens = spent()["tokens"].as_u64().unwrap();
    assert!((45_000..46_000).contains(&tokens), "{tokens}");
    assert_eq!(spent()["steps"], 4);
    assert_eq!(job(&test)["budget"]["limits"]["maxTokens"], 100_000);

    // A fork from the first step's checkpoint is on the same account, under the same limit.
    let first: PathBuf = test.storage().checkpoints().remove(0);
    busy(&test);
    test.run(["resume", checkpoint_id(&first), "And by day?"]).assert_code(5);
    let forked = spent()["tokens"].as_u64().unwrap();
    assert!(forked > tokens && forked <= 100_000, "{forked}");
}

#[test]
fn a_copied_checkpoint_takes_along_what_is_spent_and_meets_the_budgets_of_the_place() {
    let toml = "maxTokens = 18_000\n[experts.librarian]\ninstruction = \"You find things.\"\n";
    let home = Test::new().toml(toml).provider(Provider::Anthropic).answers([todo(0)]);
    home.run(["run", "librarian", "Owls?"]).assert_code(5);
    let copy_to = |away: &Test| {
        std::fs::copy(home.storage().last_checkpoint(), away.workspace().join("copied.json")).unwrap();
    };
    let away = Test::new().toml(&toml.replace("18_000", "9_500")).provider(Provider::Anthropic);
    copy_to(&away);
    let ran = away.run(["resume", "copied.json"]).assert_code(5);
    assert!(ran.stderr.contains("of 9500 is reached: 9000 spent"), "{}", ran.stderr);
    away.server().script([Answer::text("Owls.")]);
    go_on(&away, &ran).assert_code(0);
    let free = Test::with(Provider::Anthropic).answers([Answer::text("Owls.")]);
    copy_to(&free);
    free.run(["resume", "copied.json"]).assert_code(0);
}

#[test]
fn two_replays_of_a_job_that_reached_its_budget_are_the_same() {
    let test = busy_team(2);
    let run = |session: [&str; 2]| {
        let [how, file] = session;
        let ran =
            test.run(["run", "lead", "Go.", "--max-tokens", "100000", "--output", "jsonl", how, file]).assert_code(5);
        let stored: Vec<Value> = test.storage().checkpoints().iter().map(|file| read_json(file)).collect();
        (ran.stdout, stored, job(&test))
    };
    run(["--record", "a.cassette"]);
    std::fs::remove_dir_all(test.workspace().join("perstack")).unwrap();
    let before = test.server().requests().len();
    let replays = [run(["--replay", "a.cassette"]), run(["--replay", "a.cassette"])];
    assert_eq!(replays[0], replays[1]);
    assert_eq!(test.server().requests().len(), before);
}
