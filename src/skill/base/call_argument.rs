//! [`call_argument`]: the part of a call of a base tool that permissions look at, read as the tool itself reads it.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::{arguments, tools};
use crate::permission::{CallArgument, CallPath, ProgramCall};
use crate::skill::lexical_path::without_dots;
use crate::tool::{BASE_SKILL, ToolCall, ToolSpec};

/// The names of arguments that hold paths.
const PATHS: [&str; 3] = ["path", "source", "destination"];

/// The tools, made once: it is asked for each call.
static TOOLS: LazyLock<Vec<ToolSpec>> = LazyLock::new(|| tools::running(BASE_SKILL));

/// Reads the program or the paths of a call of the base tool `tool`. `home` is the folder that `~` means.
pub fn call_argument(tool: &str, call: &ToolCall, workspace: &Path, home: Option<&str>) -> CallArgument {
    let Some(spec) = TOOLS.iter().find(|spec| spec.name == tool) else {
        return CallArgument::None;
    };
    let Ok(args) = arguments::read::<Map<String, Value>>(&spec.input_schema, &call.args) else {
        return CallArgument::Unreadable;
    };
    let text = |name: &str| args.get(name).and_then(Value::as_str);
    if tool == "exec" {
        let words = args.get("args").and_then(Value::as_array).into_iter().flatten();
        let words: Vec<String> = words.filter_map(Value::as_str).map(str::to_owned).collect();
        let sets_variables = args.get("env").and_then(Value::as_object).is_some_and(|env| !env.is_empty());
        let is_elsewhere = text("cwd").is_some_and(|cwd| without_dots(Path::new(cwd)) != Path::new(""));
        return match text("command") {
            Some(program) => CallArgument::Program(ProgramCall::new(program, &words, sets_variables, is_elsewhere)),
            None => CallArgument::Unreadable,
        };
    }
    let has_path =
        |name: &&'static str| spec.input_schema.get("properties").is_some_and(|all| all.get(*name).is_some());
    let named: Vec<&str> = PATHS.into_iter().filter(has_path).map(|name| text(name).unwrap_or(".")).collect();
    if named.is_empty() {
        return CallArgument::None;
    }
    let given = without_dots(&std::path::absolute(workspace).unwrap_or_else(|_| workspace.to_owned()));
    let real = workspace.canonicalize().unwrap_or_else(|_| given.clone());
    let paths = named.into_iter().map(|path| {
        let expanded = match path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            Some(rest) => Path::new(home.unwrap_or("/")).join(rest.trim_start_matches('/')),
            None => PathBuf::from(path),
        };
        let written = without_dots(&real.join(expanded));
        CallPath { real: without_links(&written), written, roots: [real.clone(), given.clone()] }
    });
    CallArgument::Paths { paths: paths.collect(), is_tree: matches!(tool, "deleteDirectory" | "moveFile") }
}

/// The path without links, as far as it exists.
fn without_links(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let Ok(real) = ancestor.canonicalize() {
            let rest = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn argument(tool: &str, args: &Value, workspace: &Path) -> CallArgument {
        let args = args.as_object().cloned().unwrap();
        let call = ToolCall { id: "c".into(), skill_name: BASE_SKILL.into(), tool_name: tool.into(), args };
        call_argument(tool, &call, workspace, Some("/home/owl"))
    }

    #[test]
    fn a_program_is_read_as_exec_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let read = |args| argument("exec", &args, folder.path());
        let plain = CallArgument::Program(ProgramCall::new("git", &["status".to_owned()], false, false));
        assert_eq!(read(json!({"command": "git", "args": ["status"]})), plain);
        assert_eq!(read(json!({"command": "git", "args": "[\"status\"]", "env": {}, "cwd": "./"})), plain);
        assert_ne!(read(json!({"command": "git", "args": ["status"], "env": {"PATH": "/tmp"}})), plain);
        assert_ne!(read(json!({"command": "git", "args": ["status"], "cwd": "src"})), plain);
        assert_eq!(read(json!({"command": ["git"]})), CallArgument::Unreadable);
        assert_eq!(argument("healthCheck", &json!({}), folder.path()), CallArgument::None);
    }

    #[cfg(unix)]
    #[test]
    fn a_path_is_read_with_and_without_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("src")).unwrap();
        std::fs::create_dir(root.join("keys")).unwrap();
        std::os::unix::fs::symlink(root.join("keys"), root.join("src/link")).unwrap();
        let CallArgument::Paths { paths, is_tree } =
            argument("writeTextFile", &json!({"path": "src/../src/link/new.txt", "text": ""}), &root)
        else {
            panic!()
        };
        assert!(!is_tree);
        assert_eq!(paths[0].written, root.join("src/link/new.txt"));
        assert_eq!(paths[0].real, root.join("keys/new.txt"));
        let CallArgument::Paths { paths, is_tree: true } =
            argument("moveFile", &json!({"source": "a", "destination": "~/b"}), &root)
        else {
            panic!()
        };
        assert_eq!(
            paths.iter().map(|path| path.written.clone()).collect::<Vec<_>>(),
            [root.join("a"), PathBuf::from("/home/owl/b")]
        );
    }
}
