//! Servers that start when they are called, because their tools are known from a lock.

use super::local::{answer, kinds, lines, script, spec, stateless};
use super::*;
use crate::skill::output::{DEFAULT_LIMIT, Outputs};
use crate::tool::{ToolHints, ToolKind};

fn tool(name: &str) -> ToolSpec {
    ToolSpec {
        skill_name: "s".to_owned(),
        name: name.to_owned(),
        description: None,
        input_schema: no_arguments().into(),
        kind: ToolKind::Mcp,
        hints: ToolHints::default(),
    }
}

/// Locked tools, compared by their names.
fn lock(tools: &[&str], on_drift: OnDrift) -> Locked {
    let known: Vec<String> = tools.iter().map(|name| (*name).to_owned()).collect();
    let compare = move |live: &[ToolSpec]| {
        let new = live.iter().filter(|tool| !known.contains(&tool.name));
        new.map(|tool| ToolDrift { tool: tool.name.clone(), text: format!("tool {} added", tool.name) }).collect()
    };
    Locked {
        tools: tools.iter().map(|name| tool(name)).collect(),
        protocol: None,
        compare: Arc::new(compare),
        on_drift,
    }
}

fn prepare(script: &str, locked: Locked) -> (Arc<McpSkill>, SeenNotices) {
    let environment = environment(&[("WANTED_TOKEN", "t-0123456789")]);
    let (notices, seen) = listen();
    let workspace = std::env::temp_dir();
    let place = McpContext {
        workspace: &workspace,
        environment: &environment,
        programs: Programs::default(),
        outputs: &Outputs::new(DEFAULT_LIMIT),
        person: None,
        network: &Network::default(),
    };
    (McpSkill::locked(&spec(script, SkillCommon::default()), place, notices, locked).unwrap(), seen)
}

/// A server that answers calls one after the other.
fn answering(calls: u8) -> String {
    let answers: Vec<String> = (0..calls).map(|n| format!("read d; {}", answer(2 + n, "hi"))).collect();
    script("", &format!("{}; read e", answers.join("; ")))
}

#[tokio::test]
async fn a_skill_that_is_never_called_starts_and_reports_nothing() {
    let (skill, seen) = prepare("exit 1", lock(&["t", "gone"], OnDrift::Refuse));
    assert_eq!(names(&skill.tools()), ["t", "gone"]);
    skill.close().await;
    assert_eq!(kinds(&seen), Vec::<&str>::new());
}

#[tokio::test]
async fn first_calls_share_one_start() {
    let (skill, seen) = prepare(&answering(2), lock(&["t", "u"], OnDrift::Refuse));
    let (one, two) = tokio::join!(ask(&skill, "t"), ask(&skill, "u"));
    assert_eq!((texts(&one).as_str(), texts(&two).as_str()), ("hi", "hi"));
    skill.close().await;
    assert_eq!(kinds(&seen), ["starting", "connected", "disconnected"]);
}

#[tokio::test]
async fn a_start_that_fails_is_the_result_of_all_who_wait_and_the_next_call_tries_again() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark").display().to_string();
    let start = format!("[ -e {mark} ] || {{ touch {mark}; echo no owls >&2; exit 3; }}");
    let script = script(&start, &format!("read d; {}; read e", answer(2, "hi")));
    let (skill, seen) = prepare(&script, lock(&["t", "u"], OnDrift::Refuse));
    let (one, two) = tokio::join!(ask(&skill, "t"), ask(&skill, "u"));
    for (result, tool) in [(one, "t"), (two, "u")] {
        assert!(result.is_error);
        let expected = format!(
            "Error calling tool {tool}: skill s did not start: its process ended (exit status: 3)\n\
             its last lines on stderr: no owls"
        );
        assert_eq!(texts(&result), expected);
    }
    assert_eq!(kinds(&seen), ["starting"]);
    assert_eq!(texts(&ask(&skill, "t").await), "hi");
    skill.close().await;
}

#[tokio::test]
async fn a_call_that_is_cancelled_does_not_wait_for_the_start() {
    let (skill, seen) = prepare("read a; read b", lock(&["t"], OnDrift::Refuse));
    let cancel = CancellationToken::new();
    let calling = tokio::spawn(Arc::clone(&skill).call(call("t", json!({})), cancel.clone()));
    while kinds(&seen).is_empty() {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    let result = calling.await.unwrap();
    assert!(result.is_error && texts(&result).contains("cancelled"), "{result:?}");
    skill.close().await;
    assert_eq!(kinds(&seen), ["starting"]);
}

#[tokio::test]
async fn drift_is_reported_or_refuses_the_call() {
    let words = "skill s: its server differs from perstack.lock (tool u added); run `perstack install` to lock it as it \
                 is now, or put back the one that was locked";
    let (skill, seen) = prepare(&answering(1), lock(&["t"], OnDrift::Warn));
    assert_eq!(texts(&ask(&skill, "t").await), "hi");
    assert_eq!(names(&skill.tools()), ["t"], "the expert goes on with what it was shown");
    skill.close().await;
    assert_eq!(kinds(&seen), ["starting", "warning", "connected", "disconnected"]);
    assert!(seen.lock().unwrap().contains(&SkillNotice::Warning { message: words.to_owned() }));

    let (skill, seen) = prepare(&answering(1), lock(&["t"], OnDrift::Refuse));
    let refused = ask(&skill, "t").await;
    assert!(refused.is_error);
    assert_eq!(texts(&refused), format!("Error calling tool t: {words}"));
    skill.close().await;
    assert_eq!(kinds(&seen), ["starting"]);
}

/// The same, of a server that spoke this revision.
fn lock_of(revision: &str, on_drift: OnDrift) -> Locked {
    Locked { protocol: Some(revision.to_owned()), ..lock(&["t", "u"], on_drift) }
}

#[tokio::test]
async fn a_server_is_greeted_in_the_locked_revision() {
    let folder = tempfile::tempdir().unwrap();
    let greetings = folder.path().join("greetings");
    let calls = format!("read c; {}; read d", answer(2, "modern"));
    let (skill, seen) = prepare(&stateless(&greetings, &calls), lock_of("2026-07-28", OnDrift::Refuse));
    assert_eq!(texts(&ask(&skill, "t").await), "modern");
    skill.close().await;
    assert_eq!(std::fs::read_to_string(greetings).unwrap(), "discover\n");
    assert_eq!(kinds(&seen), ["starting", "connected", "disconnected"]);

    let asked =
        script("", &format!("read d; {}; read e", answer(2, "hi"))).replacen("read a;", "read a; echo $a >&2;", 1);
    let (skill, seen) = prepare(&asked, lock_of("2025-06-18", OnDrift::Refuse));
    assert_eq!(texts(&ask(&skill, "t").await), "hi");
    skill.close().await;
    let [greeting] = &lines(&seen)[..] else { panic!("one greeting") };
    assert!(greeting.contains("\"protocolVersion\":\"2025-06-18\""), "{greeting}");
}

#[tokio::test]
async fn a_revision_that_is_no_longer_offered_is_drift() {
    let differs = "skill s: its server differs from perstack.lock (protocol 2026-07-28 is now 2025-06-18); run \
                   `perstack install` to lock it as it is now, or put back the one that was locked";
    let refused = r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"Method not found"}}"#;
    let sessions = script("", &format!("read d; {}; read e", answer(2, "hi")));
    // Some servers refuse what they do not know, others end.
    for unknown in [format!("echo '{refused}'; read b; exit"), "exit 3".to_owned()] {
        let server = sessions.replacen("read a;", &format!("read a; case $a in *discover*) {unknown};; esac;"), 1);
        let (skill, seen) = prepare(&server, lock_of("2026-07-28", OnDrift::Warn));
        assert_eq!(texts(&ask(&skill, "t").await), "hi");
        skill.close().await;
        assert_eq!(kinds(&seen), ["starting", "starting", "warning", "connected", "disconnected"]);
        assert!(seen.lock().unwrap().contains(&SkillNotice::Warning { message: differs.to_owned() }));

        let (skill, _) = prepare(&server, lock_of("2026-07-28", OnDrift::Refuse));
        assert_eq!(texts(&ask(&skill, "t").await), format!("Error calling tool t: {differs}"));
        skill.close().await;
    }
}

/// A server that offers another tool with its first answer, and answers three calls.
fn growing() -> String {
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    let relisted = response(&json!(3), &listing(&["t", "u", "w"]));
    let rest = [
        format!("read d; echo '{changed}'; {}", answer(2, "one")),
        format!("read l; echo '{relisted}'"),
        format!("read d; {}", answer(4, "two")),
        "read e".to_owned(),
    ];
    script("", &rest.join("; "))
}

#[tokio::test]
async fn tools_that_change_after_the_start_are_held_against_the_lock() {
    let words = |difference: &str| {
        format!(
            "skill s: its server differs from perstack.lock ({difference}); run `perstack install` to lock it as it is \
             now, or put back the one that was locked"
        )
    };
    // Here `u` is what becomes another tool.
    let locked = |on_drift| {
        let compare = |live: &[ToolSpec]| {
            let is_new = live.iter().any(|tool| tool.name == "w");
            is_new.then(|| ToolDrift { tool: "u".to_owned(), text: "tool u changed".to_owned() }).into_iter().collect()
        };
        Locked { compare: Arc::new(compare), ..lock(&["t", "u"], on_drift) }
    };
    for on_drift in [OnDrift::Warn, OnDrift::Refuse] {
        let (skill, seen) = prepare(&growing(), locked(on_drift));
        assert_eq!(texts(&ask(&skill, "t").await), "one");
        while !kinds(&seen).contains(&"warning") {
            tokio::task::yield_now().await;
        }
        assert!(seen.lock().unwrap().contains(&SkillNotice::Warning { message: words("tool u changed") }));
        assert_eq!(names(&skill.tools()), ["t", "u"], "the expert goes on with what it was shown");
        let of_other = if on_drift == OnDrift::Refuse {
            let refused = ask(&skill, "u").await;
            assert_eq!(texts(&refused), format!("Error calling tool u: {}", words("tool u changed")));
            assert!(refused.is_error);
            ask(&skill, "t").await
        } else {
            ask(&skill, "u").await
        };
        assert_eq!(texts(&of_other), "two");
        skill.close().await;
        assert_eq!(kinds(&seen), ["starting", "connected", "warning", "disconnected"]);
    }
}
