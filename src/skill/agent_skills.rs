//! [`AgentSkillFiles`]: the tool by which a model reads the instructions and files of its Agent Skills. `runtime/tools` adds
//! it for experts that have such skills; finding and checking them is the configuration's, running their scripts the base
//! skill's.
//!
//! Files are opened beneath a handle on the skill's folder: no path and no link leads out of it, whoever changes it meanwhile.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::output::{DEFAULT_LIMIT, Outputs, bound};
use super::{Skill, SkillError};
use crate::content::Content;
use crate::future::BoxFuture;
use crate::tool::{ToolCall, ToolHints, ToolKind, ToolResult, ToolSpec};

/// The name under which the tool's skill is shown.
pub const AGENT_SKILLS: &str = "@perstack/agent-skills";

/// The tool's name.
pub const READ_SKILL: &str = "readSkillFile";

/// The file that is read where none is named.
const SKILL_FILE: &str = "SKILL.md";

/// Most bytes of a file that is read.
const MOST_BYTES: u64 = 4 << 20;

/// Most files of a skill that are listed behind its instructions.
const MOST_LISTED: usize = 200;

/// A skill whose files can be read.
#[derive(Debug)]
struct OpenSkill {
    name: String,
    folder: PathBuf,
    dir: Arc<Dir>,
}

/// The Agent Skills of one expert.
#[derive(Debug)]
pub struct AgentSkillFiles {
    skills: Vec<OpenSkill>,
    outputs: Arc<Outputs>,
}

impl AgentSkillFiles {
    /// Takes the open folders of these skills, each with its name and path. What is too long for the model is cut by `outputs`.
    ///
    /// # Errors
    /// [`SkillError::RecordedAgentSkill`] for one whose folder was not opened.
    pub fn open(
        skills: Vec<(String, PathBuf, Option<Arc<Dir>>)>,
        outputs: &Arc<Outputs>,
    ) -> Result<Arc<Self>, SkillError> {
        let open = |(name, folder, dir)| match dir {
            Some(dir) => Ok(OpenSkill { name, folder, dir }),
            None => Err(SkillError::RecordedAgentSkill { name }),
        };
        let skills = skills.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(Self { skills, outputs: Arc::clone(outputs) }))
    }

    /// The answer to a call with these arguments; a failure in words for the model.
    fn read(&self, args: &Map<String, Value>) -> Result<String, String> {
        let name = args.get("skill").and_then(Value::as_str).ok_or("skill: expected the name of a skill")?;
        let skill = self.skills.iter().find(|skill| skill.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.skills.iter().map(|skill| skill.name.as_str()).collect();
            format!("there is no skill {name:?}; there are: {}", names.join(", "))
        })?;
        let path = match args.get("path") {
            None | Some(Value::Null) => SKILL_FILE,
            Some(path) => {
                path.as_str().filter(|path| !path.is_empty()).ok_or("path: expected a path in the skill's folder")?
            }
        };
        let line = |key: &str| match args.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(number) => {
                let number = number.as_u64().ok_or_else(|| format!("{key}: expected the number of a line, from 0"))?;
                Ok::<_, String>(usize::try_from(number).ok())
            }
        };
        let (from, to) = (line("from")?, line("to")?);
        let text = skill.text(path)?;
        let lines: Vec<&str> = text.split('\n').collect();
        let end = to.unwrap_or(lines.len()).min(lines.len());
        let chosen = lines.get(from.unwrap_or(0).min(end)..end).unwrap_or_default().join("\n");
        let limit = self.outputs.limit().min(DEFAULT_LIMIT);
        let mut text =
            bound(chosen, limit, "line 0 is the first of those asked for; read fewer at once by from and to");
        if path == SKILL_FILE && from.is_none() {
            text.push_str(&skill.listing());
        }
        Ok(text)
    }
}

impl OpenSkill {
    /// The text of a file.
    fn text(&self, path: &str) -> Result<String, String> {
        let refused = |why: &str| format!("{path} of skill {}: {why}", self.name);
        // An absolute path may be one that the listing has shown.
        let inside = Path::new(path).strip_prefix(&self.folder).unwrap_or(Path::new(path));
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        cap_std::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = self.dir.open_with(inside, &options).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => refused("there is no such file"),
            std::io::ErrorKind::PermissionDenied => refused("it is outside of the skill's folder, or may not be read"),
            _ => refused(&error.to_string()),
        })?;
        let metadata = file.metadata().map_err(|error| refused(&error.to_string()))?;
        if metadata.is_dir() {
            return Err(refused("it is a folder; the files are listed behind SKILL.md"));
        }
        if !metadata.is_file() {
            return Err(refused("it is no regular file"));
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| refused(&error.to_string()))?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(refused("it is larger than 4 MiB"));
        }
        String::from_utf8(bytes).map_err(|_| refused("it is no UTF-8 text"))
    }

    /// The skill's folder and its other files, for whoever has read its instructions.
    fn listing(&self) -> String {
        let mut files = Vec::new();
        let mut open = vec![PathBuf::new()];
        while let Some(inner) = open.pop() {
            let place = if inner.as_os_str().is_empty() { Path::new(".") } else { &inner };
            for entry in self.dir.read_dir(place).into_iter().flatten().filter_map(Result::ok) {
                let path = inner.join(entry.file_name());
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(path),
                    Ok(_) if path != Path::new(SKILL_FILE) => files.push(path),
                    _ => {}
                }
                if files.len() + open.len() > MOST_LISTED * 10 {
                    open.clear();
                    break;
                }
            }
        }
        files.sort();
        let mut text = format!("\n\n[This skill's folder is {}.", self.folder.display());
        if !files.is_empty() {
            let listed: Vec<String> = files.iter().take(MOST_LISTED).map(|path| path.display().to_string()).collect();
            let _ = write!(text, " Its other files: {}", listed.join(", "));
            if files.len() > MOST_LISTED {
                let _ = write!(text, " and {} more", files.len() - MOST_LISTED);
            }
            text.push('.');
        }
        text.push(']');
        text
    }
}

impl Skill for AgentSkillFiles {
    fn name(&self) -> &str {
        AGENT_SKILLS
    }

    fn tools(&self) -> Vec<ToolSpec> {
        let names: Vec<&str> = self.skills.iter().map(|skill| skill.name.as_str()).collect();
        vec![tool(&names)]
    }

    fn tools_revision(&self) -> u64 {
        0
    }

    fn call(self: Arc<Self>, call: ToolCall, cancel: CancellationToken) -> BoxFuture<'static, ToolResult> {
        Box::pin(async move {
            if cancel.is_cancelled() {
                return ToolResult::error(&call, "The call was cancelled before it began.".to_owned());
            }
            let args = call.args.clone();
            let read = tokio::task::spawn_blocking(move || self.read(&args)).await;
            match read {
                Ok(Ok(text)) => ToolResult::new(&call, vec![Content::text(text)]),
                Ok(Err(why)) => ToolResult::error(&call, format!("Error calling tool {READ_SKILL}: {why}")),
                Err(_) => ToolResult::error(&call, "The tool ended unexpectedly".to_owned()),
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// The tool by which the skills of these names are read.
pub fn tool(names: &[&str]) -> ToolSpec {
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "skill": { "type": "string", "enum": names, "description": "The skill's name." },
            "path": { "type": "string", "description": "The file, from the skill's folder; SKILL.md when left out." },
            "from": { "type": "integer", "minimum": 0, "description": "First line; 0 when left out." },
            "to": { "type": "integer", "minimum": 0, "description": "Line to stop before; the end when left out." },
        },
        "required": ["skill"],
    });
    let description = "Read a skill: its instructions (SKILL.md) with the list of its files, or one of those files. Long \
                       content is shortened in the middle.";
    ToolSpec {
        skill_name: AGENT_SKILLS.to_owned(),
        name: READ_SKILL.to_owned(),
        description: Some(description.to_owned()),
        input_schema: schema.as_object().cloned().unwrap_or_default().into(),
        kind: ToolKind::Mcp,
        hints: ToolHints { read_only: true, idempotent: true, destructive: false, open_world: false },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(skills: &AgentSkillFiles, args: &Value) -> Result<String, String> {
        skills.read(args.as_object().unwrap())
    }

    #[test]
    fn bodies_and_files_are_read_and_nothing_outside() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().canonicalize().unwrap().join("owls");
        fs::create_dir_all(folder.join("references")).unwrap();
        fs::write(folder.join("SKILL.md"), "---\nname: owls\n---\nCount.\n").unwrap();
        fs::write(folder.join("references/kinds.md"), "barn\ntawny\nsnowy\n").unwrap();
        fs::write(folder.join("owl.png"), b"\x89PNG\xff").unwrap();
        fs::write(top.path().join("secret"), "Secret.").unwrap();
        let outputs = Outputs::new(10_000);
        let dir = Dir::open_ambient_dir(&folder, cap_std::ambient_authority()).unwrap();
        let skills =
            AgentSkillFiles::open(vec![("owls".to_owned(), folder.clone(), Some(Arc::new(dir)))], &outputs).unwrap();
        let body = read(&skills, &json!({"skill": "owls"})).unwrap();
        assert!(body.contains("Count.\n") && body.contains("references/kinds.md"), "{body}");
        assert!(body.contains(&folder.display().to_string()), "{body}");
        let lines = read(&skills, &json!({"skill": "owls", "path": "references/kinds.md", "from": 1, "to": 2}));
        assert_eq!(lines.as_deref(), Ok("tawny"));
        let whole = folder.join("references/kinds.md");
        assert!(read(&skills, &json!({"skill": "owls", "path": whole})).unwrap().starts_with("barn\n"));
        let outside = top.path().join("secret");
        for (args, expected) in [
            (json!({"skill": "owls", "path": "../secret"}), "outside of the skill's folder"),
            (json!({"skill": "owls", "path": outside}), "outside of the skill's folder"),
            (json!({"skill": "owls", "path": "none"}), "there is no such file"),
            (json!({"skill": "owls", "path": "references"}), "it is a folder"),
            (json!({"skill": "owls", "path": "owl.png"}), "it is no UTF-8 text"),
            (json!({"skill": "owls", "from": -1}), "from: expected the number of a line"),
            (json!({"skill": "mice"}), "there is no skill \"mice\"; there are: owls"),
            (json!({}), "skill: expected the name of a skill"),
        ] {
            let refused = read(&skills, &args).unwrap_err();
            assert!(refused.contains(expected), "{args}: {refused}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("../secret", folder.join("link")).unwrap();
            assert!(read(&skills, &json!({"skill": "owls", "path": "link"})).is_err());
        }
    }

    #[test]
    fn a_skill_of_a_recording_is_named_where_its_files_are_wanted() {
        let outputs = Outputs::new(1000);
        let opened = AgentSkillFiles::open(vec![("owls".to_owned(), PathBuf::new(), None)], &outputs);
        let error = opened.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("\"owls\""), "{error}");
    }
}
