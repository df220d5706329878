//! Bounding what tools return, so that one result cannot flood a model's context; what is left out stays readable, in a
//! file of the Run.
//!
//! The model knows these files as `perstack-output/NAME`, wherever they are: the same conversation, replayed elsewhere,
//! names them alike. Numbers are given in the order of the calls, not of their ends, for the same reason.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use self::folder::Folder;
use crate::redact::Redactor;
use crate::setting::{DEFAULT_MAX_TOOL_OUTPUT, MIN_TOOL_OUTPUT};

mod folder;

pub use folder::MAX_OUTPUT_FILE;

/// Most bytes of a tool's text that reach the model unless configured otherwise.
pub const DEFAULT_LIMIT: usize = DEFAULT_MAX_TOOL_OUTPUT;

/// The folder under which the model finds kept outputs. No folder of this name exists; `readTextFile` knows it.
const SHELF: &str = "perstack-output/";

/// Most characters of a tool's name that go into a file's name.
const MAX_TOOL_NAME: usize = 40;

/// One Run's outputs that were too long for the model.
#[derive(Debug)]
pub struct Outputs {
    limit: usize,
    /// The number of the next call.
    next: AtomicU32,
    /// Set when the expert has a tool that reads kept outputs.
    is_readable: AtomicBool,
    kept: OnceLock<Kept>,
}

#[derive(Debug)]
struct Kept {
    folder: Folder,
    redactor: Redactor,
}

impl Outputs {
    /// Bounds to `limit` bytes (at least [`MIN_TOOL_OUTPUT`]) and keeps nothing until [`Outputs::keep_in`] names a folder.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.max(MIN_TOOL_OUTPUT),
            next: AtomicU32::new(1),
            is_readable: AtomicBool::new(false),
            kept: OnceLock::new(),
        })
    }

    /// From now on, what is cut is kept in `folder`, made on first use in the Run's folder; without what `redactor`
    /// knows. What the Runs before this one kept in the folders `earlier`, the nearest first, stays readable. The first
    /// call counts; later ones change nothing.
    pub fn keep_in(&self, folder: PathBuf, earlier: Vec<PathBuf>, redactor: Redactor) {
        let folder = Folder::new(folder, earlier);
        self.next.fetch_max(folder.highest_number().saturating_add(1), Ordering::Relaxed);
        // Only the first counts: files already named are there.
        let _ = self.kept.set(Kept { folder, redactor });
    }

    /// Most bytes of one result's text.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Records that the expert has a tool that reads kept outputs.
    pub fn can_be_read(&self) {
        self.is_readable.store(true, Ordering::Relaxed);
    }

    /// The output of a call of `tool`, not there yet: takes the call's number. What `redactor` knows is kept out too.
    pub fn of_call(self: &Arc<Self>, tool: &str, redactor: &Redactor) -> CallOutput {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let tool = tool.chars().take(MAX_TOOL_NAME).map(|c| if is_plain(c) { c } else { '_' }).collect();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        CallOutput { outputs: Arc::clone(self), number, tool, redactor: redactor.clone() }
    }

    /// Opens the kept file that `path` names, as a note named it; `None` when it names no such file, there or not.
    pub fn open(&self, path: &str) -> Option<io::Result<File>> {
        let name = path.strip_prefix("./").unwrap_or(path).strip_prefix(SHELF)?;
        let kept = self.kept.get()?;
        folder::number_of(name).map(|_| kept.folder.open(name))
    }
}

/// The output of one call.
#[derive(Debug)]
pub struct CallOutput {
    outputs: Arc<Outputs>,
    number: u32,
    tool: String,
    redactor: Redactor,
}

impl CallOutput {
    /// Most bytes of the whole result's text.
    pub fn limit(&self) -> usize {
        self.outputs.limit
    }

    /// Bounds `text` as [`bound`] does. What is cut is kept whole, in a file that the note names; where that cannot be,
    /// the note gives the reason and `hint`. `part` distinguishes the texts of one call and may be empty. Waits for the disk.
    pub fn bound(&self, text: String, limit: usize, part: &str, hint: &str) -> String {
        if text.len() <= limit {
            return text;
        }
        let Some(kept) = self.outputs.kept.get() else { return bound(text, limit, hint) };
        // Before the cut: half a secret would not be known for one.
        let text = kept.redactor.text(&self.redactor.text(&text));
        if text.len() <= limit {
            return text;
        }
        let name = self.file_name(part);
        let hint = match kept.folder.write(&name, text.as_bytes()) {
            Ok(()) if self.outputs.is_readable.load(Ordering::Relaxed) => {
                format!(
                    "all of it is in {SHELF}{name}: read those lines with readTextFile, some at a time by from and to"
                )
            }
            Ok(()) => format!("{hint}; all of it is kept with the run as outputs/{name}, out of your tools' reach"),
            Err(error) => format!("{hint}; no file could be kept of it: {error}"),
        };
        bound(text, limit, &hint)
    }

    fn file_name(&self, part: &str) -> String {
        let dash = if part.is_empty() { "" } else { "-" };
        format!("{:04}-{}{dash}{part}.txt", self.number, self.tool)
    }
}

/// Bounds `text` to about `limit` bytes (a note of some 200 bytes comes on top): head and tail stay, cut between
/// characters, with a note in between that gives the size of the omitted part and, by `hint`, how to read it.
///
/// The head gets two thirds: beginnings explain, ends conclude.
pub fn bound(text: String, limit: usize, hint: &str) -> String {
    if text.len() <= limit {
        return text;
    }
    let head_end = text.floor_char_boundary(limit / 3 * 2);
    let tail_start = text.ceil_char_boundary(text.len() - limit / 3);
    let (head, rest) = text.split_at(head_end);
    let (omitted, tail) = rest.split_at(tail_start - head_end);
    let first_line = head.matches('\n').count();
    let last_line = first_line + omitted.matches('\n').count();
    format!(
        "{head}\n[... {} bytes left out, from within line {first_line} to within line {last_line}, counted from 0; \
         {hint} ...]\n{tail}",
        omitted.len(),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_within_the_limit_stays_as_it_is() {
        assert_eq!(bound("äbc".to_owned(), 4, "x"), "äbc");
    }

    #[test]
    fn longer_text_keeps_head_and_tail_and_notes_what_is_missing() {
        let text = "ab\ncd\nef\ngh\nij\nkl\n".to_owned();
        assert_eq!(
            bound(text, 9, "use less"),
            "ab\ncd\n\n[... 9 bytes left out, from within line 2 to within line 5, counted from 0; use less ...]\nkl\n"
        );
    }

    fn folder_of(run: &Path) -> PathBuf {
        run.canonicalize().unwrap_or_else(|_| run.to_owned()).join("outputs")
    }

    fn kept(run: &Path, earlier: &[&Path]) -> Arc<Outputs> {
        let outputs = Outputs::new(1_000);
        outputs.can_be_read();
        let mut redactor = Redactor::default();
        redactor.add("sk-0123456789");
        outputs.keep_in(folder_of(run), earlier.iter().map(|run| folder_of(run)).collect(), redactor);
        outputs
    }

    fn lines(count: usize) -> String {
        (0..count).flat_map(|line| ["line ".to_owned(), line.to_string(), "\n".to_owned()]).collect()
    }

    fn cut(outputs: &Arc<Outputs>, tool: &str, text: &str) -> String {
        outputs.of_call(tool, &Redactor::default()).bound(text.to_owned(), outputs.limit(), "", "ask for less")
    }

    fn read(outputs: &Outputs, path: &str) -> Option<io::Result<String>> {
        outputs.open(path).map(|file| file.and_then(io::read_to_string))
    }

    #[test]
    fn what_is_cut_is_kept_whole_under_the_name_in_the_note() {
        let run = tempfile::tempdir().unwrap();
        let outputs = kept(run.path(), &[]);
        assert_eq!(cut(&outputs, "echo", "short"), "short");
        assert!(!folder_of(run.path()).exists(), "made on first use");
        let note = cut(&outputs, "../fly/tö", &lines(1000));
        assert!(note.contains("all of it is in perstack-output/0002-___fly_t_.txt: read those lines"), "{note}");
        for path in ["perstack-output/0002-___fly_t_.txt", "./perstack-output/0002-___fly_t_.txt"] {
            assert_eq!(read(&outputs, path).unwrap().unwrap(), lines(1000));
        }
    }

    #[test]
    fn numbers_follow_the_order_of_the_calls_not_of_their_ends() {
        let run = tempfile::tempdir().unwrap();
        let outputs = kept(run.path(), &[]);
        let [first, second] = ["a", "b"].map(|tool| outputs.of_call(tool, &Redactor::default()));
        let note = [second, first].map(|output| output.bound(lines(1000), 1_000, "stdout", ""));
        assert!(note[0].contains("/0002-b-stdout.txt:") && note[1].contains("/0001-a-stdout.txt:"), "{note:?}");
    }

    #[test]
    fn secrets_are_neither_kept_nor_cut_in_half() {
        let run = tempfile::tempdir().unwrap();
        let outputs = kept(run.path(), &[]);
        let mut own = Redactor::default();
        own.add("of-the-server");
        let text = "sk-0123456789 of-the-server\n".repeat(100);
        let note = outputs.of_call("t", &own).bound(text, 1_000, "", "");
        let whole = read(&outputs, "perstack-output/0001-t.txt").unwrap().unwrap();
        assert_eq!(whole, "[redacted] [redacted]\n".repeat(100));
        assert!(!note.contains("0123") && !note.contains("of-the"), "{note}");
    }

    #[test]
    fn a_run_that_continues_another_reads_its_files_and_numbers_on() {
        let runs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let before = kept(runs[0].path(), &[]);
        cut(&before, "a", "short");
        cut(&before, "a", &lines(1000));
        let outputs = kept(runs[1].path(), &[runs[0].path()]);
        assert!(cut(&outputs, "b", &lines(2000)).contains("perstack-output/0003-b.txt"));
        assert_eq!(read(&outputs, "perstack-output/0002-a.txt").unwrap().unwrap(), lines(1000));
        assert_eq!(read(&outputs, "perstack-output/0003-b.txt").unwrap().unwrap(), lines(2000));
        // The same Run, in another process.
        let again = kept(runs[1].path(), &[runs[0].path()]);
        assert!(cut(&again, "b", &lines(300)).contains("perstack-output/0004-b.txt"));
        // A Run beside it has no part in this.
        let stranger = tempfile::tempdir().unwrap();
        let refused = read(&kept(stranger.path(), &[]), "perstack-output/0002-a.txt").unwrap();
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn paths_that_name_no_output_are_the_workspaces_own() {
        let run = tempfile::tempdir().unwrap();
        let outputs = kept(run.path(), &[]);
        std::fs::write(run.path().join("log.jsonl"), "facts").unwrap();
        cut(&outputs, "a", &lines(1000));
        for path in [
            "0001-a.txt",
            "perstack-output/../log.jsonl",
            "perstack-output/log.jsonl",
            "perstack-output/",
            "perstack-output/0001-/../../log.jsonl",
            "perstack-output/0001-\\a.txt",
            "/perstack-output/0001-a.txt",
        ] {
            assert!(outputs.open(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_cut_that_cannot_be_kept_is_noted() {
        let run = tempfile::tempdir().unwrap();
        let nowhere = kept(&run.path().join("missing"), &[]);
        let note = cut(&nowhere, "a", &lines(1000));
        assert!(note.contains("; ask for less; no file could be kept of it: "), "{note}");
        let unkept = Outputs::new(1_000);
        let note = cut(&unkept, "a", &lines(1000));
        assert!(note.contains("; ask for less ...]"), "{note}");
        assert!(unkept.open("perstack-output/0001-a.txt").is_none());
    }

    #[test]
    fn an_expert_that_cannot_read_files_is_shown_another_way() {
        let run = tempfile::tempdir().unwrap();
        let outputs = Outputs::new(1_000);
        outputs.keep_in(folder_of(run.path()), Vec::new(), Redactor::default());
        let note = cut(&outputs, "a", &lines(1000));
        assert!(note.contains("; ask for less; all of it is kept with the run as outputs/0001-a.txt"), "{note}");
    }

    proptest! {
        #[test]
        fn any_text_is_cut_between_characters_and_accounted_for(text in "\\PC{0,200}", limit in 0_usize..150) {
            let cut = bound(text.clone(), limit, "");
            if text.len() <= limit {
                prop_assert_eq!(cut, text);
            } else {
                let (head, rest) = cut.split_once("\n[... ").unwrap();
                let (note, tail) = rest.rsplit_once(" ...]\n").unwrap();
                let omitted: usize = note.split_once(' ').unwrap().0.parse().unwrap();
                prop_assert!(text.starts_with(head) && text.ends_with(tail));
                prop_assert!(head.len() + tail.len() <= limit);
                prop_assert_eq!(head.len() + omitted + tail.len(), text.len());
            }
        }
    }
}
