//! Servers that start when they are called, because their tools are known from a lock.

use super::local::{answer, kinds, script, spec};
use super::*;
use crate::skill::output::{DEFAULT_LIMIT, Outputs};
use crate::tool::{ToolHints, ToolKind};

fn tool(name: &str) -> ToolSpec {
    ToolSpec {
        skill_name: "s".to_owned(),
        name: name.to_owned(),
        description: None,
        input_schema: no_arguments(),
        kind: ToolKind::Mcp,
        hints: ToolHints::default(),
    }
}

/// Locked tools, compared by their names.
fn lock(tools: &[&str], on_drift: OnDrift) -> Locked {
    let known: Vec<String> = tools.iter().map(|name| (*name).to_owned()).collect();
    let compare = move |live: &[ToolSpec]| {
        let new = live.iter().filter(|tool| !known.contains(&tool.name));
        new.map(|tool| format!("tool {} added", tool.name)).collect()
    };
    Locked { tools: tools.iter().map(|name| tool(name)).collect(), compare: Arc::new(compare), on_drift }
}

fn prepare(script: &str, locked: Locked) -> (Arc<McpSkill>, Told) {
    let environment = environment(&[("WANTED_TOKEN", "t-0123456789")]);
    let (notices, told) = listen();
    let workspace = std::env::temp_dir();
    let place = Place {
        workspace: &workspace,
        environment: &environment,
        outputs: &Outputs::new(DEFAULT_LIMIT),
        network: &Network::default(),
    };
    (McpSkill::locked(&spec(script, SkillCommon::default()), place, notices, locked).unwrap(), told)
}

/// A server that answers calls one after the other.
fn answering(calls: u8) -> String {
    let answers: Vec<String> = (0..calls).map(|n| format!("read d; {}", answer(2 + n, "hi"))).collect();
    script("", &format!("{}; read e", answers.join("; ")))
}

#[tokio::test]
async fn a_skill_that_is_never_called_starts_and_tells_nothing() {
    let (skill, told) = prepare("exit 1", lock(&["t", "gone"], OnDrift::Refuse));
    assert_eq!(names(&skill.tools()), ["t", "gone"]);
    skill.close().await;
    assert_eq!(kinds(&told), Vec::<&str>::new());
}

#[tokio::test]
async fn first_calls_share_one_start() {
    let (skill, told) = prepare(&answering(2), lock(&["t", "u"], OnDrift::Refuse));
    let (one, two) = tokio::join!(ask(&skill, "t"), ask(&skill, "u"));
    assert_eq!((texts(&one).as_str(), texts(&two).as_str()), ("hi", "hi"));
    skill.close().await;
    assert_eq!(kinds(&told), ["starting", "connected", "disconnected"]);
}

#[tokio::test]
async fn a_start_that_fails_is_the_result_of_all_who_wait_and_the_next_call_tries_again() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark").display().to_string();
    let start = format!("[ -e {mark} ] || {{ touch {mark}; echo no owls >&2; exit 3; }}");
    let script = script(&start, &format!("read d; {}; read e", answer(2, "hi")));
    let (skill, told) = prepare(&script, lock(&["t", "u"], OnDrift::Refuse));
    let (one, two) = tokio::join!(ask(&skill, "t"), ask(&skill, "u"));
    for (result, tool) in [(one, "t"), (two, "u")] {
        assert!(result.is_error);
        let expected = format!(
            "Error calling tool {tool}: skill s did not start: its process ended (exit status: 3)\n\
             its last words on stderr: no owls"
        );
        assert_eq!(texts(&result), expected);
    }
    assert_eq!(kinds(&told), ["starting"]);
    assert_eq!(texts(&ask(&skill, "t").await), "hi");
    skill.close().await;
}

#[tokio::test]
async fn a_call_that_is_cancelled_does_not_wait_for_the_start() {
    let (skill, told) = prepare("read a; read b", lock(&["t"], OnDrift::Refuse));
    let cancel = CancellationToken::new();
    let calling = tokio::spawn(Arc::clone(&skill).call(call("t", json!({})), cancel.clone()));
    while kinds(&told).is_empty() {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    let result = calling.await.unwrap();
    assert!(result.is_error && texts(&result).contains("cancelled"), "{result:?}");
    skill.close().await;
    assert_eq!(kinds(&told), ["starting"]);
}

#[tokio::test]
async fn drift_is_told_or_refuses_the_call() {
    let words = "skill s: its tools differ from perstack.lock (tool u added): run `perstack install` to lock them as they \
                 are now, or put back the server that was locked";
    let (skill, told) = prepare(&answering(1), lock(&["t"], OnDrift::Warn));
    assert_eq!(texts(&ask(&skill, "t").await), "hi");
    assert_eq!(names(&skill.tools()), ["t"], "the expert goes on with what it was shown");
    skill.close().await;
    assert_eq!(kinds(&told), ["starting", "warning", "connected", "disconnected"]);
    assert!(told.lock().unwrap().contains(&SkillNotice::Warning { message: words.to_owned() }));

    let (skill, told) = prepare(&answering(1), lock(&["t"], OnDrift::Refuse));
    let refused = ask(&skill, "t").await;
    assert!(refused.is_error);
    assert_eq!(texts(&refused), format!("Error calling tool t: {words}"));
    skill.close().await;
    assert_eq!(kinds(&told), ["starting"]);
}
