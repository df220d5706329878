//! [`changed_instruction`]: the part in which two instruction messages differ. Programs that compare a job with its recording
//! call it; [`compose_whole`](super::instruction::compose_whole) wrote the parts.

use crate::runtime::job::instruction_files::{FILES, SKILLS};
use crate::runtime::run::instruction::{ANSWER, DELEGATES, PART};

/// A part of an instruction message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionPart {
    /// The expert's own instruction, the rules of its skills, or the form of its answer.
    Own,
    /// The list of its delegates, with the name of the tool.
    Delegate(Option<String>),
    /// A context file, with its path.
    ContextFile(Option<String>),
    /// An Agent Skill, with its name.
    AgentSkill(Option<String>),
}

/// The first part that differs, of the one that explains most.
pub fn changed_instruction(recorded: &str, now: &str) -> InstructionPart {
    let (then, now) = (Parts::of(recorded), Parts::of(now));
    if then.own == now.own && then.delegates != now.delegates {
        return InstructionPart::Delegate(differing(&then.delegates, &now.delegates, delegates));
    }
    if then.own == now.own && then.files != now.files {
        return InstructionPart::ContextFile(differing(&then.files, &now.files, |text| marked(text, "file path")));
    }
    if then.own == now.own && then.skills != now.skills {
        return InstructionPart::AgentSkill(differing(&then.skills, &now.skills, |text| marked(text, "skill name")));
    }
    InstructionPart::Own
}

/// The texts of the parts.
#[derive(Default)]
struct Parts {
    own: String,
    delegates: String,
    files: String,
    skills: String,
}

impl Parts {
    /// All that is behind the heading of a part belongs to it, up to the next heading: texts of files have such lines too.
    fn of(text: &str) -> Self {
        let mut parts = Self::default();
        let mut heading = "";
        for piece in text.split(PART) {
            let begins = [DELEGATES, FILES, SKILLS, ANSWER].into_iter().find(|heading| piece.starts_with(heading));
            heading = begins.unwrap_or(heading);
            let part = match heading {
                DELEGATES => &mut parts.delegates,
                FILES => &mut parts.files,
                SKILLS => &mut parts.skills,
                _ => &mut parts.own,
            };
            part.push_str(PART);
            part.push_str(piece);
        }
        parts
    }
}

/// The name of the first entry that one text has and the other has not.
fn differing<'a>(then: &'a str, now: &'a str, entries: fn(&'a str) -> Vec<(&'a str, &'a str)>) -> Option<String> {
    let (then, now) = (entries(then), entries(now));
    let is_new = |entry: &&(&str, &str), others: &[(&str, &str)]| !others.contains(entry);
    let changed =
        then.iter().find(|entry| is_new(entry, &now)).or_else(|| now.iter().find(|entry| is_new(entry, &then)));
    changed.map(|(name, _)| (*name).to_owned())
}

/// The lines on delegates, each with the name of its tool: `librarian (librarian): Knows books.`
fn delegates(text: &str) -> Vec<(&str, &str)> {
    let name = |entry: &str| {
        let from = entry.find(" (")?.checked_add(2)?;
        Some(from..entry.find("): ")?)
    };
    let entries = text.split("\n\n").map(str::trim);
    entries.filter_map(|entry| Some((entry.get(name(entry)?)?, entry))).collect()
}

/// The parts of `text` that begin with `<mark="NAME">`, each with its name.
fn marked<'a>(text: &'a str, mark: &str) -> Vec<(&'a str, &'a str)> {
    let begin = format!("\n<{mark}=\"");
    text.split(begin.as_str()).skip(1).filter_map(|part| Some((part.split_once('"')?.0, part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An instruction with these parts.
    fn text(own: &str, delegate: &str, file: &str, skill: &str, form: &str) -> String {
        format!(
            "You are.\n\n---\nYour task:\n\n{own}\n\n---\n{DELEGATES}\n\n@a/first (first): Reads.\n\n@a/second (second): {delegate}\n\
             \n---\n{FILES} Where.\n\n<file path=\"A.md\">\n---\nx: 1\n---\nOne.\n</file>\n\n<file path=\"B.md\">\n{file}\n</file>\n\
             \n---\n{SKILLS} When.\n\n<skill name=\"pdf\">\n{skill}\n</skill>\n\n---\n{ANSWER}is {form}.\n"
        )
    }

    #[test]
    fn the_part_that_differs_is_named() {
        let recorded = text("Own.", "Writes.", "Two.", "Fills forms.", "JSON");
        let name = |name: &str| Some(name.to_owned());
        for (now, expected) in [
            (text("Other.", "Writes.", "Two.", "Fills forms.", "JSON"), InstructionPart::Own),
            (text("Own.", "Writes.", "Two.", "Fills forms.", "text"), InstructionPart::Own),
            (text("Other.", "Reads.", "Three.", "Fills forms.", "JSON"), InstructionPart::Own),
            (text("Own.", "Counts.", "Two.", "Fills forms.", "JSON"), InstructionPart::Delegate(name("second"))),
            (text("Own.", "Writes.", "Three.", "Fills forms.", "JSON"), InstructionPart::ContextFile(name("B.md"))),
            (recorded.replace("One.", "1."), InstructionPart::ContextFile(name("A.md"))),
            (text("Own.", "Writes.", "Two.", "Reads forms.", "JSON"), InstructionPart::AgentSkill(name("pdf"))),
        ] {
            assert_eq!(changed_instruction(&recorded, &now), expected);
        }
    }

    #[test]
    fn a_part_that_is_new_or_gone_is_named_too() {
        let own = "You are.\n\n---\nYour task:\n\nOwn.\n";
        let with_file = format!("{own}\n---\n{FILES} Where.\n\n<file path=\"A.md\">\nOne.\n</file>\n");
        let file = InstructionPart::ContextFile(Some("A.md".to_owned()));
        assert_eq!(changed_instruction(own, &with_file), file);
        assert_eq!(changed_instruction(&with_file, own), file);
        let with_delegate = format!("{own}\n---\n{DELEGATES}\n\nowl (owl): Flies.\n");
        assert_eq!(changed_instruction(own, &with_delegate), InstructionPart::Delegate(Some("owl".to_owned())));
    }
}
