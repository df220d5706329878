//! [`found`]: the files of tests below a folder. `perstack test` without files calls it; what is passed over and might have
//! some is shown.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use crate::cli::Process;
use crate::cli::failure::Failure;
use crate::cli::setup::warn;

/// The end of the names of files with tests.
const ENDING: &str = ".test.toml";

/// Most folders within each other that are searched. Our own choice: more than people make by hand.
const DEEPEST: usize = 16;

/// The findings of a search.
#[derive(Default)]
struct Search {
    files: Vec<PathBuf>,
    /// Folders that hold what programs put there, and hidden ones.
    left_out: Vec<PathBuf>,
    /// Paths that may have tests and were not looked at, with the reasons.
    passed_over: Vec<(PathBuf, String)>,
}

/// The files of tests below the current folder, in the order of their names; relative to it. A warning names each folder
/// and link that is passed over, but for those of programs and hidden ones.
///
/// # Errors
/// When there is none, or the folder cannot be read.
pub fn found(process: &Process) -> Result<Vec<PathBuf>, Failure> {
    let mut search = Search::default();
    search.folder(&process.folder, Path::new(""), 0).map_err(|error| {
        let what = format!("cannot search {}", process.folder.display());
        Failure::usage(anyhow::Error::new(error).context(what))
    })?;
    let Search { mut files, mut left_out, mut passed_over } = search;
    files.sort();
    passed_over.sort();
    for (path, why) in passed_over {
        warn(process, false, &format!("{} was not searched for tests: {why}", path.display()));
    }
    if files.is_empty() {
        left_out.sort();
        let names: Vec<String> = left_out.iter().map(|path| path.display().to_string()).collect();
        let besides = if names.is_empty() { String::new() } else { format!(" (left out: {})", names.join(", ")) };
        return Err(Failure::usage(anyhow!("there is no file *{ENDING} below this folder{besides}"))
            .help("write one (perstack help test shows how), or name a file"));
    }
    Ok(files)
}

impl Search {
    /// Searches `folder`, whose path from the first one is `below`.
    fn folder(&mut self, folder: &Path, below: &Path, depth: usize) -> io::Result<()> {
        let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        let has_tag = entries.iter().any(|entry| entry.file_name() == "CACHEDIR.TAG");
        if depth > 0 && has_tag {
            // Marked by a program as nobody's own work (https://bford.info/cachedir/).
            self.left_out.push(below.to_owned());
            return Ok(());
        }
        for entry in entries {
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            let (path, text) = (below.join(&name), name.to_string_lossy());
            let is_named = text.ends_with(ENDING);
            if kind.is_symlink() {
                self.link(&entry.path(), path, is_named);
            } else if kind.is_file() && is_named {
                self.files.push(path);
            } else if kind.is_dir() && (text.starts_with('.') || text == "node_modules") {
                self.left_out.push(path);
            } else if kind.is_dir() && depth >= DEEPEST {
                self.passed_over.push((path, format!("it is more than {DEEPEST} folders deep")));
            } else if kind.is_dir()
                && let Err(error) = self.folder(&entry.path(), &path, depth.saturating_add(1))
            {
                self.passed_over.push((path, error.to_string()));
            }
        }
        Ok(())
    }

    /// A link is not followed: it may lead in a circle, or out of the folder.
    fn link(&mut self, link: &Path, path: PathBuf, is_named: bool) {
        let leads_to_folder = fs::metadata(link).is_ok_and(|target| target.is_dir());
        if is_named || leads_to_folder {
            self.passed_over.push((path, "it is a link; name the file to run it".to_owned()));
        }
    }
}
