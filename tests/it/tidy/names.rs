//! Type names: one name, one meaning.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, assert_none};

/// Names that more than one file may use, and why.
const SHARED: [(&str, &str); 1] = [("Kept", "a platform's hold on a child: the build holds one of the two")];

/// The types that code makes visible outside its file. Test modules are left out.
fn visible_types(code: &str) -> Vec<&str> {
    let shipped = code.find("#[cfg(test)]\nmod").map_or(code, |end| &code[..end]);
    let mut names = Vec::new();
    for line in shipped.lines() {
        let mut words = line.trim_start().split([' ', '(', ')', '<', '{', ';', '=']).filter(|word| !word.is_empty());
        if words.next() != Some("pub") {
            continue;
        }
        let mut words = words.skip_while(|word| is_scope(word));
        if matches!(words.next(), Some("struct" | "enum" | "trait" | "type" | "union")) {
            names.extend(words.next().map(|name| name.trim_end_matches(':')));
        }
    }
    names
}

/// The words between `pub` and the kind of the item.
fn is_scope(word: &str) -> bool {
    matches!(word, "super" | "self" | "in" | "unsafe") || word.split("::").next() == Some("crate")
}

#[test]
fn a_type_name_is_used_once() {
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in Source::all("src").iter().filter(|source| !source.module().contains(&"tests")) {
        for name in visible_types(&source.code()) {
            files.entry(name.to_owned()).or_default().insert(source.path.clone());
        }
    }
    let is_shared = |name: &str| SHARED.iter().any(|(shared, _)| *shared == name);
    let twice = files.iter().filter(|(name, files)| files.len() > 1 && !is_shared(name));
    let twice: Vec<_> = twice.map(|(name, files)| format!("{name}: {files:?}")).collect();
    assert_none(&twice, "type names with more than one meaning");
}

#[test]
fn visible_types_are_found() {
    let code = "pub struct Owl<T> {\n    pub(super) enum Nest {\npub(in crate::x) trait Fly: Sized {\nstruct Own;\n\
                pub type Egg = u8;\npub fn enum_of() {}\n#[cfg(test)]\nmod tests {\npub struct Fake;";
    assert_eq!(visible_types(code), ["Owl", "Nest", "Fly", "Egg"]);
}
