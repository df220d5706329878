//! Layers: a file imports only what is below it.

use super::source::{Source, assert_none, is_binary};

/// Folders that know the nouns and nothing else.
const CAPABILITIES: [&str; 5] = ["config", "provider", "skill", "store", "workspace"];

/// The library's modules in the order of `lib.rs`, which is that of its layers.
pub fn layers(sources: &[Source]) -> Vec<String> {
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
fn imports_are_read_out_of_paths_and_trees() {
    let code = "use crate::id::JobId;\nuse crate::{\n    tool::{ToolCall, ToolResult},\n    usage,\n};\n\
                fn f() -> $crate::x::Y { other_crate::z() }";
    assert_eq!(imports(code), ["id", "tool", "usage", "x"]);
}

#[test]
fn layers_allow_what_the_table_has() {
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
