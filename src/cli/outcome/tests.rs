//! Tests of the ends of jobs: exit codes, continuations, errors.

use perstack::checkpoint::RunFailure;

use super::*;
use crate::cli::options::ModelArgs;
use crate::cli::render::fixture::{head, outcome};

#[test]
fn every_status_has_its_exit_code() {
    let exit = |status| exit_of(status, None);
    assert_eq!(exit(Status::Completed), Exit::Completed);
    assert_eq!(exit(Status::StoppedByError), Exit::Failed);
    assert_eq!(exit(Status::StoppedByExceededMaxSteps), Exit::MaxSteps);
    assert_eq!(exit(Status::StoppedByInteractiveTool), Exit::Interactive);
    assert_eq!(exit(Status::StoppedByBudget), Exit::Budget);
    assert_eq!(exit(Status::StoppedByVerification), Exit::Unverified);
    assert_eq!(exit(Status::StoppedByCancellation), Exit::Failed);
    assert_eq!(exit_of(Status::StoppedByCancellation, Some(Signal::Interrupt)), Exit::Interrupted);
    assert_eq!(exit_of(Status::StoppedByCancellation, Some(Signal::HangUp)), Exit::Terminated);
    assert_eq!(exit_of(Status::StoppedByInteractiveTool, Some(Signal::Interrupt)), Exit::Interrupted);
    assert_eq!(exit_of(Status::Completed, Some(Signal::Interrupt)), Exit::Completed);
}

#[test]
fn the_continuation_repeats_the_flags_and_adds_those_of_the_stop() {
    let model = ModelArgs { model: Some("m".to_owned()), max_steps: Some(3), ..ModelArgs::default() };
    let args = JobArgs { model, ..JobArgs::default() };
    let at_step_5 = |status| {
        let mut outcome = outcome(status, "");
        outcome.checkpoint.head.step_number = 5;
        outcome
    };
    let line = |status| continuation(&at_step_5(status), &args).to_string();
    assert_eq!(line(Status::StoppedByError), "perstack resume c1 --model m --max-steps 3");
    assert_eq!(line(Status::StoppedByExceededMaxSteps), "perstack resume c1 --model m --max-steps 105");
    assert_eq!(line(Status::StoppedByInteractiveTool), "perstack resume c1 ANSWER -i --model m --max-steps 3");
}

#[test]
fn the_continuation_of_a_replay_is_one_too() {
    let mut args = JobArgs::default();
    args.session.replay = Some("a b.jsonl".into());
    args.session.replay_tools = true;
    args.output.stream = true;
    let outcome = outcome(Status::StoppedByError, "");
    let line = continuation(&outcome, &args).to_string();
    assert_eq!(line, "perstack resume c1 --stream --replay 'a b.jsonl' --replay-tools");
    args.session.replay = None;
    args.session.replay_tools = false;
    args.session.record = Some("c.jsonl".into());
    assert_eq!(continuation(&outcome, &args).to_string(), "perstack resume c1 --stream");
}

#[test]
fn the_continuation_after_a_budget_has_room_for_more() {
    let usd = |usd: f64| Cost::from_usd(usd).unwrap();
    let line = |reached: Reached| {
        let mut outcome = outcome(Status::StoppedByBudget, "");
        outcome.spent = Spent { tokens: 900, cost: usd(0.04), steps: 7, active_ms: 61_000 };
        outcome.budget = Some(reached);
        continuation(&outcome, &JobArgs::default()).to_string()
    };
    let cost = |next| Reached::Cost { limit: usd(0.05), spent: usd(0.04), next: usd(next) };
    assert_eq!(line(cost(0.02)), "perstack resume c1 --max-cost 0.1");
    assert_eq!(line(cost(0.5)), "perstack resume c1 --max-cost 1.04");
    let tokens = Reached::Tokens { limit: 1000, spent: 900, next: 2000 };
    assert_eq!(line(tokens), "perstack resume c1 --max-tokens 4900");
    let duration = Reached::Duration { limit_ms: 60_000, spent_ms: 60_000 };
    assert_eq!(line(duration), "perstack resume c1 --max-duration 2m2s");
    assert_eq!(line(Reached::Steps { limit: 7, spent: 7 }), "perstack resume c1 --max-total-steps 107");
    let repetitions = Reached::ToolRepetitions { limit: 3, tool_name: "t".to_owned() };
    assert_eq!(line(repetitions), "perstack resume c1 --max-tool-repetitions 6");
}

#[test]
fn the_bell_rings_after_more_than_a_minute() {
    let rung = |seconds| {
        let mut written = Vec::new();
        ring_after(Duration::from_secs(seconds), &mut written);
        written
    };
    assert_eq!((rung(0), rung(60), rung(61)), (Vec::new(), Vec::new(), b"\x07".to_vec()));
}

#[test]
fn an_error_names_its_kind_and_place() {
    let error = RunFailure {
        name: "AuthenticationError".to_owned(),
        message: "invalid key\n  and\x1b[2J why".to_owned(),
        status_code: Some(401),
        is_retryable: false,
    };
    let failure = error_of(&CheckpointHead { error: Some(error), ..head("r1", 3) });
    assert_eq!(
        failure.text(super::super::render::Paint::plain()),
        "error: invalid key (AuthenticationError, status 401)\n  and\\x1b[2J why\n  in expert researcher, step 3\n"
    );
}

#[test]
fn an_error_of_a_time_out_names_the_flag_that_raises_it() {
    let error = RunFailure {
        name: "TimeoutError".to_owned(),
        message: "timeout: the answer was not complete within 300s; a longer timeout allows more".to_owned(),
        status_code: None,
        is_retryable: true,
    };
    let failure = error_of(&CheckpointHead { error: Some(error), ..head("r1", 3) });
    let text = failure.text(super::super::render::Paint::plain());
    assert!(text.ends_with("\n  help: --timeout MS, or `timeout` in perstack.toml, allows more time\n"), "{text}");
}
