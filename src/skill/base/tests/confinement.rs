//! Paths, and the files they lead to.

use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

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
async fn deleting_recursively_deletes_links_and_not_what_they_lead_to() {
    let world = World::new();
    fs::create_dir_all(world.path("dir/inner")).unwrap();
    symlink("../../outside", world.path("dir/out")).unwrap();
    symlink("../../perstack", world.path("dir/inner/up")).unwrap();
    world.ok("deleteDirectory", json!({ "path": "dir", "recursive": true })).await;
    assert!(!world.path("dir").exists());
    assert!(world.path("perstack/job.json").exists());
    assert!(world.folder.path().join("outside/secret.txt").exists());
}

#[tokio::test]
async fn a_workspace_opened_through_a_link_takes_absolute_paths_by_both_names() {
    let world = World::new();
    let alias = world.folder.path().join("alias");
    symlink("workspace", &alias).unwrap();
    let skill = BaseSkill::open(
        &SkillCommon::default(),
        &alias,
        &Environment::default(),
        OffLimits::default(),
        &Outputs::new(1_000),
        Programs::default(),
        Arc::new(|_| {}),
    )
    .unwrap();
    for path in [alias.join("a"), world.path("a")] {
        let write = call("writeTextFile", json!({ "path": path, "text": "x" }));
        let result = Arc::clone(&skill).call(write, CancellationToken::new()).await;
        assert!(!result.is_error, "{result:?}");
    }
    assert_eq!(fs::read_to_string(world.path("a")).unwrap(), "x");
    let home = call("readTextFile", json!({ "path": "~/a" }));
    let result = Arc::clone(&skill).call(home, CancellationToken::new()).await;
    assert_eq!(json_of(&result)["message"], "Cannot expand ~/a: HOME is not set");
}
