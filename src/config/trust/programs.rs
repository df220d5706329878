//! The files beneath a project that its commands run: programs and scripts among a command's words, and the settings
//! that its launcher reads (`.npmrc`, `uv.toml` and their like).
//!
//! Called by `collect`. A file is named here when it exists; a command that fetches its program from elsewhere names none.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::config::read_file::open;
use crate::hex;

/// Most words of one command that are looked at, and most files that are read for it.
const MAX_WORDS: usize = 2_000;

/// Most bytes that are read of the files of one command together, and of a cassette: a second or two of hashing. The
/// largest interpreters have some 120 MB.
pub(super) const MOST_BYTES: u64 = 1 << 30;

/// A file that a command runs or reads.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProgramFile {
    /// From the workspace.
    pub path: String,
    /// Of its contents; `None` where it is too large to be read for that.
    pub digest: Option<String>,
}

/// The files that a folder given to an interpreter is started by.
const ENTRIES: [&str; 7] =
    ["package.json", "index.js", "index.mjs", "index.cjs", "index.ts", "__init__.py", "__main__.py"];

/// Launchers, with the files in their folder that decide what they run.
const LAUNCHERS: [(&[&str], &[&str]); 12] = [
    (
        &["npx", "npm", "pnpm", "pnpx", "yarn", "bun", "bunx", "node", "corepack", "tsx"],
        &[".npmrc", "package.json", ".yarnrc.yml", ".yarnrc", "pnpm-workspace.yaml", "bunfig.toml"],
    ),
    (
        &["uv", "uvx", "python", "python3", "pip", "pipx", "poetry", "hatch"],
        &["uv.toml", "pyproject.toml", ".python-version", "pip.conf", "sitecustomize.py", "usercustomize.py"],
    ),
    (&["deno"], &["deno.json", "deno.jsonc", ".npmrc"]),
    (&["make", "gmake"], &["GNUmakefile", "makefile", "Makefile"]),
    (&["just"], &["justfile", ".justfile", "Justfile"]),
    (&["task"], &["Taskfile.yml", "Taskfile.yaml", "taskfile.yml", "taskfile.yaml"]),
    (&["go"], &["go.mod", "go.work"]),
    (&["rake", "bundle"], &["Rakefile", "Gemfile"]),
    (&["gradle"], &["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"]),
    (&["mvn"], &["pom.xml", ".mvn/extensions.xml", ".mvn/jvm.config"]),
    (&["cargo"], &["Cargo.toml", ".cargo/config.toml", ".cargo/config", "rust-toolchain.toml", "rust-toolchain"]),
    (
        &["docker", "docker-compose", "podman"],
        &["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml", "Dockerfile"],
    ),
];

/// The last part of a command's path, without the ending of a program.
pub fn program_name(command: &str) -> &str {
    let name = command.rsplit(['/', '\\']).next().unwrap_or(command);
    name.strip_suffix(".exe").or_else(|| name.strip_suffix(".cmd")).unwrap_or(name)
}

/// The files beneath `root` or `workspace` that the command of these words runs when started in `workspace`, each by its
/// path from there and the digest of its contents.
pub fn files(words: &[String], workspace: &Path, root: &Path) -> Vec<ProgramFile> {
    files_within(MOST_BYTES, words, workspace, root)
}

fn files_within(mut left: u64, words: &[String], workspace: &Path, root: &Path) -> Vec<ProgramFile> {
    let roots: Vec<PathBuf> = [root, workspace].into_iter().filter_map(|path| path.canonicalize().ok()).collect();
    let mut found = BTreeSet::new();
    for candidate in candidates(words) {
        let Ok(path) = workspace.join(&candidate).canonicalize() else { continue };
        if !roots.iter().any(|root| path.starts_with(root)) {
            continue;
        }
        if path.is_dir() {
            found.extend(ENTRIES.iter().map(|entry| (candidate.join(entry), path.join(entry))));
        } else {
            found.insert((candidate, path));
        }
    }
    let digested = found.into_iter().filter_map(|(shown, path)| {
        let digest = match digest(&path, left) {
            Ok(Some((digest, bytes))) => {
                left = left.saturating_sub(bytes);
                Some(digest)
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => None,
            Ok(None) | Err(_) => return None,
        };
        Some(ProgramFile { path: shown.display().to_string(), digest })
    });
    digested.collect()
}

/// The reason why a file has no digest, for people.
pub fn too_large() -> String {
    format!(
        "which is too large to be known by its contents (those of a command are read up to {} GiB)",
        MOST_BYTES >> 30
    )
}

/// Launchers that run what the files of their folder make of it: a package or a task that is looked for there first, a
/// program that is built from its sources, settings that decide which program is run.
const LOOK_IN_FOLDER: [&str; 71] = [
    "ant",
    "bazel",
    "bazelisk",
    "bmake",
    "bun",
    "bundle",
    "bunx",
    "cabal",
    "cargo",
    "cmake",
    "composer",
    "conda",
    "corepack",
    "dart",
    "deno",
    "devbox",
    "direnv",
    "dotnet",
    "fab",
    "flutter",
    "foreman",
    "gem",
    "gmake",
    "go",
    "gradle",
    "gradlew",
    "hatch",
    "invoke",
    "just",
    "lein",
    "lerna",
    "make",
    "meson",
    "micromamba",
    "mill",
    "mise",
    "mix",
    "mvn",
    "mvnw",
    "ninja",
    "nix",
    "nix-shell",
    "nox",
    "npm",
    "npx",
    "nx",
    "overmind",
    "pdm",
    "pipenv",
    "pipx",
    "pixi",
    "pnpm",
    "pnpx",
    "poetry",
    "pre-commit",
    "rake",
    "rye",
    "sbt",
    "scala-cli",
    "stack",
    "swift",
    "task",
    "tox",
    "turbo",
    "uv",
    "uvx",
    "vite-node",
    "watchexec",
    "yarn",
    "yarnpkg",
    "zig",
];

/// Programs that run a file, a module or a command which their arguments name.
const INTERPRETERS: [&str; 45] = [
    "ash",
    "babel-node",
    "bash",
    "busybox",
    "chrt",
    "crystal",
    "dash",
    "elixir",
    "env",
    "erl",
    "escript",
    "esno",
    "fish",
    "ionice",
    "java",
    "jbang",
    "julia",
    "kotlin",
    "ksh",
    "lua",
    "luajit",
    "nice",
    "node",
    "nodejs",
    "nodemon",
    "nohup",
    "perl",
    "php",
    "pm2",
    "pypy",
    "python",
    "python3",
    "racket",
    "ruby",
    "scala",
    "setsid",
    "sh",
    "stdbuf",
    "swipl",
    "time",
    "timeout",
    "ts-node",
    "tsx",
    "xargs",
    "zsh",
];

/// Endings of files that are run, whatever their permissions are.
const RUN_ENDINGS: [&str; 17] =
    ["bash", "cjs", "cts", "exs", "jar", "js", "jsx", "lua", "mjs", "mts", "php", "pl", "py", "pyz", "rb", "sh", "ts"];

/// Flags of interpreters whose text or module is run with the folder among the places that modules are looked for in.
const FOLDER_FLAGS: [(&str, &[&str]); 3] = [
    ("python", &["-", "-c", "-m"]),
    ("pypy", &["-", "-c", "-m"]),
    (
        "node",
        &["-", "-e", "-p", "-r", "--eval", "--import", "--loader", "--experimental-loader", "--print", "--require"],
    ),
];

/// Returns true if the command of these words, started in `folder`, runs what it finds beneath it: its own file, one of the
/// search path `path` that leads there, a script, a module, a package, a task or a program that is built there.
pub fn is_found_beneath(words: &[String], folder: &Path, path: &str) -> bool {
    let Some((command, arguments)) = words.split_first() else { return false };
    let Ok(folder) = folder.canonicalize() else { return false };
    let folder = folder.as_path();
    let is_beneath = |word: &str| beneath(folder, word).is_some_and(|path| path.is_file());
    let is_own = if command.contains(['/', '\\']) {
        is_beneath(command)
    } else {
        on_path(command, folder, path).is_some_and(|program| program.starts_with(folder))
    };
    let name = program_name(command);
    if is_own || is_launcher(name) {
        return true;
    }
    let words = || arguments.iter().flat_map(|word| pieces(word));
    if !is_interpreter(name) {
        // A program of another name may start one too: `secrets run -- npx server`, `wrap ./server`.
        let starts = arguments.iter().skip_while(|word| !matches!(word.as_str(), "--" | "run" | "exec"));
        let starts_launcher = starts.skip(1).any(|word| is_launcher(program_name(word)));
        return starts_launcher || words().any(|word| beneath(folder, word).is_some_and(|path| is_run(&path)));
    }
    let has_flag = |word: &str| {
        let flags = FOLDER_FLAGS.iter().find(|(interpreter, _)| name.starts_with(interpreter));
        let flag = word.split_once('=').map_or(word, |(flag, _)| flag);
        flags.is_some_and(|(_, flags)| flags.contains(&flag))
    };
    // What follows a script from elsewhere are its arguments: a folder among them is none that is run.
    let is_before_script = |word: &&str| !folder.join(word).is_file() || is_beneath(word);
    arguments.iter().map(String::as_str).take_while(is_before_script).any(has_flag)
        || words().any(|word| is_beneath(word) || is_launcher(program_name(word)))
        || words().take_while(is_before_script).any(|word| is_run_folder(folder, word))
}

fn is_launcher(name: &str) -> bool {
    LOOK_IN_FOLDER.contains(&name)
}

/// Returns true for an interpreter, with a version behind its name or not.
fn is_interpreter(name: &str) -> bool {
    let is_version = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    INTERPRETERS.iter().any(|known| {
        name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || is_version(rest.trim_start_matches('-')))
    })
}

/// The place that `word` names, if it is in `folder`, which is without links.
fn beneath(folder: &Path, word: &str) -> Option<PathBuf> {
    let path = folder.join(word).canonicalize().ok()?;
    (path.starts_with(folder) && path != folder).then_some(path)
}

/// The file that a bare command is on the search path, without links. An entry of the path that is relative is one of
/// `folder`, and so is an empty one.
fn on_path(command: &str, folder: &Path, path: &str) -> Option<PathBuf> {
    let programs = std::env::split_paths(path).map(|entry| folder.join(entry).join(command));
    programs.filter(|program| is_executable(program)).find_map(|program| program.canonicalize().ok())
}

/// Returns true for a file that is a program or a script.
fn is_run(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    path.is_file() && (ending.is_some_and(|ending| RUN_ENDINGS.contains(&ending)) || is_executable(path))
}

/// Returns true for a folder with something that an interpreter starts it by; for one of classes or modules too.
fn is_run_folder(folder: &Path, word: &str) -> bool {
    let place = folder.join(word);
    let has_entry = || ENTRIES.iter().any(|entry| place.join(entry).is_file());
    match beneath(folder, word) {
        Some(path) => path.is_dir(),
        None => matches!(word, "." | "./") && has_entry(),
    }
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file()
}

/// Every path that a command may mean, there or not.
fn candidates(words: &[String]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let Some((command, arguments)) = words.split_first() else { return paths };
    // A bare name is looked for on the search path, not in the folder.
    if command.contains(['/', '\\']) {
        paths.push(PathBuf::from(command));
    }
    for word in arguments.iter().flat_map(|word| pieces(word)) {
        paths.push(PathBuf::from(word));
        // A package that is installed here is run in place of the published one.
        paths.push(Path::new("node_modules/.bin").join(bare_package(word)));
    }
    for (flag, module) in arguments.iter().zip(arguments.iter().skip(1)) {
        if flag == "-m" {
            let path = module.replace('.', "/");
            paths.extend([PathBuf::from(format!("{path}.py")), PathBuf::from(path)]);
        }
    }
    for name in words.iter().flat_map(|word| pieces(word)).map(program_name) {
        let known = LAUNCHERS.iter().find(|(launchers, _)| {
            launchers.contains(&name) || (name.starts_with("python3.") && launchers.contains(&"python3"))
        });
        paths.extend(known.into_iter().flat_map(|(_, settings)| settings.iter().map(PathBuf::from)));
    }
    // A file server is given folders, which hold no program.
    let is_folder_alone = |path: &PathBuf| matches!(path.to_str(), Some("" | "." | ".." | "/" | "./" | "../"));
    paths.retain(|path| !is_folder_alone(path));
    paths.truncate(MAX_WORDS);
    paths
}

/// A word, its parts between quotes, blanks and shell signs (`sh -c "python3 s.py; true"`), and the value of `--x=y`.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    const SIGNS: [char; 14] = [' ', '\t', '\n', '"', '\'', ';', '&', '|', '<', '>', '(', ')', '=', ','];
    let parts = word.split(SIGNS).filter(move |part| !part.is_empty() && *part != word);
    std::iter::once(word).chain(parts)
}

/// A package's name without scope and version, as its program is usually called.
fn bare_package(package: &str) -> &str {
    let name = package.rsplit('/').next().unwrap_or(package);
    name.split_once('@').map_or(name, |(name, _)| name)
}

/// The digest of a regular file's contents and their number of bytes, which may be `most`; `None` if it is no such file.
///
/// # Errors
/// When it cannot be read; of the kind [`io::ErrorKind::FileTooLarge`] where it has more bytes.
pub(super) fn digest(path: &Path, most: u64) -> io::Result<Option<(String, u64)>> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes"));
    if metadata.len() > most {
        return Err(too_large());
    }
    // One that grows meanwhile, or does not state its length, is not followed without end.
    let mut file = file.take(most.saturating_add(1));
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Some((hex::digits(&hasher.finalize()), bytes))),
            Ok(count) => {
                bytes += count as u64;
                if bytes > most {
                    return Err(too_large());
                }
                hasher.update(buffer.get(..count).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
