//! Lists of facts and events as jobs have them, and the spans that they become.

mod play;

use perstack::cost::Spend;
use perstack::generation::{FailureKind, FinishReason, GenerationFailure};
use perstack::message::Message;
use perstack::permission::{CallDecision, CallVerdict, DecidedBy};
use perstack::tool::ToolResult;
use perstack::usage::Usage;

use super::super::super::render::fixture::{awaiting, call, child, fall_back, head, step};
use super::super::span::AttributeValue;
use super::*;
use play::{Play, attribute, checkpoint, exec, generation, text, tree};

#[test]
fn a_run_with_tools_is_a_tree_with_the_times_of_its_facts() {
    let mut play = Play::new(TraceSettings::default());
    play.start("r1", 100, head("r1", 1));
    play.event("r1", 130, EventBody::StartStreamingText);
    play.calls("r1", 150, vec![exec("a"), exec("b"), call("t", "todo", "title", "x"), call("q", "ask", "text", "x")]);
    play.returned("r1", 170, &exec("b"), true);
    play.returned("r1", 190, &exec("a"), false);
    let todo = ToolResult::new(&call("t", "todo", "title", "x"), Vec::new());
    let tool_results = vec![ToolResult::new(&exec("a"), Vec::new()), todo];
    play.event("r1", 195, EventBody::ResolveToolResults { tool_results });
    play.ask("r1", 200);
    play.complete("r1", 260, head("r1", 2));
    let spans = play.end(Ok(Status::Completed));
    let expected = [
        "invoke_workflow researcher 100-260",
        "  invoke_agent researcher 100-260",
        "    chat some-model 100-150",
        "    execute_tool todo 150-150",
        "    execute_tool exec 150-170 !tool_error",
        "    execute_tool exec 150-190",
        "    chat some-model 200-260",
    ];
    assert_eq!(tree(&spans), expected);
    assert_eq!(text(&spans[0], names::PROVIDER), "anthropic");
    assert_eq!(text(&spans[0], names::REQUEST_MODEL), "some-model");
    assert_eq!(attribute(&spans[0], names::FINISH_REASONS), Some(&AttributeValue::Texts(vec!["tool_call".to_owned()])));
    assert_eq!(attribute(&spans[0], names::TIME_TO_FIRST_CHUNK), Some(&AttributeValue::Seconds(0.03)));
    // Cached tokens are beside the input in this provider's count, and part of it in the conventions'.
    assert_eq!(attribute(&spans[0], names::INPUT_TOKENS), Some(&AttributeValue::Count(50)));
    assert_eq!(attribute(&spans[0], names::CACHE_READ_TOKENS), Some(&AttributeValue::Count(40)));
    assert_eq!(attribute(&spans[0], names::CACHE_CREATION_TOKENS), None);
    let agent = spans.iter().find(|span| span.operation == SpanOperation::InvokeAgent).unwrap();
    assert_eq!(attribute(agent, names::OUTPUT_TOKENS), Some(&AttributeValue::Count(10)));
    assert_eq!((text(agent, names::AGENT_ID), text(agent, names::STATUS)), ("researcher".into(), "completed".into()));
    let tool = spans.iter().find(|span| span.operation == SpanOperation::ExecuteTool).unwrap();
    assert_eq!((text(tool, names::TOOL_CALL_ID), text(tool, names::TOOL_TYPE)), ("b".into(), "function".into()));
    for span in &spans {
        assert_eq!(text(span, names::CONVERSATION), "j1");
        assert_eq!(text(span, names::OPERATION), span.operation.name());
        for content in [names::INPUT_MESSAGES, names::OUTPUT_MESSAGES, names::TOOL_CALL_ARGUMENTS] {
            assert_eq!(attribute(span, content), None, "content is exported when it is asked for");
        }
    }
}

#[test]
fn delegates_are_beneath_their_caller_which_stays_one_span() {
    let mut play = Play::new(TraceSettings::default());
    play.start("r1", 100, head("r1", 1));
    play.calls("r1", 150, vec![call("d1", "helper", "query", "x"), call("d2", "helper", "query", "y")]);
    let stopped = checkpoint(awaiting(head("r1", 1), &[("d1", "helper"), ("d2", "helper")]));
    play.event("r1", 150, EventBody::StopRunByDelegate { checkpoint: stopped, step: step(1, Vec::new()) });
    play.start("r2", 160, child("r2", 2, "helper", ("r1", "d1")));
    play.start("r3", 161, child("r3", 2, "helper", ("r1", "d2")));
    play.complete("r3", 180, child("r3", 2, "helper", ("r1", "d2")));
    play.complete("r2", 190, child("r2", 2, "helper", ("r1", "d1")));
    play.resume("r4", 200, Some("r1"), head("r4", 3));
    play.ask("r4", 201);
    play.complete("r4", 220, head("r4", 3));
    let spans = play.end(Ok(Status::Completed));
    let expected = [
        "invoke_workflow researcher 100-220",
        "  invoke_agent researcher 100-220",
        "    chat some-model 100-150",
        "    invoke_agent helper 160-190",
        "      chat some-model 160-190",
        "    invoke_agent helper 161-180",
        "      chat some-model 161-180",
        "    chat some-model 201-220",
    ];
    assert_eq!(tree(&spans), expected);
}

#[test]
fn what_comes_from_a_recording_is_no_span_and_who_leaves_it_stays_beneath_its_caller() {
    let mut play = Play::new(TraceSettings::default());
    play.is_recorded = true;
    play.start("r1", 100, head("r1", 1));
    play.calls("r1", 101, vec![exec("a")]);
    play.returned("r1", 102, &exec("a"), false);
    play.ask("r1", 103);
    play.delegate("r1", 104, call("d", "helper", "query", "x"));
    play.start("r2", 105, child("r2", 2, "helper", ("r1", "d")));
    play.is_recorded = false;
    play.resume("r2", 106, None, child("r2", 2, "helper", ("r1", "d")));
    play.ask("r2", 107);
    play.complete("r2", 150, child("r2", 2, "helper", ("r1", "d")));
    play.resume("r3", 160, Some("r1"), head("r3", 3));
    play.ask("r3", 161);
    play.complete("r3", 190, head("r3", 3));
    let spans = play.end(Ok(Status::Completed));
    let expected = [
        "invoke_workflow researcher 100-190",
        "  invoke_agent researcher 100-190",
        "    invoke_agent helper 105-150",
        "      chat some-model 107-150",
        "    chat some-model 161-190",
    ];
    assert_eq!(tree(&spans), expected);
}

#[test]
fn failed_requests_end_with_their_error_and_begin_again_after_the_wait() {
    let failure = |kind| GenerationFailure {
        kind,
        message: "slow down".to_owned(),
        status_code: Some(429),
        is_retryable: true,
        retry_after_ms: None,
    };
    let mut play = Play::new(TraceSettings::default());
    play.start("r1", 100, head("r1", 1));
    let failed = FactBody::GenerationFailed {
        failure: failure(FailureKind::RateLimit),
        retry_in_ms: Some(1000),
        received_bytes: None,
    };
    play.fact("r1", 120, failed);
    let failed = FactBody::GenerationFailed {
        failure: failure(FailureKind::Authentication),
        retry_in_ms: None,
        received_bytes: None,
    };
    play.fact("r1", 1150, failed);
    let error = perstack::checkpoint::RunFailure {
        name: "AuthenticationError".to_owned(),
        message: "slow down".to_owned(),
        status_code: Some(401),
        is_retryable: false,
    };
    let stopped = CheckpointHead { status: Status::StoppedByError, error: Some(error.clone()), ..head("r1", 1) };
    let (checkpoint, step) = (checkpoint(stopped), step(1, Vec::new()));
    play.event("r1", 1151, EventBody::StopRunByError { checkpoint, step, error });
    let spans = play.end(Ok(Status::StoppedByError));
    let expected = [
        "invoke_workflow researcher 100-1151 !AuthenticationError",
        "  invoke_agent researcher 100-1151 !AuthenticationError",
        "    chat some-model 100-120 !RateLimitError",
        "    chat some-model 1120-1150 !AuthenticationError",
    ];
    assert_eq!(tree(&spans), expected);
    assert_eq!(spans[0].error.as_ref().unwrap().message, "slow down");
    assert_eq!(text(&spans[0], names::ERROR_TYPE), "RateLimitError");
}

#[test]
fn a_fallback_answers_the_same_request_by_its_own_name() {
    let mut play = Play::new(TraceSettings::default());
    play.start("r1", 100, head("r1", 1));
    let failure = GenerationFailure {
        kind: FailureKind::Authentication,
        message: "no".to_owned(),
        status_code: Some(401),
        is_retryable: false,
        retry_after_ms: None,
    };
    play.fact("r1", 120, FactBody::GenerationFailed { failure, retry_in_ms: None, received_bytes: None });
    let body = fall_back("no");
    let EventBody::FallBack { to_model, .. } = &body else { panic!("{body:?}") };
    let other = to_model.clone();
    play.event("r1", 120, body);
    play.complete("r1", 150, head("r1", 1));
    let spans = play.end(Ok(Status::Completed));
    let (failed, answered) = (&spans[0], &spans[1]);
    assert_eq!((failed.name().as_str(), failed.ended), ("chat some-model", 120));
    assert_eq!((answered.name(), answered.began), (format!("chat {}", other.model), 120));
    assert_eq!(text(answered, names::PROVIDER), names::provider(&other.provider.to_string()));
    assert_eq!(attribute(answered, names::STEP), Some(&AttributeValue::Count(1)));
}

#[test]
fn an_interrupted_run_ends_what_was_under_way() {
    let mut calling = Play::new(TraceSettings::default());
    calling.start("r1", 100, head("r1", 1));
    calling.calls("r1", 150, vec![exec("a"), exec("b")]);
    calling.returned("r1", 160, &exec("a"), false);
    calling.cancel("r1", 170, head("r1", 1));
    let expected = [
        "invoke_workflow researcher 100-170 !stoppedByCancellation",
        "  invoke_agent researcher 100-170 !stoppedByCancellation",
        "    chat some-model 100-150",
        "    execute_tool exec 150-160",
        "    execute_tool exec 150-170 !stoppedByCancellation",
    ];
    assert_eq!(tree(&calling.end(Ok(Status::StoppedByCancellation))), expected);

    let mut asking = Play::new(TraceSettings::default());
    asking.start("r1", 100, head("r1", 1));
    asking.cancel("r1", 170, head("r1", 1));
    assert_eq!(
        tree(&asking.end(Ok(Status::StoppedByCancellation)))[2],
        "    chat some-model 100-170 !stoppedByCancellation"
    );

    // A process that cannot record any more: nothing stopped, and all ends with the last that is known.
    let mut lost = Play::new(TraceSettings::default());
    lost.start("r1", 100, head("r1", 1));
    lost.event("r1", 140, EventBody::StartStreamingText);
    let expected = [
        "invoke_workflow researcher 100-140 !_OTHER",
        "  invoke_agent researcher 100-140 !stoppedByCancellation",
        "    chat some-model 100-140 !stoppedByCancellation",
    ];
    assert_eq!(tree(&lost.end(Err("the disk is full"))), expected);
}

#[test]
fn a_denied_call_is_an_error_and_an_allowed_one_begins_with_the_decision() {
    let decision = |id: &str, decision| CallDecision {
        tool_call_id: id.to_owned(),
        tool_name: "exec".to_owned(),
        decision,
        by: DecidedBy::Rule,
        rule: None,
        always: false,
        reason: None,
    };
    let mut play = Play::new(TraceSettings::default());
    play.start("r1", 100, head("r1", 1));
    play.calls("r1", 150, vec![exec("a"), exec("b")]);
    let decisions = vec![decision("a", CallVerdict::Allowed), decision("b", CallVerdict::Denied)];
    play.event("r1", 900, EventBody::DecideToolCalls { decisions });
    play.returned("r1", 910, &exec("a"), false);
    let lines = tree(&play.end(Ok(Status::StoppedByCancellation)));
    assert_eq!(lines[3..], ["    execute_tool exec 150-900 !permission_denied", "    execute_tool exec 900-910"]);
}

#[test]
fn a_resumed_run_of_another_process_is_beneath_the_job() {
    let helper = || child("r2", 2, "helper", ("r0", "d1"));
    let recovered = || {
        let mut play = Play::new(TraceSettings::default());
        // Its last event is emitted again: it is no part of what this process does.
        let stopped = checkpoint(awaiting(head("r0", 1), &[("d1", "helper")]));
        play.event("r0", 90, EventBody::StopRunByDelegate { checkpoint: stopped, step: step(1, Vec::new()) });
        play.resume("r2", 100, None, helper());
        play.ask("r2", 101);
        play
    };
    let mut play = recovered();
    play.complete("r2", 110, helper());
    play.resume("r3", 120, Some("r0"), head("r3", 3));
    play.ask("r3", 121);
    play.complete("r3", 130, head("r3", 3));
    let expected = [
        "invoke_workflow researcher 90-130",
        "  invoke_agent helper 100-110",
        "    chat some-model 101-110",
        "  invoke_agent researcher 120-130",
        "    chat some-model 121-130",
    ];
    let spans = play.end(Ok(Status::Completed));
    assert_eq!(tree(&spans), expected);
    assert_eq!(text(spans.last().unwrap(), names::WORKFLOW_NAME), "researcher");

    // The delegate's end is none of the job's, whether the coordinator's last event is seen or its next.
    let mut play = recovered();
    play.complete("r2", 110, helper());
    let spans = play.end(Err("the disk is full"));
    assert_eq!(tree(&spans)[0], "invoke_workflow researcher 90-110 !_OTHER");
    assert_eq!(attribute(spans.last().unwrap(), names::STATUS), None);
    let mut play = Play::new(TraceSettings::default());
    play.resume("r2", 100, None, helper());
    play.cancel("r2", 110, helper());
    play.resume("r3", 120, Some("r0"), head("r3", 3));
    play.complete("r3", 130, head("r3", 3));
    let spans = play.end(Err("the disk is full"));
    assert_eq!(tree(&spans)[0], "invoke_workflow researcher 100-130 !_OTHER");
    assert_eq!(text(spans.last().unwrap(), names::STATUS), "completed");
}

#[test]
fn a_job_that_is_stopped_while_its_coordinator_waits_has_the_jobs_status() {
    for status in [Status::StoppedByCancellation, Status::StoppedByBudget] {
        let helper = child("r2", 2, "helper", ("r1", "d1"));
        let mut play = Play::new(TraceSettings::default());
        play.start("r1", 100, head("r1", 1));
        play.delegate("r1", 150, call("d1", "helper", "query", "x"));
        play.start("r2", 160, helper.clone());
        play.cancel("r2", 170, helper);
        let spans = play.end(Ok(status));
        let expected = [
            format!("invoke_workflow researcher 100-170 !{}", status.name()),
            format!("  invoke_agent researcher 100-170 !{}", status.name()),
            "    chat some-model 100-150".to_owned(),
            "    invoke_agent helper 160-170 !stoppedByCancellation".to_owned(),
            "      chat some-model 160-170 !stoppedByCancellation".to_owned(),
        ];
        assert_eq!(tree(&spans), expected);
        let statuses: Vec<String> = spans.iter().rev().take(2).map(|span| text(span, names::STATUS)).collect();
        assert_eq!(statuses, [status.name(), status.name()]);
    }
}

#[test]
fn the_request_behind_a_summary_is_one_like_others() {
    let mut play = Play::new(TraceSettings { captures_content: true, ..TraceSettings::default() });
    play.start("r1", 100, head("r1", 1));
    let summary = generation(FinishReason::Stop);
    play.fact("r1", 150, FactBody::Summarized { generation: summary, replaced: 2, tokens_before: 9, tokens_after: 8 });
    let new_message = Message::UserMessage { id: "m".into(), contents: Vec::new(), cache: false };
    let summarized = EventBody::ContextSummarized {
        new_message,
        messages_before: 5,
        messages_after: 4,
        tokens_before: 9,
        tokens_after: 8,
        usage: Usage::default(),
        spend: Spend::default(),
    };
    play.event("r1", 150, summarized);
    play.event("r1", 160, EventBody::StartStreamingText);
    play.complete("r1", 200, head("r1", 1));
    let spans = play.end(Ok(Status::Completed));
    let request = &spans[1];
    assert_eq!((request.name().as_str(), request.began, request.ended), ("chat some-model", 150, 200));
    assert_eq!(attribute(request, names::STEP), Some(&AttributeValue::Count(1)));
    assert_eq!(attribute(request, names::TIME_TO_FIRST_CHUNK), Some(&AttributeValue::Seconds(0.01)));
    assert!(text(request, names::INPUT_MESSAGES).contains("Query."));
}

#[test]
fn a_parent_gives_the_trace_and_decides_whether_it_is_exported() {
    let parent = TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
    let spans = |parent: TraceParent| {
        let mut play = Play::new(TraceSettings { parent: Some(parent), ..TraceSettings::default() });
        play.start("r1", 100, head("r1", 1));
        play.complete("r1", 110, head("r1", 1));
        play.end(Ok(Status::Completed))
    };
    let joined = spans(parent.clone());
    assert_eq!(joined.len(), 3);
    assert!(joined.iter().all(|span| span.trace == parent.trace));
    let entries: Vec<&TraceSpan> = joined.iter().filter(|span| span.is_entry).collect();
    assert_eq!(
        entries.iter().map(|span| (span.operation, span.parent)).collect::<Vec<_>>(),
        [(SpanOperation::InvokeWorkflow, Some(parent.span))]
    );
    assert_eq!(spans(TraceParent { is_sampled: false, ..parent }), Vec::new());
}

#[test]
fn content_is_exported_when_it_is_asked_for() {
    let mut play = Play::new(TraceSettings { captures_content: true, ..TraceSettings::default() });
    play.start("r1", 100, head("r1", 1));
    play.calls("r1", 150, vec![exec("a")]);
    play.returned("r1", 170, &exec("a"), false);
    let spans = play.end(Ok(Status::StoppedByCancellation));
    assert_eq!(
        text(&spans[0], names::INPUT_MESSAGES),
        r#"[{"role":"user","parts":[{"type":"text","content":"Query."}]}]"#
    );
    assert_eq!(
        text(&spans[0], names::OUTPUT_MESSAGES),
        r#"[{"role":"assistant","parts":[{"type":"text","content":"Owls."},{"type":"tool_call","id":"x","name":"exec","arguments":{"a":1}}],"finish_reason":"tool_call"}]"#
    );
    assert_eq!(text(&spans[1], names::TOOL_CALL_ARGUMENTS), r#"{"command":"ls"}"#);
    assert_eq!(text(&spans[1], names::TOOL_CALL_RESULT), "Output.");
    assert!(matches!(spans[1].attributes.first(), Some((_, AttributeValue::Text(_)))));
}

#[test]
fn secrets_are_taken_out_of_every_text() {
    let mut redactor = perstack::redact::Redactor::default();
    redactor.add("sk-ant-0123456789");
    let mut play = Play::new(TraceSettings { captures_content: true, ..TraceSettings::default() });
    play.start("r1", 100, head("r1", 1));
    let leaking = call("a", "exec", "command", "echo sk-ant-0123456789");
    play.calls("r1", 150, vec![leaking.clone()]);
    play.returned("r1", 170, &leaking, false);
    let mut spans = play.end(Err("sk-ant-0123456789 is wrong"));
    for span in &mut spans {
        span.mask(&redactor);
    }
    let shown = format!("{spans:?}");
    assert!(!shown.contains("sk-ant") && shown.contains("echo [redacted]"), "{shown}");
    assert!(shown.contains("[redacted] is wrong"), "{shown}");
}
