//! [`Note`]: a line about a job that stays, and its form on a terminal or in a log.
//!
//! Made by `view`; `progress` and `lines` print it. What cannot be shown whole is cut where it is least missed: the
//! argument of a call before its tool, and the reason of a failure not before that.

use console::{measure_text_width, truncate_str};

use super::text::Paint;

/// Columns of a line where there is no terminal: a command line is rarely longer.
pub const PLAIN_WIDTH: usize = 200;

/// Between the parts of a line.
const GAP: &str = "  ";

/// A line that stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note {
    pub kind: NoteKind,
    /// The number of callers between its Run and the user.
    pub depth: usize,
    /// The Run's expert, where it is not the only one at work.
    pub expert: Option<String>,
    pub text: String,
    /// The part that is shortened where there is no room: a call's argument.
    pub argument: String,
    /// The part behind it: a count of lines, a reason.
    pub extra: String,
}

/// The kind of a note, shown as its mark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NoteKind {
    /// Something begins or goes on.
    #[default]
    Begun,
    /// Something was done.
    Done,
    /// A call was made and failed, or was not made.
    Failed,
    /// Something will be tried again.
    Retrying,
    /// Something that does not stop the run, but should be known.
    Warning,
    /// Something stopped.
    Stopped,
    /// Something is waited for.
    Waiting,
    /// Streamed reasoning or text, a skill's own output.
    Detail,
    /// A line of a call's result.
    Output,
    /// A line that an edit added.
    Added,
    /// A line that an edit removed.
    Removed,
}

impl Note {
    /// The note as one line; what shows a call, of at most `width` columns. Reasons and messages are never cut here.
    pub fn line(&self, paint: Paint, width: usize) -> String {
        let mark = match self.kind {
            NoteKind::Begun => paint.cyan("▸"),
            NoteKind::Done => paint.green("✓"),
            NoteKind::Retrying => paint.yellow("↻"),
            NoteKind::Warning => paint.yellow("!"),
            NoteKind::Failed | NoteKind::Stopped => paint.red("✗"),
            NoteKind::Waiting | NoteKind::Detail => paint.dim("·"),
            NoteKind::Output => paint.dim("  │"),
            NoteKind::Added => paint.green("  +"),
            NoteKind::Removed => paint.red("  −"),
        };
        let indent = "  ".repeat(self.depth);
        let head = match &self.expert {
            Some(expert) => format!("{indent}{mark} {}{GAP}", paint.cyan(expert)),
            None => format!("{indent}{mark} "),
        };
        let room = width.saturating_sub(measure_text_width(&head)).max(1);
        let is_whole = matches!(
            self.kind,
            NoteKind::Retrying | NoteKind::Warning | NoteKind::Stopped | NoteKind::Detail | NoteKind::Waiting
        );
        let [text, argument, extra] = self.fitted(if is_whole { usize::MAX } else { room });
        let (text, extra) = match self.kind {
            NoteKind::Detail | NoteKind::Output | NoteKind::Waiting => (paint.dim(&text), paint.dim(&extra)),
            NoteKind::Added => (paint.green(&text), extra),
            NoteKind::Removed => (paint.red(&text), extra),
            NoteKind::Failed => (text, paint.red(&extra)),
            _ => (text, painted_counts(&extra, paint)),
        };
        let parts = [text, argument, extra].into_iter().filter(|part| !measure_text_width(part).eq(&0));
        head + &parts.collect::<Vec<_>>().join(GAP)
    }

    /// Text, argument and extra in at most `room` columns together.
    fn fitted(&self, room: usize) -> [String; 3] {
        let widths = [&self.text, &self.argument, &self.extra].map(|part| measure_text_width(part));
        let [text, argument, extra] = widths;
        let gaps = GAP.len() * widths.iter().filter(|width| **width > 0).count().saturating_sub(1);
        let left = room.saturating_sub(text + gaps);
        let cut = |part: &str, width: usize| match width {
            0 => String::new(),
            width => truncate_str(part, width, "…").into_owned(),
        };
        if text + gaps + argument + extra <= room {
            return [self.text.clone(), self.argument.clone(), self.extra.clone()];
        }
        if argument == 0 && extra == 0 || left == 0 {
            return [cut(&self.text, room), String::new(), String::new()];
        }
        // Half for each, and what the one does not need for the other.
        let half = left / 2;
        let extra = if extra <= half { extra } else { half.max(left.saturating_sub(argument)) };
        [self.text.clone(), cut(&self.argument, left.saturating_sub(extra)), cut(&self.extra, extra)]
    }
}

/// `+12 −3` in the colours of a difference.
fn painted_counts(extra: &str, paint: Paint) -> String {
    let painted = |word: &str| match word.chars().next() {
        Some('+') => paint.green(word),
        Some('−') => paint.red(word),
        _ => word.to_owned(),
    };
    extra.split(' ').map(painted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(argument: &str, extra: &str) -> Note {
        Note {
            kind: NoteKind::Failed,
            depth: 1,
            expert: Some("owl".to_owned()),
            text: "step 12  exec".to_owned(),
            argument: argument.to_owned(),
            extra: extra.to_owned(),
        }
    }

    #[test]
    fn what_fits_is_whole_and_a_long_argument_is_cut_before_its_reason() {
        let line = |note: &Note, width| note.line(Paint::plain(), width);
        let whole = note("make all", "no rule");
        assert_eq!(line(&whole, 80), "  ✗ owl  step 12  exec  make all  no rule");
        assert_eq!(line(&whole, 41), "  ✗ owl  step 12  exec  make all  no rule");
        let long = note("日本語のとても長い引数です and more", "no rule");
        assert_eq!(line(&long, 45), "  ✗ owl  step 12  exec  日本語のと…  no rule");
        let both = note("make all of it and everything", "no rule to make target everything");
        assert_eq!(line(&both, 60), "  ✗ owl  step 12  exec  make all of it a…  no rule to make …");
        assert_eq!(line(&note("", "no rule to make target"), 40), "  ✗ owl  step 12  exec  no rule to make…");
    }

    #[test]
    fn no_line_is_wider_than_asked_for() {
        for (argument, extra) in [("", ""), ("make 日本語", ""), ("", "+12 −3"), ("very long argument 日本", "+1 −2")]
        {
            for width in 12..90 {
                let line = note(argument, extra).line(Paint::plain(), width);
                assert!(measure_text_width(&line) <= width, "{width}: {line}");
            }
        }
    }
}
