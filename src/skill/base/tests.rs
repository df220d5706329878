//! The base skill, called as a run calls it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

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
        let skill = BaseSkill::open(&common, &workspace, &environment.into_iter().collect()).unwrap();
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
async fn text_files_are_written_appended_edited_and_read_by_lines() {
    let world = World::new();
    assert_eq!(
        world.result("writeTextFile", json!({ "path": "a.txt", "text": "one\ntwo\n" })).await,
        ToolResult::of(
            &call("writeTextFile", json!({})),
            vec![Content::text(r#"{"path":"a.txt","text":"one\ntwo\n"}"#)]
        )
    );
    world.ok("appendTextFile", json!({ "path": "./a.txt", "text": "three" })).await;
    let edit = json!({ "path": "~/workspace/a.txt", "newText": "$& 2", "oldText": "two" });
    assert_eq!(world.ok("editTextFile", edit.clone()).await, edit);
    assert_eq!(
        text_of(&world.result("readTextFile", json!({ "path": "a.txt" })).await),
        r#"{"path":"a.txt","content":"one\n$& 2\nthree","from":0,"to":3}"#
    );
    let absolute = world.path("a.txt").to_string_lossy().into_owned();
    assert_eq!(
        world.ok("readTextFile", json!({ "path": absolute, "from": 1, "to": 2 })).await,
        json!({ "path": absolute, "content": "$& 2", "from": 1, "to": 2 })
    );
    assert_eq!(world.ok("readTextFile", json!({ "path": "a.txt", "from": 2, "to": 1 })).await["content"], "");
}

#[tokio::test]
async fn editing_takes_the_first_match_and_makes_line_ends_lf() {
    let world = World::new();
    fs::write(world.path("a.txt"), "x\r\ny\r\nx\r\ny\r\n").unwrap();
    world.ok("editTextFile", json!({ "path": "a.txt", "newText": "z", "oldText": "x\r\ny" })).await;
    assert_eq!(fs::read_to_string(world.path("a.txt")).unwrap(), "z\nx\ny\n");
    assert_eq!(
        world.refusal("editTextFile", json!({ "path": "a.txt", "newText": "z", "oldText": "nowhere" })).await,
        format!("Could not find exact match for oldText in file {}", world.path("a.txt").display())
    );
}

#[tokio::test]
async fn writing_keeps_permissions_and_leaves_no_temporary_file() {
    let world = World::new();
    fs::write(world.path("run.sh"), "old").unwrap();
    fs::set_permissions(world.path("run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    world.ok("writeTextFile", json!({ "path": "run.sh", "text": "new" })).await;
    assert_eq!(fs::read_to_string(world.path("run.sh")).unwrap(), "new");
    assert_eq!(fs::metadata(world.path("run.sh")).unwrap().mode() & 0o7777, 0o750);
    let items = world.ok("listDirectory", json!({ "path": "" })).await["items"].clone();
    assert_eq!(items.as_array().unwrap().iter().map(|item| &item["name"]).collect::<Vec<_>>(), ["run.sh"]);
}

#[tokio::test]
async fn failures_have_the_originals_texts() {
    let world = World::new();
    fs::write(world.path("locked.txt"), "x").unwrap();
    fs::set_permissions(world.path("locked.txt"), fs::Permissions::from_mode(0o444)).unwrap();
    fs::write(world.path("binary.txt"), b"\xff\xfe").unwrap();
    fs::write(world.path("fake.png"), "text").unwrap();
    fs::create_dir(world.path("dir")).unwrap();
    fs::write(world.path("dir/a"), "").unwrap();
    let missing = world.path("no");
    for (tool, args, message) in [
        ("readTextFile", json!({ "path": "none" }), "File none does not exist.".to_owned()),
        (
            "readTextFile",
            json!({ "path": "dir" }),
            "Path dir is a directory. Use listDirectory tool instead.".to_owned(),
        ),
        ("readTextFile", json!({ "path": "binary.txt" }), "File binary.txt is not UTF-8 text.".to_owned()),
        ("writeTextFile", json!({ "path": "locked.txt", "text": "" }), "File locked.txt is not writable".to_owned()),
        (
            "writeTextFile",
            json!({ "path": "no/such/file", "text": "" }),
            format!("Parent directory does not exist: {}", missing.join("such").display()),
        ),
        ("appendTextFile", json!({ "path": "none", "text": "" }), "File none does not exist.".to_owned()),
        ("moveFile", json!({ "source": "none", "destination": "b" }), "Source file none does not exist.".to_owned()),
        (
            "moveFile",
            json!({ "source": "dir/a", "destination": "binary.txt" }),
            "Destination binary.txt already exists.".to_owned(),
        ),
        (
            "deleteFile",
            json!({ "path": "dir" }),
            "Path dir is a directory. Use delete directory tool instead.".to_owned(),
        ),
        ("deleteFile", json!({ "path": "locked.txt" }), "File locked.txt is not writable".to_owned()),
        ("getFileInfo", json!({ "path": "none" }), "File or directory none does not exist".to_owned()),
        ("listDirectory", json!({ "path": "none" }), "Directory none does not exist.".to_owned()),
        ("listDirectory", json!({ "path": "binary.txt" }), "Path binary.txt is not a directory.".to_owned()),
        ("createDirectory", json!({ "path": "dir" }), "Directory dir already exists".to_owned()),
        (
            "deleteDirectory",
            json!({ "path": "binary.txt" }),
            "Path binary.txt is not a directory. Use deleteFile tool instead.".to_owned(),
        ),
        (
            "deleteDirectory",
            json!({ "path": "dir" }),
            "Cannot delete dir: Directory not empty (os error 39)".to_owned(),
        ),
        (
            "deleteDirectory",
            json!({ "path": ".", "recursive": true }),
            "Operation denied: . is the workspace itself".to_owned(),
        ),
        ("readImageFile", json!({ "path": "binary.txt" }), "File binary.txt is not supported.".to_owned()),
        (
            "readImageFile",
            json!({ "path": "fake.png" }),
            "File fake.png is named as image/png, but its content is something else.".to_owned(),
        ),
        ("readPdfFile", json!({ "path": "fake.png" }), "File fake.png is not a PDF file.".to_owned()),
    ] {
        assert_eq!(world.refusal(tool, args.clone()).await, message, "{tool} {args}");
    }
}

#[tokio::test]
async fn files_and_directories_are_moved_deleted_and_told_about() {
    let world = World::new();
    world.ok("createDirectory", json!({ "path": "sub" })).await;
    world.ok("writeTextFile", json!({ "path": "sub/a.json", "text": "{}" })).await;
    world.ok("moveFile", json!({ "source": "sub/a.json", "destination": "b.json" })).await;
    let info = world.ok("getFileInfo", json!({ "path": "b.json" })).await;
    let modified = info["modified"].clone();
    assert_eq!(
        info,
        json!({
            "exists": true, "path": "b.json", "absolutePath": world.path("b.json"), "name": "b.json",
            "directory": world.path("").parent().unwrap().join("workspace"), "extension": ".json", "type": "file",
            "mimeType": "application/json", "size": 2, "sizeFormatted": "2 B", "created": info["created"],
            "modified": modified, "accessed": info["accessed"],
            "permissions": { "readable": true, "writable": true, "executable": false },
        })
    );
    let listing = world.ok("listDirectory", json!({ "path": "." })).await;
    assert_eq!(
        listing["items"][0],
        json!({ "name": "b.json", "path": "b.json", "type": "file", "size": 2, "modified": modified })
    );
    assert_eq!(listing["items"][1]["type"], "directory");
    world.ok("deleteFile", json!({ "path": "b.json" })).await;
    world.ok("deleteDirectory", json!({ "path": "sub" })).await;
    assert_eq!(world.ok("listDirectory", json!({ "path": "." })).await["items"], json!([]));
}

#[tokio::test]
async fn images_and_pdf_files_come_as_parts() {
    let world = World::new();
    fs::write(world.path("a.PNG"), b"\x89PNG\r\n\x1a\n").unwrap();
    fs::write(world.path("a.pdf"), b"%PDF-1.7").unwrap();
    assert_eq!(
        world.result("readImageFile", json!({ "path": "a.PNG" })).await.result,
        [Content::ImageInlinePart {
            id: String::new(),
            encoded_data: "iVBORw0KGgo=".to_owned(),
            mime_type: "image/png".to_owned()
        }]
    );
    assert_eq!(
        world.result("readPdfFile", json!({ "path": "a.pdf" })).await.result,
        [Content::FileInlinePart {
            id: String::new(),
            encoded_data: "JVBERi0xLjc=".to_owned(),
            mime_type: "application/pdf".to_owned()
        }]
    );
    fs::File::create(world.path("big.gif")).unwrap().set_len(16 << 20).unwrap();
    assert_eq!(
        world.refusal("readImageFile", json!({ "path": "big.gif" })).await,
        "Image file too large (16.0MB). Maximum supported size is 15MB. Please use a smaller image file."
    );
}

#[tokio::test]
async fn no_path_leads_out_of_the_workspace() {
    let world = World::new();
    let outside = world.folder.path().join("outside");
    symlink(outside.join("secret.txt"), world.path("link.txt")).unwrap();
    symlink("../outside", world.path("linked")).unwrap();
    symlink("link.txt", world.path("twice")).unwrap();
    symlink("../outside/none", world.path("dangling")).unwrap();
    let denied = |path: &str| {
        format!("Access denied - path outside allowed directories: {path} not in {}", world.path("").display())
            .trim_end_matches('/')
            .to_owned()
    };
    let real = world.folder.path().canonicalize().unwrap();
    let link = "Access denied - symlink target outside allowed directories".to_owned();
    for (path, message) in [
        ("/etc/passwd", denied("/etc/passwd")),
        ("../../../../../../../../../../etc/passwd", denied("/etc/passwd")),
        ("a/../../workspacefoo/x", denied(&real.join("workspacefoo/x").to_string_lossy())),
        ("~", denied(&world.folder.path().to_string_lossy())),
        ("link.txt", link.clone()),
        ("linked", link.clone()),
        ("twice", link.clone()),
        ("dangling", link),
        ("linked/secret.txt", "Access denied - parent directory outside allowed directories".to_owned()),
        ("linked/none", "Access denied - parent directory outside allowed directories".to_owned()),
    ] {
        for tool in ["readTextFile", "readImageFile", "deleteFile", "getFileInfo", "listDirectory", "createDirectory"] {
            assert_eq!(world.refusal(tool, json!({ "path": path })).await, message, "{tool} {path}");
        }
        for tool in ["writeTextFile", "appendTextFile"] {
            assert_eq!(world.refusal(tool, json!({ "path": path, "text": "x" })).await, message, "{tool} {path}");
        }
        let away = json!({ "source": path, "destination": "x" });
        assert_eq!(world.refusal("moveFile", away).await, message, "{path}");
        let result = world.result("exec", with(shell("true"), "cwd", json!(path))).await;
        assert_eq!(json_of(&result), json!({ "error": message }));
    }
    assert_eq!(fs::read_to_string(outside.join("secret.txt")).unwrap(), "secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[tokio::test]
async fn the_runners_own_directory_is_off_limits_by_any_name() {
    let world = World::new();
    symlink("perstack", world.path("link")).unwrap();
    symlink(world.path("perstack/job.json"), world.path("file")).unwrap();
    fs::create_dir(world.path("sub")).unwrap();
    symlink("../perstack", world.path("sub/up")).unwrap();
    for path in [
        "perstack",
        "PerStack",
        "perstack/job.json",
        "./sub/../perstack/new",
        "link",
        "link/job.json",
        "file",
        "sub/up",
        "sub/up/job.json",
    ] {
        for tool in ["readTextFile", "deleteFile", "getFileInfo", "listDirectory", "deleteDirectory"] {
            assert_eq!(
                world.refusal(tool, json!({ "path": path })).await,
                "Access denied - perstack directory is not allowed",
                "{tool} {path}"
            );
        }
    }
    fs::create_dir(world.path("sub/perstack")).unwrap();
    let names = |listing: &Value| {
        let items = listing["items"].as_array().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&world.ok("listDirectory", json!({ "path": "." })).await), ["sub"]);
    assert_eq!(names(&world.ok("listDirectory", json!({ "path": "sub" })).await), ["perstack"]);
}

#[tokio::test]
async fn links_within_the_workspace_are_read_through_and_not_written_through() {
    let world = World::new();
    fs::create_dir(world.path("dir")).unwrap();
    fs::write(world.path("dir/a.txt"), "a").unwrap();
    symlink(world.path("dir"), world.path("absolute")).unwrap();
    symlink("dir/a.txt", world.path("relative")).unwrap();
    symlink("none", world.path("dangling")).unwrap();
    symlink("loop", world.path("loop")).unwrap();
    assert_eq!(world.ok("readTextFile", json!({ "path": "absolute/a.txt" })).await["content"], "a");
    assert_eq!(world.ok("readTextFile", json!({ "path": "relative" })).await["content"], "a");
    assert_eq!(
        world.ok("getFileInfo", json!({ "path": "relative" })).await["absolutePath"],
        json!(world.path("dir/a.txt"))
    );
    world.ok("writeTextFile", json!({ "path": "absolute/a.txt", "text": "b" })).await;
    for path in ["relative", "dangling"] {
        assert_eq!(
            world.refusal("writeTextFile", json!({ "path": path, "text": "x" })).await,
            "Operation denied: target is a symbolic link"
        );
    }
    assert_eq!(
        world.refusal("readTextFile", json!({ "path": "loop" })).await,
        "Too many levels of symbolic links: loop"
    );
    world.ok("deleteFile", json!({ "path": "relative" })).await;
    assert_eq!(fs::read_to_string(world.path("dir/a.txt")).unwrap(), "b");
    let listing = world.ok("listDirectory", json!({ "path": "." })).await;
    let kinds: Vec<_> = listing["items"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["directory", "symlink", "directory", "symlink"]);
}

#[tokio::test]
async fn a_link_swapped_in_meanwhile_never_leads_outside() {
    let world = World::new();
    let (path, spare) = (world.path("sub"), world.path("spare"));
    fs::create_dir(&path).unwrap();
    fs::write(path.join("secret.txt"), "harmless").unwrap();
    symlink("../outside", &spare).unwrap();
    let stop = CancellationToken::new();
    let swapping = stop.clone();
    let swapper = std::thread::spawn(move || {
        while !swapping.is_cancelled() {
            rustix::fs::renameat_with(
                rustix::fs::CWD,
                &path,
                rustix::fs::CWD,
                &spare,
                rustix::fs::RenameFlags::EXCHANGE,
            )
            .unwrap();
        }
    });
    for _ in 0..500 {
        let read = world.result("readTextFile", json!({ "path": "sub/secret.txt" })).await;
        assert!(read.is_error || json_of(&read)["content"] == "harmless", "{read:?}");
        world.result("writeTextFile", json!({ "path": "sub/new.txt", "text": "x" })).await;
    }
    stop.cancel();
    swapper.join().unwrap();
    let left: Vec<_> =
        fs::read_dir(world.folder.path().join("outside")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["secret.txt"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_path_only_the_workspace_changes(
        path in prop::collection::vec(prop::sample::select(vec!["..", ".", "a", "up", "deep", "~", "perstack", "outside", ""]), 0..7)
    ) {
        let world = World::new();
        symlink("..", world.path("up")).unwrap();
        fs::create_dir_all(world.path("deep/a")).unwrap();
        symlink("../../outside", world.path("deep/outside")).unwrap();
        let target = path.join("/");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let count = |folder: PathBuf| fs::read_dir(folder).unwrap().count();
        runtime.block_on(async {
            world.result("writeTextFile", json!({ "path": format!("{target}/new"), "text": "x" })).await;
            world.result("createDirectory", json!({ "path": format!("{target}/dir") })).await;
            world.result("deleteFile", json!({ "path": format!("{target}/secret.txt") })).await;
            world.result("deleteDirectory", json!({ "path": target, "recursive": true })).await;
        });
        prop_assert_eq!(count(world.folder.path().to_owned()), 2);
        prop_assert_eq!(count(world.folder.path().join("outside")), 1);
        prop_assert_eq!(count(world.path("perstack")), 1);
    }
}

#[tokio::test]
async fn pipes_and_devices_are_refused_without_waiting_for_them() {
    let world = World::new();
    rustix::fs::mknodat(rustix::fs::CWD, world.path("fifo.txt"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    for (tool, args) in [
        ("readTextFile", json!({ "path": "fifo.txt" })),
        ("writeTextFile", json!({ "path": "fifo.txt", "text": "" })),
        ("appendTextFile", json!({ "path": "fifo.txt", "text": "" })),
    ] {
        assert_eq!(world.refusal(tool, args).await, "File fifo.txt is not a regular file.");
    }
}

#[tokio::test]
async fn long_content_is_shortened_and_too_large_files_are_refused() {
    let world = World::new();
    fs::write(world.path("long.txt"), "line\n".repeat(40_000)).unwrap();
    let content = world.ok("readTextFile", json!({ "path": "long.txt" })).await["content"].clone();
    let content = content.as_str().unwrap();
    assert!(content.len() < 101_000);
    assert!(content.contains("bytes left out, from within line 13333 to within line 33333"), "{content}");
    fs::File::create(world.path("huge.txt")).unwrap().set_len(33 << 20).unwrap();
    assert_eq!(
        world.refusal("readTextFile", json!({ "path": "huge.txt" })).await,
        "Text file too large (33.0MB). Maximum supported size is 32.0MB. Read a part of it with exec, by sed or head."
    );
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused_by_tool_and_field() {
    let world = World::new();
    let result = world.result("readTextFile", json!({ "path": 5 })).await;
    assert_eq!(
        result,
        ToolResult::error(
            &call("readTextFile", json!({})),
            "Error calling tool readTextFile: MCP error -32602: Invalid arguments for tool readTextFile: \
             path: expected a string, received the number 5"
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

#[tokio::test]
async fn programs_run_without_shell_and_return_the_streams_asked_for() {
    let world = World::new();
    let echo =
        json!({ "command": "echo", "args": ["$HOME; *"], "env": {}, "cwd": ".", "stdout": true, "stderr": false });
    assert_eq!(world.ok("exec", echo).await, json!({ "output": "$HOME; *\n" }));
    assert_eq!(world.ok("exec", shell("echo out; echo err >&2")).await, json!({ "output": "out\nerr\n" }));
    assert_eq!(
        world.ok("exec", with(shell("echo out"), "stdout", json!(false))).await,
        json!({ "output": "Command executed successfully, but produced no output." })
    );
    fs::create_dir(world.path("sub")).unwrap();
    let pwd = world.ok("exec", with(shell("pwd; cat"), "cwd", json!("sub"))).await;
    assert_eq!(pwd, json!({ "output": format!("{}\n", world.path("sub").display()) }));
}

#[tokio::test]
async fn programs_see_safe_variables_and_given_ones_only() {
    let world = World::new();
    let env = json!({ "GIVEN": "yes", "PATH": "/nowhere", "ld_preload": "x", "LD_PRELOAD=x": "y" });
    let output = world.ok("exec", with(shell("env"), "env", env)).await["output"].clone();
    let mut names: Vec<_> =
        output.as_str().unwrap().lines().filter_map(|line| line.split_once('=')).map(|(n, _)| n).collect();
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["GIVEN", "HOME", "PATH"]);
}

#[tokio::test]
async fn failed_programs_are_marked_as_errors_with_what_they_wrote() {
    let world = World::new();
    let result = world.result("exec", shell("echo out; echo err >&2; exit 3")).await;
    assert!(result.is_error);
    assert_eq!(
        text_of(&result),
        r#"{"error":"Command failed: sh -c echo out; echo err >&2; exit 3\nerr\n","stdout":"out\n","stderr":"err\n"}"#
    );
    let missing = with(with(shell(""), "command", json!("no-such-program")), "args", json!([]));
    let result = world.result("exec", missing).await;
    assert_eq!((text_of(&result), result.is_error), (r#"{"error":"spawn no-such-program ENOENT"}"#, true));
    let killed = world.result("exec", shell("kill -9 $$")).await;
    assert_eq!(json_of(&killed)["error"], "Command failed: sh -c kill -9 $$\n(signal: 9 (SIGKILL))\n");
}

/// Waits until no process of the group is left.
async fn gone(pid_file: PathBuf) {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let pid: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z") {
            return;
        }
        assert!(Instant::now() < limit, "process {pid} is still there: {stat}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group() {
    let world = World::new();
    let script = "sleep 600 & echo $! > pid; echo started; wait";
    let result = world.result("exec", with(shell(script), "timeout", json!(1000))).await;
    assert!(result.is_error);
    assert_eq!(json_of(&result), json!({ "error": "Command timed out after 1000ms.", "stdout": "started\n" }));
    gone(world.path("pid")).await;
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed() {
    let world = World::new();
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 600; done";
    let result = world.result("exec", with(shell(script), "timeout", json!(500))).await;
    assert_eq!(json_of(&result)["error"], "Command timed out after 500ms.");
    gone(world.path("pid")).await;
}

#[tokio::test]
async fn a_background_process_neither_holds_up_the_call_nor_outlives_it() {
    let world = World::new();
    let result = world.ok("exec", shell("sleep 600 & echo $! > pid; echo done")).await;
    assert_eq!(result, json!({ "output": "done\n" }));
    gone(world.path("pid")).await;
}

#[tokio::test]
async fn cancelling_and_dropping_end_the_program() {
    let world = World::new();
    for is_dropped in [false, true] {
        let cancel = CancellationToken::new();
        let exec = call("exec", shell("echo $$ > new; mv new pid; sleep 600"));
        let task = tokio::spawn(Arc::clone(&world.skill).call(exec, cancel.clone()));
        let limit = Instant::now() + Duration::from_secs(20);
        while !world.path("pid").exists() {
            assert!(Instant::now() < limit, "the program did not start");
            tokio::task::yield_now().await;
        }
        if is_dropped {
            task.abort();
        } else {
            cancel.cancel();
            assert_eq!(json_of(&task.await.unwrap()), json!({ "error": "Command was cancelled." }));
        }
        gone(world.path("pid")).await;
        fs::remove_file(world.path("pid")).unwrap();
    }
}

#[tokio::test]
async fn endless_output_is_stopped_and_long_output_shortened() {
    let world = World::new();
    let result = world.result("exec", shell("yes")).await;
    assert_eq!(json_of(&result)["error"], "Command stopped: stdout exceeded 10 MiB.");
    let long = world.ok("exec", shell("yes | head -n 100000")).await["output"].clone();
    assert!(long.as_str().unwrap().len() < 101_000);
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
    let open = |common| BaseSkill::open(common, folder.path(), &Environment::default()).unwrap();
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
async fn health_is_told() {
    let world = World::new();
    let health = world.ok("healthCheck", json!({})).await;
    assert_eq!(health["status"], "ok");
    assert_eq!(health["workspace"], json!(world.path("").parent().unwrap().join("workspace")));
    assert_eq!(health["pid"], json!(std::process::id()));
}
