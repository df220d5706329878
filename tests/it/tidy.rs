//! The rules of the code that neither the compiler nor the linter checks. A rule that no tool checks is a wish.
//!
//! Every rule is one test here or in a module below; `source` reads the files that all of them look at.

mod circles;
mod documents;
mod english;
mod layers;
mod names;
mod snapshots;
pub mod source;

use std::fs;
use std::path::Path;

use layers::layers;
use source::{Source, all_places, assert_none, is_binary};

/// Lines; past this a file is a warehouse.
const MAX_LINES: usize = 800;
/// The only folder that may hold unsafe code: what runs between fork and exec, and what is kept from children.
const UNSAFE_ROOM: &str = "skill/process/";
/// Names that say nothing of what is in a room.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "helpers", "common", "misc", "manager"];
/// What pure code never contains.
const IMPURE: [&str; 11] = [
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "SystemTime",
    "tokio::",
    "async fn",
    ".await;",
    ".await?",
];

#[test]
fn pure_code_does_nothing() {
    let sources = Source::all("src");
    let layers = layers(&sources);
    let machine = layers.iter().position(|layer| layer == "machine").unwrap();
    let is_pure = |source: &Source| layers[..=machine].iter().any(|layer| layer == source.room());
    assert_none(&all_places(&sources, &IMPURE, is_pure), "nouns and the machine neither wait nor touch the world");
}

#[test]
fn only_the_command_line_prints() {
    let printing = ["println!", "eprintln!", "print!(", "dbg!(", "io::stdout", "io::stderr"];
    assert_none(&all_places(&Source::all("src"), &printing, |source| !is_binary(source)), "printing below cli");
}

/// Reading is anybody's; whoever changes a file has to be counted, and failed, by the tests of faults.
#[test]
fn the_store_changes_the_disk_through_its_door() {
    let changing = [
        "fs::write",
        "fs::rename",
        "fs::remove",
        "fs::create_dir",
        "fs::hard_link",
        "fs::copy",
        "File::create",
        "OpenOptions",
        "set_len",
        "sync_all",
        "sync_data",
        "write_all(",
    ];
    let is_test = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    let is_outside = |path: &str| path.starts_with("store/fault/") || is_test(path);
    let is_inside = |path: &str| path.starts_with("store/") && !is_outside(path);
    let mut sources = Source::all("src");
    sources.retain(|source| is_inside(&source.path) && source.path != "store/disk.rs");
    for source in &mut sources {
        let tests = source.text.find("#[cfg(test)]").unwrap_or(source.text.len());
        source.text.truncate(tests);
    }
    assert_none(&all_places(&sources, &changing, |_| true), "changes to the disk beside store/disk.rs");
}

#[test]
#[cfg(not(feature = "fault-injection"))]
fn the_shipped_binary_takes_no_plan_of_faults() {
    let binary = fs::read(env!("CARGO_BIN_EXE_perstack")).unwrap();
    let has = |name: &str| binary.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(has("PERSTACK_STORAGE"), "names of variables are found in it");
    assert!(!has("PERSTACK_FAULT"));
}

#[test]
fn unsafe_code_stays_in_its_room() {
    let places =
        all_places(&Source::all("src"), &["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"], |source| {
            !source.path.starts_with(UNSAFE_ROOM)
        });
    assert_none(&places, "unsafe code outside its folder");
}

#[test]
fn nothing_is_left_for_later() {
    let marks = ["TODO", "FIXME", "XXX", "todo!", "unimplemented!", "allow(dead_code)"];
    let mut places = Vec::new();
    for source in Source::all("src") {
        let lines = source.text.lines().enumerate();
        let marked = lines.filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)));
        places.extend(marked.map(|(number, line)| format!("{}:{}: {}", source.path, number + 1, line.trim())));
    }
    assert_none(&places, "unfinished work");
}

#[test]
fn files_are_rooms_with_names() {
    let mut wrong = Vec::new();
    for source in Source::all("src") {
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{} has {lines} lines", source.path));
        }
        if source.module().iter().any(|name| EMPTY_NAMES.contains(name)) {
            wrong.push(format!("{} has a name without content", source.path));
        }
        if source.path != "main.rs" && !source.text.starts_with("//! ") {
            wrong.push(format!("{} does not open with what it is for", source.path));
        }
    }
    assert_none(&wrong, "files that are no rooms");
}

/// A file that nobody declares is never compiled, and its tests never run.
#[test]
fn every_file_is_part_of_the_build() {
    let folders = [("src", &["lib.rs", "main.rs"][..]), ("tests/it", &["main.rs"]), ("tests/faults", &["main.rs"])];
    for (folder, roots) in folders {
        let sources = Source::all(folder);
        let text_of = |path: &str| sources.iter().find(|s| s.path == path).map(Source::code);
        let mut forgotten = Vec::new();
        for source in &sources {
            let module = source.module();
            let Some((name, parents)) = module.split_last() else { continue };
            let parent = parents.join("/");
            let declaring = match parents {
                [] => roots.iter().map(|&root| root.to_owned()).collect(),
                _ => ["", "/mod", "/main"].map(|root| format!("{parent}{root}.rs")).to_vec(),
            };
            let declaration = format!("mod {name};");
            let is_declared = |path: &String| text_of(path).is_some_and(|text| text.contains(&declaration));
            // A program of its own, which Cargo declares.
            let is_program = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
                .unwrap()
                .contains(&format!("\"{folder}/{}\"", source.path));
            let by_path = format!("#[path = \"{}\"]", source.path.rsplit_once('/').map_or("", |(_, file)| file));
            let is_alternative = declaring.iter().any(|path| {
                let below = format!("{}/", path.trim_end_matches(".rs").rsplit('/').next().unwrap_or_default());
                text_of(path).is_some_and(|text| text.contains(&by_path.replace("= \"", &format!("= \"{below}"))))
            });
            if !declaring.iter().any(is_declared) && !is_program && !is_alternative {
                forgotten.push(format!("{folder}/{}", source.path));
            }
        }
        assert_none(&forgotten, "files that no module declares");
    }
}

/// `fuzz/run all smoke` takes dependencies as they were built for the tests, and builds those of other versions anew.
#[test]
fn the_fuzzer_is_locked_to_the_versions_of_the_product() {
    let packages = |path: &str| -> Vec<String> {
        let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let lock: toml::Table = toml::from_str(&lock).unwrap();
        let packages = lock["package"].as_array().unwrap().iter();
        packages.map(|package| format!("{} {}", package["name"], package["version"])).collect()
    };
    let own = packages("Cargo.lock");
    let name = |package: &str| package.split(' ').next().map(str::to_owned);
    let is_shared = |package: &String| own.iter().any(|other| name(other) == name(package));
    let mut others = packages("fuzz/Cargo.lock");
    assert!(others.iter().any(|package| own.contains(package)), "no version is the same");
    others.retain(|package| is_shared(package) && !own.contains(package));
    assert_none(&others, "versions in fuzz/Cargo.lock; copy Cargo.lock there, and run cargo metadata in fuzz");
}
