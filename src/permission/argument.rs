//! [`CallArgument`]: the part of a call's arguments that patterns look at. The base skill reads it from a call.

use std::path::{Component, Path, PathBuf};

use super::program_call::ProgramCall;

/// The part of a call's arguments that patterns look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallArgument {
    /// None of them: the tool's calls have no such part.
    None,
    /// No call at all: the tool as such is meant.
    Any,
    /// It cannot be read. The tool refuses such a call, and no pattern with an argument allows it.
    Unreadable,
    Program(ProgramCall),
    /// The files and folders that it names.
    Paths {
        paths: Vec<CallPath>,
        /// All beneath them is changed too.
        is_tree: bool,
    },
}

/// A path that a call names, absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallPath {
    /// As it was written, without `.` and `..`.
    pub written: PathBuf,
    /// Without links, as far as it exists.
    pub real: PathBuf,
    /// The folder that relative patterns begin at: as it was given, and without links.
    pub roots: [PathBuf; 2],
}

impl CallPath {
    /// The components of the forms of the path that a pattern is compared with: relative ones from the root, absolute
    /// ones from the top. `None` for a form that is not beneath the root.
    pub(super) fn forms(&self, is_absolute: bool) -> [Option<Vec<String>>; 2] {
        let form = |path: &Path| {
            if is_absolute {
                return Some(names(path));
            }
            self.roots.iter().find_map(|root| path.strip_prefix(root).ok()).map(names)
        };
        [form(&self.written), form(&self.real)]
    }
}

/// The names of a path, without its root.
pub(super) fn names(path: &Path) -> Vec<String> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    names.collect()
}
