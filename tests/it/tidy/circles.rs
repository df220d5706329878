//! Circles: files of one folder that need each other cannot be read one after the other.
//!
//! A file may use what its parents hold (`super::`), and a parent what its children do: that is no circle. Re-exports
//! are followed to the file that has the item.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, assert_none};

/// Files that may need each other, and why.
const ALLOWED: [(&[&str], &str); 0] = [];

/// A path in code as its segments, and whether it is re-exported.
#[derive(Debug, PartialEq)]
struct CodePath {
    segments: Vec<String>,
    is_reexport: bool,
}

/// The paths of two segments or more, with use trees spelled out.
fn paths(code: &str) -> Vec<CodePath> {
    let tokens = tokens(code);
    let (mut found, mut at, mut is_reexport) = (Vec::new(), 0, false);
    while at < tokens.len() {
        match tokens[at] {
            "use" => is_reexport = at > 0 && matches!(tokens[at - 1], "pub" | ")"),
            ";" => is_reexport = false,
            token if is_word(token) => {
                let mut ends = Vec::new();
                at = read_path(&tokens, at, &mut Vec::new(), &mut ends);
                let long = ends.into_iter().filter(|segments| segments.len() > 1);
                found.extend(long.map(|segments| CodePath { segments, is_reexport }));
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::`, and every other character for itself.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = if word > 0 {
            word
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// Reads one path, or one branch of a use tree, from a word or a brace on; returns where it ends.
fn read_path(tokens: &[&str], mut at: usize, prefix: &mut Vec<String>, ends: &mut Vec<Vec<String>>) -> usize {
    let depth = prefix.len();
    loop {
        match tokens.get(at) {
            Some(&"{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    at = if *tokens.get(at).unwrap() == "," { at + 1 } else { read_path(tokens, at, prefix, ends) };
                }
                at += 1;
                break;
            }
            Some(token) => {
                prefix.push((*token).to_owned());
                at += 1;
                if tokens.get(at) == Some(&"::") && tokens.get(at + 1).is_some_and(|next| is_word(next) || *next == "{")
                {
                    at += 1;
                    continue;
                }
                ends.push(prefix.clone());
                // A new name is for this file alone, or for the re-export's readers.
                while tokens.get(at) == Some(&"as") {
                    at += 2;
                }
                // `*` after `::`, or a turbofish.
                if tokens.get(at) == Some(&"::") {
                    at += 2;
                }
                break;
            }
            None => break,
        }
    }
    prefix.truncate(depth);
    at
}

/// The files of the library and the command line, by their modules' names, with the paths that their code uses.
struct Modules {
    files: BTreeMap<Vec<String>, (String, Vec<CodePath>)>,
}

impl Modules {
    fn read() -> Self {
        let mut files = BTreeMap::new();
        for source in Source::all("src") {
            let module: Vec<String> = source.module().into_iter().map(str::to_owned).collect();
            if module.is_empty() || module.iter().any(|name| name == "tests") {
                continue;
            }
            let code = source.code();
            let shipped = code.find("#[cfg(test)]\nmod").map_or(code.as_str(), |end| &code[..end]);
            files.insert(module, (source.path.clone(), paths(shipped)));
        }
        Self { files }
    }

    /// The module that holds what a path in `module` leads to.
    fn resolve(&self, module: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
        let (mut here, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (module.to_vec(), &path[1..]),
            "super" => {
                let climbs = path.iter().take_while(|segment| *segment == "super").count();
                (module[..module.len().checked_sub(climbs)?].to_vec(), &path[climbs..])
            }
            child => {
                let is_child = self.files.contains_key(&[module, &[child.to_owned()]].concat());
                (is_child.then(|| module.to_vec())?, path)
            }
        };
        while let Some((next, further)) = rest.split_first() {
            let below = [&here[..], std::slice::from_ref(next)].concat();
            if !self.files.contains_key(&below) {
                break;
            }
            (here, rest) = (below, further);
        }
        let (_, paths) = self.files.get(&here)?;
        if let Some(name) = rest.first().filter(|_| depth < 5) {
            let reexports = paths.iter().filter(|path| path.is_reexport && path.segments.last() == Some(name));
            let mut homes = reexports.filter_map(|path| self.resolve(&here, &path.segments, depth + 1));
            if let Some(home) = homes.next() {
                return Some(home);
            }
        }
        Some(here)
    }

    /// For every file the files of its own room that it needs, but for its parents.
    fn needs(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let needs = self.files.iter().map(|(module, (file, paths))| {
            let used = paths.iter().filter(|path| !path.is_reexport);
            let homes = used.filter_map(|path| self.resolve(module, &path.segments, 0));
            let beside = homes.filter(|home| home.first() == module.first() && !module.starts_with(home));
            (file.as_str(), beside.map(|home| self.files[&home].0.as_str()).collect())
        });
        needs.collect()
    }
}

/// Everything that can be reached from a file, the file itself only by a circle.
fn reachable<'a>(needs: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &'a str) -> BTreeSet<&'a str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(next) = open.pop() {
        open.extend(needs[next].iter().copied().filter(|file| reached.insert(*file)));
    }
    reached
}

/// The groups of files that reach each other.
fn circles<'a>(needs: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<BTreeSet<&'a str>> {
    let reached: BTreeMap<_, _> = needs.keys().map(|file| (*file, reachable(needs, file))).collect();
    let on_a_circle = reached.iter().filter(|(file, reached)| reached.contains(**file));
    on_a_circle
        .map(|(file, there)| there.iter().copied().filter(|other| reached[other].contains(file)).collect())
        .collect()
}

#[test]
fn no_files_of_a_folder_need_each_other() {
    let modules = Modules::read();
    let needs = modules.needs();
    let is_allowed =
        |circle: &&BTreeSet<&str>| ALLOWED.iter().any(|(files, _)| circle.iter().all(|f| files.contains(f)));
    let circles = circles(&needs);
    let wrong = circles.iter().filter(|circle| !is_allowed(circle)).map(|circle| {
        let within = |file: &&str| needs[*file].iter().filter(|f| circle.contains(*f)).copied().collect::<Vec<_>>();
        circle.iter().map(|file| format!("{file} -> {}", within(file).join(", "))).collect::<Vec<_>>().join("\n")
    });
    assert_none(&wrong.collect::<Vec<_>>(), "files that need each other");
}

#[test]
fn paths_are_read_out_of_code_and_trees() {
    let code = "pub use a::{self, b::{C, D as E}};\nuse super::x::*;\nfn f() -> crate::y::Z { g::<u8>(h::i::<T>()) }";
    let joined: Vec<_> = paths(code)
        .iter()
        .map(|path| format!("{}{}", path.segments.join("::"), if path.is_reexport { "!" } else { "" }))
        .collect();
    assert_eq!(joined, ["a::self!", "a::b::C!", "a::b::D!", "super::x", "crate::y::Z", "h::i"]);
}

#[test]
fn a_circle_is_found_and_a_line_is_none() {
    let needs = |pairs: &[(&'static str, &[&'static str])]| {
        pairs.iter().map(|(file, needs)| (*file, needs.iter().copied().collect())).collect()
    };
    assert!(circles(&needs(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])).is_empty());
    let found = circles(&needs(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"]), ("d", &["a"])]));
    assert_eq!(found, BTreeSet::from([BTreeSet::from(["a", "b", "c"])]));
}
