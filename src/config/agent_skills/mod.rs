//! [`AgentSkill`]: a folder with a `SKILL.md`, in the open format of Agent Skills; and the key `agentSkills`, which names
//! those of an expert.
//!
//! The runtime and `perstack check` load them: names and descriptions are read here, all else on demand by the skill
//! layer's tool. [`folder`] looks at a skill's files, [`front_matter`] reads the head of a `SKILL.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};

use self::front_matter::{FrontMatter, HeadField, Mistake};
use super::error::{ConfigError, quoted};
use super::read_file::{is_absence, read_opened};
use super::reader::{Diagnostics, Node};

mod folder;
mod front_matter;

pub(super) use folder::digest;

/// The file that makes a folder a skill.
pub const SKILL_FILE: &str = "SKILL.md";

/// Most bytes of a `SKILL.md`. The format's advice is some 5,000 tokens; this is ten times that.
const MOST_OF_FILE: u64 = 256 * 1024;

/// The folders of a project that skills are looked for in, in this order.
const PROJECT_FOLDERS: [&str; 2] = [".agents/skills", ".claude/skills"];

/// The word for all skills of the usual folders.
const ALL: &str = "*";

/// Most skills that one expert has: their descriptions are in every request.
const MOST_SKILLS: usize = 200;

/// A skill that was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSkill {
    pub name: String,
    pub description: String,
    /// Its folder, without links; empty for one of a recording.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The folder as it is shown: from the project's root, where it is beneath that.
    pub shown: String,
    /// It is beneath the project's root.
    #[serde(skip)]
    pub is_projects: bool,
    /// The bytes of its `SKILL.md`; none for one of a recording.
    #[serde(skip)]
    pub bytes: u64,
    /// The folder that was looked at, whatever its path leads to by now; none for one of a recording.
    #[serde(skip)]
    pub(crate) handle: Option<Arc<Dir>>,
}

/// The skills of an expert, with what its owner should know of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSkills {
    pub skills: Vec<AgentSkill>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The places that skills are looked for in.
#[derive(Debug, Clone, Copy)]
pub struct SkillPlaces<'a> {
    /// The project's root.
    pub root: &'a Path,
    /// The user's own folders of skills.
    pub users: &'a [PathBuf],
    pub home: Option<&'a Path>,
    /// Files and folders with keys and records, which no skill's folder may contain.
    pub closed: &'a [PathBuf],
}

/// `agentSkills` of an expert.
pub(super) fn items(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for item in node.list(diagnostics).unwrap_or_default() {
        let Some(text) = item.string(diagnostics) else { continue };
        if text != ALL && !is_path(text) && name_problem(text).is_some() {
            let expected = "expected the name of a skill, a path with a slash in it, or \"*\"";
            item.problem(format!("{expected}, received {}", quoted(text)), diagnostics);
        } else if items.iter().any(|other| other == text) {
            item.warning("listed twice, ignored", diagnostics);
        } else {
            items.push(text.to_owned());
        }
    }
    items
}

/// Returns true for an item that is the path of a skill or of skills.
pub(super) fn is_path(text: &str) -> bool {
    let is_homes = text.strip_prefix('~').is_none_or(|rest| rest.starts_with('/'));
    text.contains('/') && is_homes && !text.contains(['*', '?', '\\', '\0']) && !text.contains("://")
}

/// Returns true for an item that may lead to skills of the user's usual folders: `*`, and a name that is in none of the
/// project's.
pub(super) fn may_be_users(item: &str, root: &Path) -> bool {
    let is_in = |folder: &str| root.join(folder).join(item).join(SKILL_FILE).exists();
    item == ALL || (!is_path(item) && !PROJECT_FOLDERS.into_iter().any(is_in))
}

/// The reason why a text is no name of a skill, by the format's rules.
fn name_problem(name: &str) -> Option<String> {
    let is_lower = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let is_sound = is_lower
        && (1..=64).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    let form = "1 to 64 lower-case letters and digits, with single hyphens between them";
    (!is_sound).then(|| format!("expected a name of {form}, received {}", quoted(name)))
}

/// Finds the skills that `items` name.
///
/// # Errors
/// A skill that is not there or is not right, or two of one name by their paths.
pub fn load_agent_skills(items: &[String], places: SkillPlaces<'_>) -> Result<AgentSkills, ConfigError> {
    let mut found = AgentSkills::default();
    for item in items {
        if item == ALL {
            for usual in usual_folders(places) {
                for folder in skills_in(&usual, &mut found.notes) {
                    match load(&folder, &usual, places) {
                        Ok(skill) => found.add_unless_hidden(skill),
                        // Nobody has named it, and other experts and projects may have no part in its mistake.
                        Err(error) => found.notes.push(format!("{error}: this skill is left out")),
                    }
                }
            }
        } else if is_path(item) {
            let folder = path_of(item, places);
            let is_skill = folder.join(SKILL_FILE).exists();
            let folders = if is_skill { vec![folder.clone()] } else { skills_in(&folder, &mut found.notes) };
            if folders.is_empty() {
                return Err(problem(&folder, format!("there is no {SKILL_FILE} in it, nor in a folder beneath it")));
            }
            for skill in folders {
                found.add_named(load(&skill, &folder, places)?)?;
            }
        } else {
            let usual = usual_folders(places).find(|usual| usual.join(item).join(SKILL_FILE).exists());
            let Some(usual) = usual else {
                let looked: Vec<String> = usual_folders(places).map(|folder| folder.display().to_string()).collect();
                return Err(problem(
                    places.root,
                    format!("there is no skill {item} (looked in {})", looked.join(", ")),
                ));
            };
            found.add_named(load(&usual.join(item), &usual, places)?)?;
        }
    }
    if found.skills.len() > MOST_SKILLS {
        let problem = format!("there are {} skills, and an expert has at most {MOST_SKILLS}", found.skills.len());
        return Err(self::problem(places.root, problem));
    }
    Ok(found)
}

impl AgentSkills {
    /// Returns true if there is nothing to show of any.
    pub fn is_empty(&self) -> bool {
        self.skills.is_empty() && self.notes.is_empty()
    }

    /// Adds a skill that is named itself. Another of its name is a mistake.
    fn add_named(&mut self, found: (AgentSkill, Vec<String>)) -> Result<(), ConfigError> {
        let (skill, notes) = found;
        match self.skills.iter().find(|other| other.name == skill.name) {
            Some(other) if other.folder == skill.folder => {}
            Some(other) => {
                let problem = format!("{} is a skill called {} too: name one of them", other.shown, skill.name);
                return Err(self::problem(&skill.folder, problem));
            }
            None => {
                self.notes.extend(notes);
                self.skills.push(skill);
            }
        }
        Ok(())
    }

    /// Adds a skill that was found in a usual folder, unless one before it has its name.
    fn add_unless_hidden(&mut self, (skill, notes): (AgentSkill, Vec<String>)) {
        let AgentSkill { name, folder, shown, .. } = &skill;
        match self.skills.iter().find(|other| other.name == *name) {
            Some(other) if other.folder == *folder => {}
            Some(other) => {
                self.notes.push(format!("two skills are called {name}: {} is used, {shown} is not", other.shown));
            }
            None => {
                self.notes.extend(notes);
                self.skills.push(skill);
            }
        }
    }
}

/// The folders that skills are looked for in.
fn usual_folders(places: SkillPlaces<'_>) -> impl Iterator<Item = PathBuf> {
    let projects = PROJECT_FOLDERS.into_iter().map(move |folder| places.root.join(folder));
    projects.chain(places.users.iter().cloned())
}

/// The folders in `folder` that have a `SKILL.md`, by name. What cannot be listed is noted.
fn skills_in(folder: &Path, notes: &mut Vec<String>) -> Vec<PathBuf> {
    let mut note = |error: std::io::Error| {
        if !is_absence(&error) {
            notes.push(format!("cannot look for skills in {}: {error}", folder.display()));
        }
    };
    let mut folders = Vec::new();
    match std::fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                match entry {
                    Ok(entry) => folders.push(entry.path()),
                    Err(error) => note(error),
                }
            }
        }
        Err(error) => note(error),
    }
    folders.retain(|folder| folder.join(SKILL_FILE).symlink_metadata().is_ok());
    folders.sort();
    folders
}

fn path_of(item: &str, places: SkillPlaces<'_>) -> PathBuf {
    match item.strip_prefix("~/").zip(places.home) {
        Some((rest, home)) => home.join(rest),
        None => places.root.join(item),
    }
}

/// The folder from the project's root, or whole.
fn shown(folder: &Path, places: SkillPlaces<'_>) -> String {
    let shown = folder.strip_prefix(places.root).unwrap_or(folder).display().to_string();
    shown.trim_end_matches('/').to_owned()
}

/// Reads the skill in `folder`, which is in `looked` or is that, and returns it with its notes.
fn load(folder: &Path, looked: &Path, places: SkillPlaces<'_>) -> Result<(AgentSkill, Vec<String>), ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: folder.to_owned(), source };
    let real = folder.canonicalize().map_err(unreadable)?;
    let root = places.root.canonicalize().map_err(unreadable)?;
    let is_projects = real.starts_with(&root);
    // An agreement counts on the files beneath the root, and on the paths that lead elsewhere and are named.
    if !is_projects && is_in_project(looked, &root, places) {
        let problem =
            format!("it leads to {}, outside of the project: name that folder in agentSkills", real.display());
        return Err(self::problem(folder, problem));
    }
    if let Some(closed) = places.closed.iter().find(|closed| settled(closed).starts_with(&real)) {
        let problem = format!(
            "{} is in it, with keys or records that no skill has: give the skill a folder of its own",
            closed.display()
        );
        return Err(self::problem(folder, problem));
    }
    let dir = folder::open(&real, &root).map_err(unreadable)?;
    let file = folder.join(SKILL_FILE);
    // Before anything in it is read: a link could lead to any file.
    let rights = folder::check(&dir, &real, folder, places.closed)?;
    let text = match folder::open_file(&dir, Path::new(SKILL_FILE)) {
        Ok(opened) => read_opened(opened, &file, MOST_OF_FILE)?.text,
        Err(error) if is_absence(&error) => return Err(problem(folder, format!("there is no {SKILL_FILE}"))),
        Err(source) => return Err(ConfigError::Unreadable { path: file, source }),
    };
    let at = |Mistake { line, problem }: Mistake| ConfigError::AgentSkill { path: file.clone(), line, problem };
    let bytes = text.len() as u64;
    let front = FrontMatter::read(&text, is_known).map_err(at)?;
    let (line, name) = required(&front, "name").map_err(at)?;
    let own = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let wrong_name = match name_problem(&name) {
        None if name != own => {
            Some(format!("expected the folder's name, {}, received {}", quoted(&own), quoted(&name)))
        }
        other => other,
    };
    if let Some(problem) = wrong_name {
        return Err(at(Mistake { line, problem: format!("name: {problem}") }));
    }
    let (line, description) = required(&front, "description").map_err(at)?;
    let length = description.chars().count();
    if length > 1024 {
        let problem = format!("description: expected 1 to 1024 characters, received {length}");
        return Err(at(Mistake { line, problem }));
    }
    others(&front).map_err(at)?;
    let mut notes: Vec<String> = unknown(&front)
        .map(|(line, key)| format!("{}:{line}: {key} is no field of the format, and ignored", shown(&file, places)))
        .collect();
    if front.get("allowed-tools").is_some() {
        notes.push(format!("skill {name}: allowed-tools allows nothing here: `permissions` of the expert decide"));
    }
    notes.extend(rights.into_iter().map(|script| {
        format!("skill {name}: {script} may not be run: chmod +x it, or it is run by naming its interpreter")
    }));
    let (shown, handle) = (shown(folder, places), Some(Arc::new(dir)));
    Ok((AgentSkill { name, description, folder: real, shown, is_projects, bytes, handle }, notes))
}

/// Returns true for a place of the project's own, whose skills have to be so too.
fn is_in_project(looked: &Path, root: &Path, places: SkillPlaces<'_>) -> bool {
    let is_usual = PROJECT_FOLDERS.iter().any(|usual| looked == places.root.join(usual));
    let is_users = places.users.iter().any(|users| users == looked);
    is_usual || (!is_users && looked.canonicalize().is_ok_and(|real| real.starts_with(root)))
}

/// The path without links, also where its end is not there yet.
fn settled(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| match path.parent().zip(path.file_name()) {
        Some((parent, name)) => settled(parent).join(name),
        None => path.to_owned(),
    })
}

fn problem(path: &Path, problem: String) -> ConfigError {
    ConfigError::AgentSkillFolder { path: path.to_owned(), problem }
}

/// A text that has to be there.
fn required(front: &FrontMatter, key: &str) -> Result<(usize, String), Mistake> {
    let missing = || Mistake { line: 1, problem: format!("{key} is missing in the front matter") };
    let (line, field) = front.get(key).ok_or_else(missing)?;
    match field {
        HeadField::Text { text, is_text: true } if !text.trim().is_empty() => Ok((line, text.trim().to_owned())),
        HeadField::Text { text, .. } if text.trim().is_empty() => {
            Err(Mistake { line, problem: format!("{key}: expected a text, received none") })
        }
        HeadField::Text { text, .. } => {
            Err(Mistake { line, problem: format!("{key}: expected a text: put {} in quotes", quoted(text)) })
        }
        HeadField::List(_) | HeadField::Map(_) => Err(Mistake { line, problem: format!("{key}: expected a text") }),
    }
}

/// Checks the fields that need not be there.
fn others(front: &FrontMatter) -> Result<(), Mistake> {
    for (key, line, field) in &front.0 {
        let problem = match (key.as_str(), field) {
            ("compatibility", HeadField::Text { text, .. }) if !(1..=500).contains(&text.chars().count()) => {
                format!("expected 1 to 500 characters, received {}", text.chars().count())
            }
            ("license" | "compatibility", HeadField::List(_) | HeadField::Map(_)) => "expected a text".to_owned(),
            ("metadata", HeadField::List(_)) => "expected names with texts".to_owned(),
            ("metadata", HeadField::Text { text, .. }) if !text.is_empty() => "expected names with texts".to_owned(),
            ("allowed-tools", HeadField::Map(_)) => "expected the names of tools".to_owned(),
            _ => continue,
        };
        return Err(Mistake { line: *line, problem: format!("{key}: {problem}") });
    }
    Ok(())
}

/// Returns true for a field of the format.
fn is_known(key: &str) -> bool {
    ["name", "description", "license", "compatibility", "metadata", "allowed-tools"].contains(&key)
}

/// Fields that the format does not have, with their lines.
fn unknown(front: &FrontMatter) -> impl Iterator<Item = (usize, &str)> {
    front.0.iter().filter(|(key, ..)| !is_known(key)).map(|(key, line, _)| (*line, key.as_str()))
}

#[cfg(test)]
mod tests;
