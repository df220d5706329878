//! Files and directories.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

#[tokio::test]
async fn text_files_are_written_appended_edited_and_read_by_lines() {
    let world = World::new();
    assert_eq!(
        world.result("writeTextFile", json!({ "path": "a.txt", "text": "one\ntwo\n" })).await,
        ToolResult::new(
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
async fn editing_takes_the_first_match_and_keeps_line_ends() {
    let world = World::new();
    fs::write(world.path("a.txt"), "x\r\ny\r\nx\r\ny\r\n").unwrap();
    world.ok("editTextFile", json!({ "path": "a.txt", "newText": "z", "oldText": "x\r\ny" })).await;
    assert_eq!(fs::read_to_string(world.path("a.txt")).unwrap(), "z\r\nx\r\ny\r\n");
    for (text, old, new, edited) in [
        ("one\r\ntwo\r\nthree\n", "one\ntwo", "1\n2", "1\r\n2\r\nthree\n"),
        ("one\ntwo\n", "one\r\ntwo", "1\r\n2", "1\n2\n"),
        ("ä\r\nö\nü\r\n", "ö", "o\no", "ä\r\no\r\no\nü\r\n"),
    ] {
        fs::write(world.path("b.txt"), text).unwrap();
        world.ok("editTextFile", json!({ "path": "b.txt", "newText": new, "oldText": old })).await;
        assert_eq!(fs::read_to_string(world.path("b.txt")).unwrap(), edited);
    }
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
async fn files_and_directories_are_moved_deleted_and_described() {
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
async fn a_long_listing_counts_what_it_leaves_out() {
    let world = World::new();
    for number in 0..1_002 {
        fs::write(world.path(&format!("{number:04}")), "").unwrap();
    }
    let listing = world.ok("listDirectory", json!({ "path": "." })).await;
    assert_eq!(listing["items"].as_array().unwrap().len(), 1_000);
    assert_eq!(listing["items"][999]["name"], "0999");
    assert_eq!(listing["omitted"], 2);
}
