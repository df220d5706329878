//! Commands that change what is protected, and honest ones beside them.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

struct World {
    _folder: tempfile::TempDir,
    root: PathBuf,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for (path, text) in [
            ("perstack.toml", "a = 1\n"),
            (".git/HEAD", "ref: x\n"),
            (".git/objects/x", ""),
            (".git/config", "[core]\n\tbare = false\n"),
            (".git/hooks/pre-push", "mine"),
            (".git/hooks/sample.sample", "x"),
            (".git/modules/m/HEAD", "x"),
            (".git/modules/m/config", "[core]\n"),
        ] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
        fs::set_permissions(root.join(".git/hooks/pre-push"), fs::Permissions::from_mode(0o755)).unwrap();
        Self { _folder: folder, root }
    }

    /// The line after `change`, and the text of a file then.
    fn after(&self, change: impl FnOnce(&Path)) -> Option<String> {
        let read_only = vec![self.root.join("perstack.toml"), self.root.join("perstack.lock")];
        let off_limits = OffLimits { read_only, ..OffLimits::default() };
        let watch = Protected::new(&self.root, &off_limits).watch();
        change(&self.root);
        watch.end()
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }
}

#[test]
fn what_a_command_changes_is_put_back_and_kept_beside() {
    let world = World::new();
    let line = world.after(|root| {
        fs::write(root.join("perstack.toml"), "b = 2\n").unwrap();
        fs::write(root.join("perstack.lock"), "planted").unwrap();
        fs::write(root.join(".git/hooks/pre-commit"), "planted").unwrap();
        fs::remove_file(root.join(".git/hooks/pre-push")).unwrap();
    });
    let line = line.unwrap();
    for name in [".git/hooks/pre-commit", ".git/hooks/pre-push", "perstack.lock", "perstack.toml"] {
        assert!(line.contains(name), "{name}: {line}");
    }
    assert_eq!(world.text("perstack.toml").as_deref(), Some("a = 1\n"));
    assert_eq!(world.text("perstack.toml.changed").as_deref(), Some("b = 2\n"));
    assert_eq!((world.text("perstack.lock"), world.text(".git/hooks/pre-commit")), (None, None));
    let hook = world.root.join(".git/hooks/pre-push");
    assert_eq!(fs::read_to_string(&hook).unwrap(), "mine");
    assert_eq!(hook.metadata().unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn what_a_repository_needs_may_change() {
    let world = World::new();
    let line = world.after(|root| {
        fs::write(root.join(".git/HEAD"), "ref: y\n").unwrap();
        fs::write(root.join(".git/hooks/new.sample"), "x").unwrap();
        fs::write(root.join(".git/config"), "[core]\n\tbare = false\n[remote \"o\"]\n\turl = https://x\n").unwrap();
        fs::write(root.join("other.toml"), "x").unwrap();
    });
    assert_eq!(line, None);
    assert!(world.text(".git/config").unwrap().contains("remote"));
    assert_eq!(world.after(|root| fs::remove_dir_all(root.join(".git")).unwrap()), None);
    assert!(!world.root.join(".git").exists(), "a repository that was removed stays so");
}

#[test]
fn settings_that_start_programs_are_taken_out_and_the_others_stay() {
    let world = World::new();
    let line = world.after(|root| {
        let text = "[core]\n\tbare = false\n\thooksPath = /tmp/x\n[user]\n\tname = o\n[ALIAS] st = !evil\n";
        fs::write(root.join(".git/config"), text).unwrap();
        fs::write(root.join(".git/modules/m/config"), "[core]\n\tfsmonitor = evil\n").unwrap();
    });
    assert!(line.is_some_and(|line| line.contains(".git/config") && line.contains(".git/modules/m/config")));
    let config = world.text(".git/config").unwrap();
    assert!(config.contains("name = o") && !config.contains("evil") && !config.contains("hooksPath"), "{config}");
    assert_eq!(world.text(".git/modules/m/config").as_deref(), Some("[core]\n"));
}

#[test]
fn nothing_is_put_back_through_a_link() {
    let world = World::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let line = world.after(|root| {
        fs::rename(root.join(".git"), root.join("moved")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), root.join(".git")).unwrap();
    });
    assert!(line.is_some());
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert!(!world.root.join(".git").is_symlink());
}

#[test]
fn folders_that_a_command_replaces_or_closes_are_no_way_to_keep_a_change() {
    let world = World::new();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("pre-push"), "evil").unwrap();
    fs::create_dir_all(elsewhere.path().join("m")).unwrap();
    let line = world.after(|root| {
        fs::rename(root.join(".git/hooks"), root.join("hooks")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), root.join(".git/hooks")).unwrap();
        fs::rename(root.join(".git/modules"), root.join("modules")).unwrap();
        std::os::unix::fs::symlink(root.join("modules"), root.join(".git/modules")).unwrap();
    });
    assert!(line.is_some_and(|line| line.contains("pre-push") && !line.contains("cannot")));
    assert_eq!(world.text(".git/hooks/pre-push").as_deref(), Some("mine"));
    assert_eq!(world.text(".git/modules/m/config").as_deref(), Some("[core]\n"));
    assert!(!world.root.join(".git/hooks").is_symlink() && !world.root.join(".git/modules").is_symlink());
    assert_eq!(fs::read_to_string(elsewhere.path().join("pre-push")).unwrap(), "evil");
    for mode in [0o500, 0o000] {
        let line = world.after(|root| {
            fs::write(root.join(".git/hooks/pre-commit"), "planted").unwrap();
            fs::set_permissions(root.join(".git/hooks"), fs::Permissions::from_mode(mode)).unwrap();
            fs::set_permissions(root.join(".git"), fs::Permissions::from_mode(mode)).unwrap();
        });
        assert!(line.is_some_and(|line| line.contains("pre-commit") && !line.contains("cannot")), "{mode:o}");
        assert_eq!(world.text(".git/hooks/pre-commit"), None, "{mode:o}");
        let hooks = world.root.join(".git/hooks").metadata().unwrap();
        assert_eq!(hooks.permissions().mode() & 0o700, 0o700, "{mode:o}");
    }
}

#[test]
fn a_folder_that_its_user_closed_stays_so() {
    let world = World::new();
    let hooks = world.root.join(".git/hooks");
    let close = |mode| fs::set_permissions(&hooks, fs::Permissions::from_mode(mode)).unwrap();
    close(0o555);
    let line = world.after(|root| {
        close(0o755);
        fs::write(root.join(".git/hooks/pre-commit"), "planted").unwrap();
        close(0o555);
    });
    assert!(line.is_some_and(|line| !line.contains("cannot")));
    assert_eq!(world.text(".git/hooks/pre-commit"), None);
    assert_eq!(hooks.metadata().unwrap().permissions().mode() & 0o777, 0o555);
    assert_eq!(world.after(|_| ()), None);
    close(0o755);
}

#[test]
fn new_files_that_later_runs_read_are_noticed_and_stay() {
    let world = World::new();
    fs::create_dir(world.root.join("experts")).unwrap();
    fs::write(world.root.join("experts/a.toml"), "a").unwrap();
    let off_limits = OffLimits {
        read_only: vec![world.root.join("experts/a.toml")],
        noticed: vec![world.root.join(".env"), world.root.join("perstack.lock")],
        include_folders: vec![world.root.join("experts")],
        ..OffLimits::default()
    };
    let protected = Protected::new(&world.root, &off_limits);
    let (first, second) = (protected.watch(), protected.watch());
    fs::write(world.root.join(".env"), "PORT=1").unwrap();
    fs::write(world.root.join("experts/b.toml"), "b").unwrap();
    fs::write(world.root.join("experts/notes.md"), "b").unwrap();
    let line = first.end().unwrap();
    assert!(line.starts_with("noticed .env, experts/b.toml:"), "{line}");
    assert_eq!(second.end(), None);
    assert_eq!(world.text(".env").as_deref(), Some("PORT=1"));
    let watch = protected.watch();
    fs::write(world.root.join(".env"), "PORT=2").unwrap();
    assert_eq!(watch.end(), None, "this run does not read it");
}

#[test]
fn lists_of_other_files_have_a_state_of_their_own() {
    let world = World::new();
    let watch = |path: &str| {
        let off_limits = OffLimits { read_only: vec![world.root.join(path)], ..OffLimits::default() };
        Protected::new(&world.root, &off_limits).watch()
    };
    let (first, second) = (watch(".git/HEAD"), watch("perstack.toml"));
    assert_eq!((second.end(), first.end()), (None, None));
    assert_eq!(world.text("perstack.toml").as_deref(), Some("a = 1\n"));
}

#[test]
fn nothing_keeps_a_change_from_being_undone() {
    let world = World::new();
    let line = world.after(|root| {
        // Names that the putting back needs, a hook too large to be kept, and another place for hooks.
        fs::create_dir(root.join("perstack.toml.changed")).unwrap();
        fs::write(root.join("perstack.toml"), "b = 2\n").unwrap();
        fs::create_dir(root.join(".git/config.new")).unwrap();
        fs::write(root.join(".git/config"), "[core]\n\tbare = false\n[alias]\n\tst = !evil\n").unwrap();
        let large = usize::try_from(MAX_KEPT).unwrap() + 1;
        fs::write(root.join(".git/hooks/pre-commit"), vec![b'#'; large]).unwrap();
        fs::write(root.join(".git/commondir"), "../evil\n").unwrap();
    });
    assert!(line.is_some_and(|line| !line.contains("cannot")));
    assert_eq!(world.text("perstack.toml").as_deref(), Some("a = 1\n"));
    assert!(!world.text(".git/config").unwrap().contains("evil"));
    assert_eq!((world.text(".git/hooks/pre-commit"), world.text(".git/commondir")), (None, None));
}

#[test]
fn a_repository_above_is_not_hidden_by_one_that_a_command_makes() {
    let world = World::new();
    let below = world.root.join("docs");
    fs::create_dir(&below).unwrap();
    let watch = Protected::new(&below, &OffLimits::default()).watch();
    fs::create_dir(below.join(".git")).unwrap();
    fs::write(world.root.join(".git/hooks/pre-commit"), "planted").unwrap();
    assert!(watch.end().is_some());
    assert_eq!(world.text(".git/hooks/pre-commit"), None);
}

#[test]
fn a_configuration_behind_a_link_is_put_back() {
    let world = World::new();
    fs::rename(world.root.join("perstack.toml"), world.root.join("real.toml")).unwrap();
    std::os::unix::fs::symlink("real.toml", world.root.join("perstack.toml")).unwrap();
    assert!(world.after(|root| fs::write(root.join("perstack.toml"), "b = 2\n").unwrap()).is_some());
    assert_eq!(world.text("perstack.toml").as_deref(), Some("a = 1\n"));
    assert!(world.root.join("perstack.toml").is_symlink());
}

#[test]
fn settings_keep_their_mode() {
    let world = World::new();
    let config = world.root.join(".git/config");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(world.after(|_| fs::write(&config, "[alias]\n\tst = !evil\n").unwrap()).is_some());
    assert_eq!(config.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn commands_beside_each_other_share_the_state_before() {
    let world = World::new();
    let protected = Protected::new(&world.root, &OffLimits::default());
    let first = protected.watch();
    fs::write(world.root.join(".git/hooks/pre-commit"), "planted").unwrap();
    let second = protected.watch();
    assert!(first.end().is_some());
    assert_eq!(second.end(), None);
    assert_eq!(world.text(".git/hooks/pre-commit"), None);
}
