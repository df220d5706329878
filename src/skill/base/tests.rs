//! The base skill, called as a run calls it.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::skill::output::DEFAULT_LIMIT;

mod confinement;
mod exec;
mod files;

/// A workspace in a folder of its own, with a folder beside it that is out of bounds.
struct World {
    folder: tempfile::TempDir,
    skill: Arc<BaseSkill>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["workspace/perstack", "outside"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("workspace/perstack/job.json"), "secret").unwrap();
        fs::write(folder.path().join("outside/secret.txt"), "secret").unwrap();
        let environment = [
            ("HOME".to_owned(), folder.path().to_string_lossy().into_owned()),
            ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("SOME_API_KEY".to_owned(), "key-0123456789".to_owned()),
        ];
        let common = SkillCommon { name: BASE_SKILL.to_owned(), ..SkillCommon::default() };
        let workspace = folder.path().join("workspace");
        let outputs = Outputs::new(DEFAULT_LIMIT);
        outputs.keep_in(folder.path().join("workspace/perstack/outputs"), Vec::new(), Redactor::default());
        let skill = BaseSkill::open(
            &common,
            &workspace,
            &environment.into_iter().collect(),
            OffLimits::default(),
            &outputs,
            Programs::default(),
            Arc::new(|_| {}),
        )
        .unwrap();
        Self { folder, skill }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("workspace").join(name)
    }

    fn start(&self, tool: &str, args: Value) -> BoxFuture<'static, ToolResult> {
        Arc::clone(&self.skill).call(call(tool, args), CancellationToken::new())
    }

    async fn result(&self, tool: &str, args: Value) -> ToolResult {
        self.start(tool, args).await
    }

    /// The JSON that a successful call returns.
    async fn ok(&self, tool: &str, args: Value) -> Value {
        let result = self.result(tool, args).await;
        assert!(!result.is_error, "{result:?}");
        json_of(&result)
    }

    /// The message of a call that fails.
    async fn refusal(&self, tool: &str, args: Value) -> String {
        let result = self.result(tool, args).await;
        assert!(result.is_error, "{result:?}");
        let report = json_of(&result);
        assert_eq!(report["error"], "Error");
        report["message"].as_str().unwrap().to_owned()
    }
}

fn call(tool: &str, args: Value) -> ToolCall {
    let Value::Object(args) = args else { panic!("arguments are an object") };
    ToolCall { id: "call-1".to_owned(), skill_name: BASE_SKILL.to_owned(), tool_name: tool.to_owned(), args }
}

fn text_of(result: &ToolResult) -> &str {
    result.result[0].as_text().unwrap()
}

fn json_of(result: &ToolResult) -> Value {
    serde_json::from_str(text_of(result)).unwrap()
}

fn shell(script: &str) -> Value {
    json!({ "command": "sh", "args": ["-c", script], "env": {}, "cwd": ".", "stdout": true, "stderr": true })
}

fn with(mut args: Value, name: &str, value: Value) -> Value {
    args[name] = value;
    args
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused_by_tool_and_field() {
    let world = World::new();
    let result = world.result("readTextFile", json!({ "path": [5] })).await;
    assert_eq!(
        result,
        ToolResult::error(
            &call("readTextFile", json!({})),
            "Error calling tool readTextFile: MCP error -32602: Invalid arguments for tool readTextFile: \
             path: expected a string, received an array"
        )
    );
    let unknown = world.result("nothing", json!({})).await;
    assert_eq!(text_of(&unknown), "Error calling tool nothing: MCP error -32602: Tool nothing not found");
}

#[tokio::test]
async fn mutations_take_effect_in_call_order_and_are_seen_by_later_calls() {
    let world = World::new();
    let calls = [
        world.start("writeTextFile", json!({ "path": "a", "text": "1" })),
        world.start("appendTextFile", json!({ "path": "a", "text": "2" })),
        world.start("readTextFile", json!({ "path": "a" })),
        world.start("exec", shell("cat a")),
        world.start("editTextFile", json!({ "path": "a", "newText": "3", "oldText": "1" })),
        world.start("readTextFile", json!({ "path": "a" })),
    ];
    drop(world.start("deleteFile", json!({ "path": "a" })));
    // The last call is polled first.
    let mut tasks: Vec<_> = calls.into_iter().rev().map(tokio::spawn).collect();
    let mut answers = Vec::new();
    while let Some(task) = tasks.pop() {
        answers.push(json_of(&task.await.unwrap()));
    }
    assert_eq!(answers[2]["content"], "12");
    // A program starts after the changes before it; those behind it do not wait for its end.
    assert!(["12", "32"].contains(&answers[3]["output"].as_str().unwrap()));
    assert_eq!(answers[5]["content"], "32");
    assert!(world.path("a").exists());
}

#[tokio::test]
async fn a_cancelled_call_changes_nothing() {
    let world = World::new();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let write = call("writeTextFile", json!({ "path": "a", "text": "" }));
    let result = Arc::clone(&world.skill).call(write, cancel).await;
    assert_eq!(json_of(&result)["message"], "The call was cancelled before it began; nothing was changed.");
    assert!(result.is_error && !world.path("a").exists());
}

#[test]
fn tools_are_picked_and_every_schema_is_an_object() {
    let common = SkillCommon {
        name: BASE_SKILL.to_owned(),
        pick: ["exec", "todo", "think"].map(str::to_owned).into(),
        omit: vec!["exec".to_owned(), "nothing".to_owned()],
        ..SkillCommon::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let open = |common| {
        BaseSkill::open(
            common,
            folder.path(),
            &Environment::default(),
            OffLimits::default(),
            &Outputs::new(DEFAULT_LIMIT),
            Programs::default(),
            Arc::new(|_| {}),
        )
        .unwrap()
    };
    assert_eq!(open(&common).tools().iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["todo"]);
    let all = open(&SkillCommon::default()).tools();
    assert_eq!(all.len(), 17);
    for tool in &all {
        assert_eq!(tool.input_schema["type"], "object", "{}", tool.name);
        for field in tool.input_schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            assert!(tool.input_schema["properties"].get(field.as_str().unwrap()).is_some(), "{} {field}", tool.name);
        }
    }
    let repeatable: Vec<_> =
        all.iter().filter(|tool| tool.hints.is_repeatable()).map(|tool| tool.name.as_str()).collect();
    assert_eq!(
        repeatable,
        [
            "healthCheck",
            "readTextFile",
            "writeTextFile",
            "readImageFile",
            "readPdfFile",
            "getFileInfo",
            "listDirectory"
        ]
    );
}

#[tokio::test]
async fn health_is_reported() {
    let world = World::new();
    let health = world.ok("healthCheck", json!({})).await;
    assert_eq!(health["status"], "ok");
    assert_eq!(health["workspace"], json!(world.path("").parent().unwrap().join("workspace")));
    assert_eq!(health["pid"], json!(std::process::id()));
}
