//! [`Launch`]: the command, arguments and environment of a local server, from the skill's declaration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::McpError;
use crate::environment::Environment;
use crate::expert::SkillSpec;
use crate::skill::contain::{Programs, granted_variables};
use crate::skill::process::child_environment;

/// A server's process, to be started.
#[derive(Clone)]
pub(super) struct Launch {
    pub command: String,
    pub args: Vec<String>,
    /// The safe variables and the required ones, nothing else.
    pub env: BTreeMap<String, String>,
    pub workspace: PathBuf,
    pub programs: Programs,
}

impl Launch {
    /// The process that `spec` declares. Which of its variables are secret is left to the caller.
    ///
    /// # Errors
    /// A required variable without a value, or both a package and arguments.
    pub(super) fn new(
        spec: &SkillSpec,
        workspace: PathBuf,
        environment: &Environment,
        programs: Programs,
    ) -> Result<Self, McpError> {
        let skill = || spec.common().name.clone();
        let access = &spec.common().access;
        let SkillSpec::McpStdioSkill { command, package_name, args, required_env, .. } = spec else {
            return Err(McpError::NoServer { skill: skill() });
        };
        let mut required: Vec<_> = programs.temporary_folder(environment).into_iter().collect();
        for variable in required_env {
            let value = environment
                .for_skill(variable)
                .ok_or_else(|| McpError::MissingVariable { skill: skill(), variable: variable.clone() })?;
            required.push((variable.clone(), value.to_owned()));
        }
        required.extend(granted_variables(&access.grants, environment));
        let mut args = match (package_name, args.is_empty()) {
            (Some(package), true) => vec![package.clone()],
            (Some(_), false) => return Err(McpError::Command { skill: skill() }),
            // The configuration demands arguments; a command in place of the base skill may have none.
            (None, _) => args.clone(),
        };
        // Without a terminal nobody can agree to an installation.
        if command == "npx" && !args.iter().any(|arg| arg == "-y") {
            args.insert(0, "-y".to_owned());
        }
        Ok(Self { command: command.clone(), args, env: child_environment(environment, required), workspace, programs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expert::SkillCommon;
    use crate::hint::ErrorHint as _;

    fn launch(
        command: &str,
        package: Option<&str>,
        args: &[&str],
        required: &[&str],
    ) -> Result<(Vec<String>, Vec<String>), String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let spec = SkillSpec::McpStdioSkill {
            common: SkillCommon { name: "s".to_owned(), ..SkillCommon::default() },
            command: command.to_owned(),
            package_name: package.map(str::to_owned),
            args: words(args),
            required_env: words(required),
            lazy_init: false,
            allowed_domains: None,
        };
        let pairs = [("PATH", "/bin"), ("API_KEY", "k"), ("GIVEN", "g"), ("LD_PRELOAD", "x"), ("EMPTY", "")];
        let environment = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        let launch = Launch::new(&spec, PathBuf::from("/w"), &environment, Programs::default());
        launch.map(|launch| (launch.args, launch.env.into_keys().collect())).map_err(|error| error.with_hint())
    }

    #[test]
    fn a_package_is_run_without_questions() {
        let args = |launched: Result<(Vec<String>, Vec<String>), String>| launched.unwrap().0;
        assert_eq!(args(launch("npx", Some("@org/server"), &[], &[])), ["-y", "@org/server"]);
        assert_eq!(args(launch("npx", None, &["@org/server", "-y"], &[])), ["@org/server", "-y"]);
        assert_eq!(args(launch("uvx", Some("server"), &[], &[])), ["server"]);
        assert_eq!(args(launch("python3", None, &["s.py"], &[])), ["s.py"]);
    }

    #[test]
    fn a_server_sees_the_safe_variables_and_those_it_requires() {
        assert_eq!(launch("x", None, &["a"], &[]).unwrap().1, ["PATH"]);
        assert_eq!(launch("x", None, &["a"], &["GIVEN", "LD_PRELOAD"]).unwrap().1, ["GIVEN", "PATH"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        for missing in ["EMPTY", "NONE"] {
            let expected =
                format!("Skill s requires environment variable {missing}; set it, or put it into an .env file");
            assert_eq!(launch("x", None, &["a"], &["GIVEN", missing]), Err(expected));
        }
        let both = "Skill s has both packageName and args; provide only one of them";
        assert_eq!(launch("x", Some("p"), &["a"], &[]), Err(both.to_owned()));
    }
}
