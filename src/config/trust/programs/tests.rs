//! Tests of the files that a command runs.

use std::fs::File;

use super::*;

fn named(words: &[&str], present: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for file in present {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    files(&words, folder.path(), folder.path()).into_iter().map(|file| file.path).collect()
}

#[test]
fn files_are_read_up_to_a_limit_for_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, bytes| File::create(folder.path().join(name)).unwrap().set_len(bytes).unwrap();
    // No reading of the second would ever end.
    make("a.bin", 1000);
    make("b.bin", 7 << 40);
    make("c.bin", 24);
    let known = |most: u64, words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let files = files_within(most, &words, folder.path(), folder.path());
        files.into_iter().map(|file| (file.path, file.digest.is_some())).collect::<Vec<_>>()
    };
    let all = |a, b, c| [("./a.bin", a), ("b.bin", b), ("c.bin", c)].map(|(path, is)| (path.to_owned(), is));
    assert_eq!(known(MOST_BYTES, &["./a.bin", "b.bin", "c.bin"]), all(true, false, true));
    assert_eq!(known(1024, &["./a.bin", "b.bin", "c.bin"]), all(true, false, true));
    assert_eq!(known(1023, &["./a.bin", "b.bin", "c.bin"]), all(true, false, false));
    // Interpreters of today have some 120 MB.
    const { assert!(MOST_BYTES > 500 << 20) };
}

#[test]
fn the_last_byte_of_a_file_counts_in_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    let digest_of = |text: &str| {
        std::fs::write(&path, text).unwrap();
        digest(&path, 100_000).map(|read| read.unwrap().0).map_err(|error| error.kind())
    };
    let text = "x".repeat(99_999);
    assert_ne!(digest_of(&format!("{text}a")).unwrap(), digest_of(&format!("{text}b")).unwrap());
    assert_eq!(digest_of(&format!("{text}ab")), Err(io::ErrorKind::FileTooLarge));
    assert_eq!(digest(folder.path(), 9).unwrap(), None);
}

#[test]
fn programs_and_scripts_of_the_project_are_found() {
    assert_eq!(named(&["./bin/serve", "x"], &["bin/serve"]), ["./bin/serve"]);
    assert_eq!(named(&["python3", "server.py"], &["server.py", "other.py"]), ["server.py"]);
    assert_eq!(named(&["sh", "-c", "cd sub && exec \"./run.sh\""], &["run.sh"]), ["./run.sh"]);
    assert_eq!(
        named(&["node", "--require=hook.js", "dist"], &["hook.js", "dist/index.js"]),
        ["dist/index.js", "hook.js"]
    );
    assert_eq!(named(&["python", "-m", "owls.server"], &["owls/server.py"]), ["owls/server.py"]);
    assert_eq!(named(&["python3.12", "-m", "owls"], &["owls/__main__.py"]), ["owls/__main__.py"]);
}

#[test]
#[cfg(unix)]
fn what_is_run_from_the_folder_is_known() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for file in ["s.py", "bin/serve", "dist/index.js", "package.json", "data.db", "docs/a.md", "bin/own", "noted"] {
        std::fs::create_dir_all(folder.path().join(file).parent().unwrap()).unwrap();
        std::fs::write(folder.path().join(file), "x").unwrap();
    }
    let runs = |path: PathBuf| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    for program in ["bin/serve", "bin/own"] {
        runs(folder.path().join(program));
    }
    std::fs::write(elsewhere.path().join("installed"), "x").unwrap();
    std::fs::write(elsewhere.path().join("x.js"), "x").unwrap();
    runs(elsewhere.path().join("installed"));
    symlink(folder.path().join("bin/serve"), elsewhere.path().join("linked")).unwrap();
    let path = format!("{}:bin:/usr/bin", elsewhere.path().display());
    let is_found = |command: &str| {
        let command = command
            .replace("FOLDER", folder.path().to_str().unwrap())
            .replace("ELSEWHERE", elsewhere.path().to_str().unwrap());
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        is_found_beneath(&words, folder.path(), &path)
    };
    for command in [
        "./bin/serve --x",
        "FOLDER/bin/serve",
        "own",
        "linked",
        "python3 s.py",
        "python3.12 -m owls",
        "python -c import+owls",
        "node dist",
        "node .",
        "node --inspect .",
        "node --require ./dist/index.js ELSEWHERE/x.js",
        "node -r owls ELSEWHERE/x.js",
        "java -cp dist Main",
        "npx -y @org/server@1.0.0",
        "uvx owls",
        "uv run owls",
        "npm run serve",
        "cargo run",
        "make serve",
        "just serve",
        "go run .",
        "deno task serve",
        "bun run serve",
        "gradle run",
        "env A=1 npx owls",
        "timeout 9 make serve",
        "sh -c ./bin/serve",
        "sh -c cd;make",
        "secrets run -- npx owls",
        "wrap ./bin/serve",
        "wrap s.py",
    ] {
        assert!(is_found(command), "{command}");
    }
    for command in [
        "unknown",
        "installed",
        "installed --folder .",
        "installed docs",
        "/bin/sh -c true",
        "mcp-sqlite data.db",
        "mcp-files . docs noted",
        "node ELSEWHERE/x.js .",
        "node ELSEWHERE/x.js docs -p 80",
        "python3 ELSEWHERE/x.js -m",
        "server --toolset go,make",
        "docker run -i x",
        "",
    ] {
        assert!(!is_found(command), "{command}");
    }
}

#[test]
fn a_launchers_settings_and_local_packages_are_found() {
    let present = [".npmrc", "uv.toml", "node_modules/.bin/server", "Makefile"];
    assert_eq!(named(&["npx", "-y", "@org/server@1"], &present), [".npmrc", "node_modules/.bin/server"]);
    assert_eq!(named(&["uvx", "owls"], &present), ["uv.toml"]);
    assert_eq!(named(&["make", "serve"], &present), ["Makefile"]);
    assert_eq!(named(&["env", "A=b", "npx", "x"], &present), [".npmrc"]);
}

#[test]
fn files_elsewhere_and_folders_to_serve_are_not() {
    assert_eq!(named(&["sh", "/bin/true"], &["a"]), [""; 0]);
    assert_eq!(named(&["npx", "-y", "server", "."], &["a.txt"]), [""; 0]);
    assert_eq!(named(&["sh", "-c", "exit 1"], &[]), [""; 0]);
}
