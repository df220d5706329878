//! The house's rules that neither the compiler nor the linter checks. A rule that no tool checks is a wish.

use std::fs;
use std::path::Path;

/// Lines; past this a file is a warehouse.
const MAX_LINES: usize = 800;
/// Folders that know the nouns and nothing else.
const CAPABILITIES: [&str; 4] = ["config", "provider", "skill", "store"];
/// The only file that may hold unsafe code: what runs between fork and exec.
const UNSAFE_ROOM: &str = "skill/process.rs";
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

/// One file of the product or of its tests.
struct Source {
    /// Beneath its root, with forward slashes.
    path: String,
    text: String,
}

impl Source {
    /// All Rust files beneath a folder of the package.
    fn all(folder: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut sources = Vec::new();
        collect(&root, "", &mut sources);
        assert!(!sources.is_empty(), "no files in {folder}");
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        sources
    }

    /// The module's names from the root; none for a root such as `lib.rs`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs");
        let path = path.strip_suffix("/mod").unwrap_or(path);
        path.split('/').filter(|_| !matches!(path, "lib" | "main")).collect()
    }

    /// The noun or folder that the file belongs to.
    fn room(&self) -> &str {
        self.module().first().copied().unwrap_or_default()
    }

    /// The text without comments, line for line.
    fn code(&self) -> String {
        self.text.lines().map(|line| without_comment(line).to_owned() + "\n").collect()
    }

    /// The lines whose code contains this, as places to look at.
    fn places(&self, needle: &str) -> Vec<String> {
        let code = self.code();
        let lines = code.lines().enumerate().filter(|(_, line)| line.contains(needle));
        lines.map(|(number, line)| format!("{}:{}: {}", self.path, number + 1, line.trim())).collect()
    }
}

fn collect(folder: &Path, prefix: &str, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{path}/"), sources);
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            sources.push(Source { text: fs::read_to_string(entry.path()).unwrap(), path });
        }
    }
}

/// A line up to its comment. `//` inside a string is taken for one unless it is part of an address.
fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(at) = line[from..].find("//").map(|at| at + from) {
        if !line[..at].ends_with(':') {
            return &line[..at];
        }
        from = at + 2;
    }
    line
}

/// The library's modules in the order of `lib.rs`, which is that of its layers.
fn layers(sources: &[Source]) -> Vec<String> {
    let lib = sources.iter().find(|source| source.path == "lib.rs").unwrap().code();
    let modules = lib.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "));
    modules.map(|module| module.trim_end_matches(';').to_owned()).collect()
}

/// The modules that code names by `crate::`, in paths and in use trees.
fn imports(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` in a macro is a path like any other; `some_crate::` is none of ours.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push(first_word(rest)),
            Some(tree) => found.extend(branches(tree).into_iter().map(first_word)),
        }
    }
    found
}

/// The top-level branches of a use tree, after its opening brace.
fn branches(tree: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.push(tree[start..at].trim());
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found.retain(|branch| !branch.is_empty());
    found
}

fn first_word(path: &str) -> &str {
    path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// Whether code in `room` may import `other`, by the table of layers.
fn may_import(layers: &[String], room: &str, other: &str) -> bool {
    let place = |name: &str| layers.iter().position(|layer| layer == name);
    let (Some(here), Some(there), Some(machine)) = (place(room), place(other), place("machine")) else { return false };
    let is_noun = there < machine;
    match room {
        _ if here == there => true,
        "machine" => is_noun,
        room if CAPABILITIES.contains(&room) => is_noun,
        "replay" => is_noun || CAPABILITIES.contains(&other),
        _ => there < here,
    }
}

#[track_caller]
fn assert_none(places: &[String], rule: &str) {
    assert!(places.is_empty(), "{rule}:\n{}", places.join("\n"));
}

/// Every place of these needles, in the files that a rule is for.
fn all_places(sources: &[Source], needles: &[&str], applies: impl Fn(&Source) -> bool) -> Vec<String> {
    let sources = sources.iter().filter(|source| applies(source));
    sources.flat_map(|source| needles.iter().flat_map(|needle| source.places(needle))).collect()
}

fn is_binary(source: &Source) -> bool {
    source.path == "main.rs" || source.room() == "cli"
}

#[test]
fn the_library_imports_only_downward() {
    let sources = Source::all("src");
    let layers = layers(&sources);
    let mut wrong = Vec::new();
    for source in sources.iter().filter(|source| !is_binary(source) && source.path != "lib.rs") {
        for import in imports(&source.code()) {
            if !may_import(&layers, source.room(), import) {
                wrong.push(format!("{} imports {import}", source.path));
            }
        }
    }
    assert_none(&wrong, "imports that point up or sideways");
}

#[test]
fn no_path_reaches_another_room_by_climbing() {
    let mut wrong = Vec::new();
    for source in Source::all("src").iter().filter(|source| !source.module().is_empty()) {
        let depth = source.module().len();
        let code = source.code();
        // The tests inside a file are one level further down.
        let inner = code.find("#[cfg(test)]").unwrap_or(code.len());
        for (part, depth) in [(&code[..inner], depth), (&code[inner..], depth + 1)] {
            let climb = "super::".repeat(depth);
            if part.contains(&climb) {
                wrong.push(format!("{} leaves its room by {climb}", source.path));
            }
        }
    }
    assert_none(&wrong, "say `crate::` to name another room");
}

#[test]
fn the_command_line_uses_the_library_from_outside() {
    let sources = Source::all("src");
    let wrong: Vec<_> = sources
        .iter()
        .filter(|source| is_binary(source))
        .flat_map(|source| imports(&source.code()).into_iter().map(str::to_owned).collect::<Vec<_>>())
        .filter(|import| import != "cli")
        .collect();
    assert_none(&wrong, "the binary reaches around the public library");
}

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
    let is_inside = |path: &str| path.starts_with("store/") && !path.starts_with("store/fault/");
    let mut sources = Source::all("src");
    sources.retain(|source| {
        is_inside(&source.path) && !matches!(source.path.as_str(), "store/disk.rs" | "store/tests.rs")
    });
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
            source.path != UNSAFE_ROOM
        });
    assert_none(&places, "unsafe code outside its one file");
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
            wrong.push(format!("{} says nothing by its name", source.path));
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

#[test]
fn imports_are_read_out_of_paths_and_trees() {
    let code = "use crate::id::JobId;\nuse crate::{\n    tool::{ToolCall, ToolResult},\n    usage,\n};\n\
                fn f() -> $crate::x::Y { other_crate::z() }";
    assert_eq!(imports(code), ["id", "tool", "usage", "x"]);
    assert_eq!(without_comment("let a = \"http://b\"; // c"), "let a = \"http://b\"; ");
}

#[test]
fn layers_allow_what_the_house_says() {
    let layers = ["id", "tool", "machine", "provider", "store", "replay", "runtime"].map(str::to_owned);
    let allowed = |room: &str| {
        let others = layers.iter().filter(|other| may_import(&layers, room, other));
        others.map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(allowed("id"), "id");
    assert_eq!(allowed("tool"), "id tool");
    assert_eq!(allowed("machine"), "id tool machine");
    assert_eq!(allowed("store"), "id tool store");
    assert_eq!(allowed("replay"), "id tool provider store replay");
    assert_eq!(allowed("runtime"), "id tool machine provider store replay runtime");
}
