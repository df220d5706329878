//! States of real folders: read, compared, restored.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::snapshot::SnapshotId;

/// A time at which every file is old.
const LATER: u64 = u64::MAX / 2;

#[derive(Default)]
struct Memory {
    objects: HashMap<SnapshotId, Vec<u8>>,
    puts: usize,
}

impl ObjectSink for Memory {
    type Error = Infallible;

    fn put(&mut self, id: &SnapshotId, bytes: &[u8]) -> Result<(), Infallible> {
        self.puts += usize::from(self.objects.insert(id.clone(), bytes.to_owned()).is_none());
        Ok(())
    }

    fn has(&self, id: &SnapshotId) -> bool {
        self.objects.contains_key(id)
    }
}

struct World {
    folder: tempfile::TempDir,
    root: PathBuf,
    memory: RefCell<Memory>,
    found: RefCell<FoundFiles>,
    closed: ClosedFiles,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("work");
        fs::create_dir(&root).unwrap();
        Self { folder, root, memory: RefCell::default(), found: RefCell::default(), closed: ClosedFiles::default() }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn scan(&self) -> Scanned {
        self.scan_for(None)
    }

    fn scan_for(&self, wanted: Option<&SnapshotId>) -> Scanned {
        let is_secret = |bytes: &[u8]| bytes.windows(6).any(|part| part == b"s3cr3t");
        let rules = SnapshotRules::new(&self.root, &self.closed, &is_secret);
        let lists = self.memory.borrow().objects.clone();
        let load = |id: &SnapshotId| FolderList::read(lists.get(id)?).ok();
        let list = wanted.and_then(load);
        let wanted = list.as_ref().map(|list| (list, &load as _));
        WorkspaceScan::read(&rules, &mut *self.memory.borrow_mut(), LATER, &mut self.found.borrow_mut(), wanted)
            .unwrap()
    }

    fn list(&self, id: &SnapshotId) -> Result<FolderList, String> {
        let memory = self.memory.borrow();
        FolderList::read(memory.objects.get(id).ok_or("no such list")?)
    }

    fn paths(&self, id: &SnapshotId) -> Vec<String> {
        let changes = compare(&self.empty(), id, &mut |id| self.list(id)).unwrap();
        changes.into_iter().map(|change| change.path.display().to_string()).collect()
    }

    fn empty(&self) -> SnapshotId {
        let bytes = serde_json::to_vec(&FolderList::default()).unwrap();
        let id = SnapshotId::of_bytes(&bytes);
        self.memory.borrow_mut().put(&id, &bytes).unwrap();
        id
    }

    fn restore(&self, wanted: &SnapshotId) -> Result<Vec<PathBuf>, RestoreError<String>> {
        let present = self.scan_for(Some(wanted)).id;
        let object = |id: &SnapshotId| self.memory.borrow().objects.get(id).cloned().ok_or("missing".to_owned());
        restore(&self.root, &present, wanted, &|id| self.list(id), &object)
    }

    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[test]
fn links_modes_empty_folders_and_names_of_any_bytes_come_back() {
    let world = World::new();
    world.write("a/run.sh", "#!/bin/sh\n");
    fs::set_permissions(world.root.join("a/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(world.root.join("empty")).unwrap();
    symlink("/etc/passwd", world.root.join("outside")).unwrap();
    let odd = world.root.join(OsStr::from_bytes(b"odd-\xff"));
    fs::write(&odd, "odd").unwrap();
    world.write("hex:owl", "a name that looks like one of bytes");
    let whole = world.scan();
    assert_eq!(whole.left_out, []);
    fs::remove_dir_all(&world.root).unwrap();
    fs::create_dir(&world.root).unwrap();
    assert_eq!(world.restore(&whole.id).unwrap().len(), 6);
    assert_eq!(world.scan().id, whole.id);
    assert_eq!(fs::read_link(world.root.join("outside")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::read_to_string(odd).unwrap(), "odd");
    assert_eq!(fs::metadata(world.root.join("a/run.sh")).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn what_changed_is_stored_and_nothing_else_is_read_again() {
    let world = World::new();
    for n in 0..50 {
        world.write(&format!("folder-{}/{n}", n % 5), &format!("text {n}"));
    }
    let before = world.scan();
    let puts = world.memory.borrow().puts;
    assert_eq!(world.scan().id, before.id);
    assert_eq!(world.memory.borrow().puts, puts);
    world.write("folder-1/1", "another");
    let after = world.scan();
    assert_eq!(world.memory.borrow().puts, puts + 3, "a file, its folder's list, the root's");
    let changes = compare(&before.id, &after.id, &mut |id| world.list(id)).unwrap();
    assert_eq!(
        changes.iter().map(|change| (change.path.to_str().unwrap(), change.kind)).collect::<Vec<_>>(),
        [("folder-1/1", ChangeKind::Changed)]
    );
}

#[test]
fn repositories_secrets_caches_and_ignored_files_are_not_in_it() {
    let mut world = World::new();
    for path in [".git/config", "vendor/.git/HEAD", "perstack/jobs/j/job.json", "node_modules/x/index.js"] {
        world.write(path, "x");
    }
    world.write(".env", "KEY=1");
    world.write("lib/key.pem", "x");
    world.write("settings.py", "token = 's3cr3t'");
    world.write("target/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    world.write("target/debug/big", "x");
    world.write(".gitignore", "*.log\n!keep.log\nbuild/\n");
    world.write("lib/.gitignore", "keep.log\n");
    for path in ["a.log", "keep.log", "lib/keep.log", "build/out", "lib/src.rs", ".env.example", "perstack.toml"] {
        world.write(path, "x");
    }
    world.closed.paths.push(world.root.join("perstack.toml"));
    let scanned = world.scan();
    let stored = [".env.example", ".gitignore", "keep.log", "lib/.gitignore", "lib/src.rs", "vendor"];
    assert_eq!(world.paths(&scanned.id), stored);
    let left: Vec<_> = scanned.left_out.iter().map(|left| left.name.to_str().unwrap()).collect();
    assert_eq!(left, [".env", "lib/key.pem", "settings.py"]);
}

#[test]
fn what_a_state_left_out_stays_where_it_is_restored() {
    let mut world = World::new();
    world.write("owl", "tawny");
    world.write("c.cassette", "recorded");
    world.closed.paths.push(world.root.join("c.cassette"));
    let state = world.scan().id;
    // Another command, which has no cassette.
    world.closed.paths.clear();
    world.write("owl", "barn");
    world.write("new", "x");
    let changes = compare(&state, &world.scan().id, &mut |id| world.list(id)).unwrap();
    let names: Vec<_> = changes.iter().map(|change| change.path.to_str().unwrap()).collect();
    assert_eq!(names, ["new", "owl"]);
    world.restore(&state).unwrap();
    assert_eq!(world.names(""), ["c.cassette", "owl"]);
    assert_eq!(fs::read_to_string(world.root.join("c.cassette")).unwrap(), "recorded");
}

#[test]
fn rules_of_the_repository_around_the_workspace_hold_in_it() {
    let world = World::new();
    let above = world.folder.path();
    fs::create_dir_all(above.join(".git/info")).unwrap();
    fs::write(above.join(".gitignore"), "/work/out\n").unwrap();
    fs::write(above.join(".git/info/exclude"), "*.tmp\n").unwrap();
    for path in ["out", "a.tmp", "b"] {
        world.write(path, "x");
    }
    assert_eq!(world.paths(&world.scan().id), ["b"]);
}

#[test]
fn a_pipe_a_large_file_and_one_that_may_not_be_read_are_left_out_and_named() {
    let world = World::new();
    world.write("a", "x");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        world.root.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    fs::File::create(world.root.join("large")).unwrap().set_len(33 << 20).unwrap();
    let scanned = world.scan();
    assert_eq!(world.paths(&scanned.id), ["a"]);
    let left: Vec<String> =
        scanned.left_out.iter().map(|left| format!("{}: {}", left.name.display(), left.reason)).collect();
    assert_eq!(left, ["large: it is larger than 32 MiB", "pipe: it is a socket, a pipe or a device"]);
}

#[test]
fn kinds_change_and_what_is_not_in_the_state_stays() {
    let world = World::new();
    world.write("was-file", "file");
    world.write("was-folder/a", "a");
    symlink("was-file", world.root.join("was-link")).unwrap();
    world.write("same", "same");
    world.write(".gitignore", "ignored\n");
    let before = world.scan();
    fs::remove_file(world.root.join("was-file")).unwrap();
    fs::remove_dir_all(world.root.join("was-folder")).unwrap();
    fs::remove_file(world.root.join("was-link")).unwrap();
    world.write("was-file/deep/er", "x");
    symlink("/", world.root.join("was-folder")).unwrap();
    world.write("was-link", "now a file");
    world.write("new/ignored", "stays");
    world.write("new/file", "goes");
    world.restore(&before.id).unwrap();
    assert_eq!(world.scan().id, world.scan().id);
    assert_eq!(fs::read_to_string(world.root.join("was-file")).unwrap(), "file");
    assert_eq!(fs::read_to_string(world.root.join("was-folder/a")).unwrap(), "a");
    assert_eq!(fs::read_link(world.root.join("was-link")).unwrap(), Path::new("was-file"));
    assert_eq!(world.names("new"), ["ignored"]);
}

#[test]
fn what_is_in_the_way_and_not_kept_leaves_all_as_it_is() {
    let world = World::new();
    world.write("a", "before");
    world.write("b", "small");
    let before = world.scan();
    world.write("a", "after");
    fs::File::create(world.root.join("b")).unwrap().set_len(33 << 20).unwrap();
    let error = world.restore(&before.id).unwrap_err();
    assert!(matches!(&error, RestoreError::InTheWay { path, .. } if path == Path::new("b")), "{error}");
    assert_eq!(fs::read_to_string(world.root.join("a")).unwrap(), "after");
}

#[test]
fn a_missing_object_leaves_all_as_it_is() {
    let world = World::new();
    world.write("a", "before");
    world.write("z", "gone");
    let before = world.scan();
    world.write("a", "after");
    fs::remove_file(world.root.join("z")).unwrap();
    world.memory.borrow_mut().objects.remove(&SnapshotId::of_bytes(b"gone"));
    assert!(matches!(world.restore(&before.id).unwrap_err(), RestoreError::Object(_)));
    assert_eq!(fs::read_to_string(world.root.join("a")).unwrap(), "after");
}

#[test]
fn a_file_that_became_ignored_is_kept_and_restored_all_the_same() {
    let world = World::new();
    world.write("notes", "before");
    let before = world.scan();
    world.write("notes", "after");
    world.write(".gitignore", "notes\n");
    let present = world.scan_for(Some(&before.id));
    assert_eq!(world.paths(&present.id), [".gitignore", "notes"]);
    world.restore(&before.id).unwrap();
    assert_eq!(fs::read_to_string(world.root.join("notes")).unwrap(), "before");
}

#[test]
fn nothing_is_written_through_a_link_that_took_a_folders_place() {
    let world = World::new();
    world.write("dir/a", "before");
    let before = world.scan();
    world.write("dir/a", "after");
    let present = world.scan().id;
    let outside = world.folder.path().join("outside");
    fs::rename(world.root.join("dir"), &outside).unwrap();
    symlink(&outside, world.root.join("dir")).unwrap();
    let object = |id: &SnapshotId| world.memory.borrow().objects.get(id).cloned().ok_or("missing".to_owned());
    assert!(restore(&world.root, &present, &before.id, &|id| world.list(id), &object).is_err());
    assert_eq!(fs::read_to_string(outside.join("a")).unwrap(), "after");
}

#[test]
fn a_file_that_somebody_changed_meanwhile_is_left_alone() {
    let world = World::new();
    world.write("a", "before");
    let before = world.scan();
    world.write("a", "after");
    let present = world.scan().id;
    world.write("a", "mine");
    let object = |id: &SnapshotId| world.memory.borrow().objects.get(id).cloned().ok_or("missing".to_owned());
    let error = restore(&world.root, &present, &before.id, &|id| world.list(id), &object).unwrap_err();
    assert!(matches!(error, RestoreError::ChangedMeanwhile { .. }), "{error}");
    assert_eq!(fs::read_to_string(world.root.join("a")).unwrap(), "mine");
}

/// Ends the thread that changes files, whatever becomes of the test.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Puts another version in a file's place, lets a second grow or shrink, and makes another kind of entry of a third.
fn disturb(root: &Path, round: usize) {
    let version = b"abcdefgh"[round % 8];
    let bytes = vec![version; usize::from(version) * 1000];
    fs::write(root.join("kind-new"), bytes).unwrap();
    fs::rename(root.join("kind-new"), root.join("whole")).unwrap();
    let mut grows = fs::OpenOptions::new().append(true).create(true).open(root.join("grows")).unwrap();
    grows.write_all(b"owl\n").unwrap();
    if round.is_multiple_of(20) {
        grows.set_len(0).unwrap();
    }
    let kind = root.join("kind");
    match round % 4 {
        0 => fs::write(&kind, "file").unwrap(),
        1 => {
            fs::remove_file(&kind).unwrap();
            fs::create_dir(&kind).unwrap();
            fs::write(kind.join("in"), "in").unwrap();
        }
        2 => {
            fs::remove_dir_all(&kind).unwrap();
            symlink("whole", &kind).unwrap();
        }
        _ => fs::remove_file(&kind).unwrap(),
    }
}

#[test]
fn what_changes_while_it_is_read_is_stored_as_it_was_at_some_time_or_left_out() {
    let world = World::new();
    world.write("kept", "kept");
    let (root, is_over) = (world.root.clone(), AtomicBool::new(false));
    disturb(&root, 0);
    thread::scope(|scope| {
        let end = End(&is_over);
        let rounds = (1..).take_while(|_| !is_over.load(Ordering::Relaxed));
        scope.spawn(move || rounds.for_each(|round| disturb(&root, round)));
        for _ in 0..100 {
            let list = world.list(&world.scan().id).unwrap();
            let objects = &world.memory.borrow().objects;
            for entry in &list.entries {
                let (EntryKind::File { id, .. } | EntryKind::Folder { id }) = &entry.kind else { continue };
                let found = &objects[id];
                if let EntryKind::File { bytes, .. } = entry.kind {
                    assert_eq!(found.len() as u64, bytes, "{:?}", entry.name);
                }
                match entry.name.to_str().unwrap() {
                    "kept" => assert_eq!(found, b"kept"),
                    "whole" => assert!(found.iter().all(|byte| byte == &found[0]), "two versions at once"),
                    "grows" => assert!(b"owl\n".repeat(found.len() / 4 + 1).starts_with(found)),
                    "kind" | "kind-new" => {}
                    other => panic!("{other}"),
                }
            }
            assert!(list.get(OsStr::new("kept")).is_some());
        }
        drop(end);
    });
    let last = world.list(&world.scan().id).unwrap();
    let Some(EntryKind::File { id, .. }) = last.get(OsStr::new("whole")).map(|entry| &entry.kind) else {
        panic!("gone")
    };
    assert_eq!(world.memory.borrow().objects[id], fs::read(world.root.join("whole")).unwrap());
}
