//! Servers as child processes.

use std::time::Instant;

use super::*;

/// A shell script that first runs `start`, then answers the handshake and the list, and then runs `rest`.
pub(super) fn script(start: &str, rest: &str) -> String {
    format!(
        "{start}\nread a; echo '{}'; read b; read c; echo '{}'\n{rest}\n",
        response(&json!(0), &greeting()),
        response(&json!(1), &listing(&["t", "u"])),
    )
}

pub(super) fn spec(script: &str, common: SkillCommon) -> SkillSpec {
    SkillSpec::McpStdioSkill {
        common: SkillCommon { name: "s".to_owned(), ..common },
        command: "sh".to_owned(),
        package_name: None,
        args: vec!["-c".to_owned(), script.to_owned()],
        required_env: vec!["WANTED_TOKEN".to_owned()],
        lazy_init: false,
        allowed_domains: None,
    }
}

async fn start_with(script: &str, common: SkillCommon) -> (Result<Arc<McpSkill>, String>, SeenNotices) {
    let environment = environment(&[("WANTED_TOKEN", "t-0123456789"), ("OTHER_API_KEY", "k-0123456789")]);
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
    let started = McpSkill::start(&spec(script, common), place, notices).await;
    (started.map_err(|error| error.to_string()), seen)
}

async fn start(script: &str) -> (Result<Arc<McpSkill>, String>, SeenNotices) {
    start_with(script, SkillCommon::default()).await
}

pub(super) fn answer(id: u8, text: &str) -> String {
    format!("echo '{}'", response(&json!(id), &text_result(text)))
}

pub(super) fn lines(seen: &SeenNotices) -> Vec<String> {
    let seen = seen.lock().unwrap();
    seen.iter()
        .filter_map(|notice| match notice {
            SkillNotice::Stderr { line } => Some(line.clone()),
            _ => None,
        })
        .collect()
}

/// The notices' kinds, without the lines of stderr.
pub(super) fn kinds(seen: &SeenNotices) -> Vec<&'static str> {
    let seen = seen.lock().unwrap();
    seen.iter()
        .filter_map(|notice| match notice {
            SkillNotice::Starting { .. } => Some("starting"),
            SkillNotice::Connected { .. } => Some("connected"),
            SkillNotice::Disconnected => Some("disconnected"),
            SkillNotice::Warning { .. } => Some("warning"),
            SkillNotice::Stderr { .. } | SkillNotice::Progress { .. } | SkillNotice::Access(_) => None,
        })
        .collect()
}

#[tokio::test]
async fn a_server_is_started_called_and_ended() {
    let (skill, seen) =
        start(&script("echo banner; echo log >&2", &format!("read d; {}; read e", answer(2, "hi")))).await;
    let skill = skill.unwrap();
    assert_eq!(names(&skill.tools()), ["t", "u"]);
    assert_eq!(texts(&ask(&skill, "t").await), "hi");
    skill.close().await;
    assert_eq!(kinds(&seen), ["starting", "connected", "disconnected"]);
    let mut lines = lines(&seen);
    lines.sort();
    assert_eq!(lines, ["log", "stdout: banner"]);
    let server = seen.lock().unwrap().iter().find_map(|notice| match notice {
        SkillNotice::Connected { server, .. } => server.clone(),
        _ => None,
    });
    assert_eq!(server.map(|server| (server.name, server.version)), Some(("fake".to_owned(), "7".to_owned())));
    let closed = ask(&skill, "t").await;
    assert_eq!(texts(&closed), "Error calling tool t: skill s has been closed");
}

#[tokio::test]
async fn a_server_sees_what_it_requires_and_no_other_key() {
    let show = "read d; printf '{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"%s\"}]}}\\n' \
                \"$(echo ${WANTED_TOKEN:+wanted} ${OTHER_API_KEY:+other} ${PATH:+path})\"; read e";
    let (skill, _) = start(&script("", show)).await;
    let skill = skill.unwrap();
    assert_eq!(texts(&ask(&skill, "t").await), "wanted path");
    skill.close().await;
}

#[tokio::test]
async fn a_program_that_is_missing_is_named() {
    let mut spec = spec("", SkillCommon::default());
    if let SkillSpec::McpStdioSkill { command, .. } = &mut spec {
        "no-such-program-here".clone_into(command);
    }
    let environment = environment(&[("WANTED_TOKEN", "x")]);
    let place = McpContext {
        workspace: Path::new("/"),
        environment: &environment,
        programs: Programs::default(),
        outputs: &Outputs::new(DEFAULT_LIMIT),
        person: None,
        network: &Network::default(),
    };
    let error = McpSkill::start(&spec, place, listen().0).await.err().unwrap().to_string();
    assert!(error.starts_with("skill s cannot be started: cannot start \"no-such-program-here\""), "{error}");
}

#[tokio::test]
async fn a_server_that_ends_at_once_is_reported_with_its_last_lines() {
    let (skill, seen) = start("echo first >&2; echo key t-0123456789 >&2; exit 3").await;
    assert_eq!(
        skill.err().unwrap(),
        "skill s did not start: its process ended (exit status: 3)\n\
         its last lines on stderr: first | key [redacted]"
    );
    assert_eq!(kinds(&seen), ["starting"]);
}

#[tokio::test]
async fn a_server_that_keeps_silent_is_given_up_in_time_with_all_its_children() {
    let common = SkillCommon { start_timeout_ms: Some(300), ..SkillCommon::default() };
    let (skill, seen) = start_with("echo $$ >&2; sleep 600 & sleep 600", common).await;
    let error = skill.err().unwrap();
    assert!(error.starts_with("skill s did not start within 0.3 s\n"), "{error}");
    let leader = lines(&seen).first().cloned().unwrap();
    // The group is killed when the start's future is dropped; its leader is a zombie at the latest when reaped.
    let group_is_gone = || {
        let members = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            let (_, rest) = stat.rsplit_once(") ")?;
            let fields: Vec<&str> = rest.split(' ').collect();
            (fields[2] == leader && fields[0] != "Z").then_some(())
        });
        members.count() == 0
    };
    let limit = Instant::now() + Duration::from_secs(20);
    while !group_is_gone() {
        assert!(Instant::now() < limit, "the server's group lives on");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_that_only_talks_is_no_mcp() {
    let (skill, _) = start("while echo hello; do :; done").await;
    let error = skill.err().unwrap();
    assert!(error.starts_with("skill s did not start: its standard output is no MCP"), "{error}");
}

#[tokio::test]
async fn a_connection_lost_in_a_call_is_replaced_and_only_repeatable_calls_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark").display().to_string();
    // Dies at its first call, and answers when it is started again.
    let rest = format!("read d; [ -e {mark} ] || {{ touch {mark}; exit 1; }}; {}; read e", answer(2, "made"));
    let common = || SkillCommon { idempotent: vec!["u".to_owned()], ..SkillCommon::default() };
    let (skill, seen) = start_with(&script("", &rest), common()).await;
    let skill = skill.unwrap();
    let lost = ask(&skill, "t").await;
    assert!(lost.is_error);
    assert_eq!(
        texts(&lost),
        "Error calling tool t: MCP error -32000: Connection closed: its process ended (exit status: 1). Whether the \
         call took effect is unknown; the skill has been started again. Check before you call it again"
    );
    assert_eq!(texts(&ask(&skill, "t").await), "made");
    skill.close().await;
    assert_eq!(kinds(&seen), ["starting", "connected", "disconnected", "starting", "connected", "disconnected"]);

    std::fs::remove_file(folder.path().join("mark")).unwrap();
    let (skill, _) = start_with(&script("", &rest), common()).await;
    let skill = skill.unwrap();
    assert_eq!(texts(&ask(&skill, "u").await), "made");
    skill.close().await;
}

#[tokio::test]
async fn a_server_that_dies_with_every_call_is_an_error_each_time() {
    let common = SkillCommon { idempotent: vec!["t".to_owned()], ..SkillCommon::default() };
    let (skill, seen) = start_with(&script("", "read d; kill -9 $$"), common).await;
    let skill = skill.unwrap();
    for _ in 0..2 {
        let result = ask(&skill, "t").await;
        assert!(result.is_error);
        let expected =
            "Error calling tool t: MCP error -32000: Connection closed: its process ended (signal: 9 (SIGKILL))";
        assert_eq!(texts(&result), expected);
    }
    skill.close().await;
    assert_eq!(kinds(&seen).iter().filter(|kind| **kind == "starting").count(), 4);
}

/// A shell script that refuses `initialize`, answers `server/discover` and the list of tools, and then runs `rest`. It
/// notes in a file how it was greeted.
pub(super) fn stateless(greetings: &Path, rest: &str) -> String {
    let greetings = greetings.display();
    let refused = r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"Method not found"}}"#;
    let discovered = response(
        &json!(0),
        &json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete",
            "ttlMs": 0, "cacheScope": "private"}),
    );
    let listed = response(&json!(1), &listing(&["t"]));
    format!(
        "read a; case $a in *initialize*) echo initialize >> {greetings}; echo '{refused}'; read b;; \
         *) echo discover >> {greetings}; echo '{discovered}'; read b; echo '{listed}'; {rest};; esac"
    )
}

#[tokio::test]
async fn a_server_without_sessions_is_used_without_and_that_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let greetings = folder.path().join("greetings");
    // Each process answers one call.
    let (skill, seen) = start(&stateless(&greetings, &format!("read c; {}", answer(2, "modern")))).await;
    let skill = skill.unwrap();
    assert_eq!(texts(&ask(&skill, "t").await), "modern");
    while !skill.state().live.as_ref().unwrap().connection.is_over() {
        tokio::task::yield_now().await;
    }
    assert_eq!(texts(&ask(&skill, "t").await), "modern");
    skill.close().await;
    assert_eq!(std::fs::read_to_string(greetings).unwrap(), "initialize\ndiscover\ndiscover\n");
    let life = ["starting", "starting", "connected", "disconnected", "starting", "connected", "disconnected"];
    assert_eq!(kinds(&seen), life);
}

#[tokio::test]
async fn a_base_skill_that_names_an_image_of_the_workspace_hands_it_over() {
    // The workspace of these skills is the folder for temporary files.
    let mut image = tempfile::Builder::new().suffix(".png").tempfile().unwrap();
    std::io::Write::write_all(&mut image, b"\x89PNG\r\n\x1a\nowl").unwrap();
    let named = json!({"path": image.path(), "mimeType": "image/png", "size": 11}).to_string();
    let server = script("", &format!("read d; {}; read e", answer(2, &named)));
    let server = server.replace("\"name\":\"t\"", "\"name\":\"readImageFile\"");
    let skill = start(&server).await.0.unwrap();
    let parts = ask(&skill, "readImageFile").await.result;
    assert!(
        matches!(&parts[..], [Content::ImageInlinePart { mime_type, .. }] if mime_type == "image/png"),
        "{parts:?}"
    );
    skill.close().await;
}
