//! The files beneath a project that its commands run: programs and scripts among a command's words, and the settings
//! that its launcher reads (`.npmrc`, `uv.toml` and their like).
//!
//! Called by `collect`. A file is named here when it exists; a command that fetches its program from elsewhere names none.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::config::read_file::open;

/// Most words of one command that are looked at, and most files that are read for it.
const MAX_WORDS: usize = 2_000;

/// The files that a folder given to an interpreter is started by.
const ENTRIES: [&str; 7] =
    ["package.json", "index.js", "index.mjs", "index.cjs", "index.ts", "__init__.py", "__main__.py"];

/// Launchers, with the files in their folder that decide what they run.
const LAUNCHERS: [(&[&str], &[&str]); 7] = [
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
pub fn files(words: &[String], workspace: &Path, root: &Path) -> Vec<(String, String)> {
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
        let digest = digest(&path).ok().flatten()?;
        Some((shown.display().to_string(), digest))
    });
    digested.collect()
}

/// Launchers that look for a package in the folder first, or for settings there that decide which one is run.
const LOOK_IN_FOLDER: [&str; 11] = ["npx", "npm", "pnpm", "pnpx", "yarn", "bun", "bunx", "uv", "uvx", "pipx", "poetry"];

/// Programs that run a file or a module which their arguments name.
const INTERPRETERS: [&str; 21] = [
    "bash", "busybox", "cargo", "dash", "deno", "env", "go", "java", "just", "lua", "make", "node", "perl", "php",
    "python", "python3", "ruby", "sh", "ts-node", "tsx", "zsh",
];

/// Returns true if the command of these words, started in `folder`, runs what it finds beneath it: its own file, a script,
/// a module or a package.
pub fn is_found_beneath(words: &[String], folder: &Path) -> bool {
    let Some((command, arguments)) = words.split_first() else { return false };
    let Ok(folder) = folder.canonicalize() else { return false };
    let is_beneath = |word: &str| {
        folder
            .join(word)
            .canonicalize()
            .is_ok_and(|path| path.starts_with(&folder) && (path != folder) && path.is_file())
    };
    if command.contains(['/', '\\']) && is_beneath(command) {
        return true;
    }
    let is_python = |name: &str| name.starts_with("python");
    let name = program_name(command);
    if LOOK_IN_FOLDER.contains(&name) {
        return true;
    }
    if !INTERPRETERS.contains(&name) && !is_python(name) {
        return false;
    }
    let names_launcher = |word: &str| LOOK_IN_FOLDER.contains(&program_name(word));
    arguments.iter().flat_map(|word| pieces(word)).any(|word| {
        // A module is looked for in the folder before the installed ones; a folder is run by its entries.
        (word == "-m" && is_python(name))
            || is_beneath(word)
            || names_launcher(word)
            || ENTRIES.iter().any(|entry| !matches!(word, "." | "./") && is_beneath(&format!("{word}/{entry}")))
    })
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

/// The digest of a regular file's contents; `None` if there is no such file.
pub(super) fn digest(path: &Path) -> io::Result<Option<String>> {
    let mut file = open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Some(super::hex(&hasher.finalize()))),
            Ok(count) => hasher.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(words: &[&str], present: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for file in present {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        files(&words, folder.path(), folder.path()).into_iter().map(|(path, _)| path).collect()
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
    fn what_is_run_from_the_folder_is_known() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["s.py", "bin/serve", "dist/index.js", "data.db"] {
            std::fs::create_dir_all(folder.path().join(file).parent().unwrap()).unwrap();
            std::fs::write(folder.path().join(file), "x").unwrap();
        }
        let absolute = folder.path().join("bin/serve");
        for command in [
            "./bin/serve --x",
            absolute.to_str().unwrap(),
            "python3 s.py",
            "python3.12 -m owls",
            "node dist",
            "npx -y @org/server@1.0.0",
            "uvx owls",
            "env A=1 npx owls",
            "sh -c ./bin/serve",
        ] {
            let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
            assert!(is_found_beneath(&words, folder.path()), "{command}");
        }
        for command in ["serve", "/bin/sh -c true", "mcp-sqlite data.db", "node /usr/lib/x.js .", "docker run -i x", ""]
        {
            let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
            assert!(!is_found_beneath(&words, folder.path()), "{command}");
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
}
