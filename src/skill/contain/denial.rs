//! The reason why a contained program failed, guessed from what it printed: the path that it was refused, and the line of
//! the configuration that would allow it. A hint for the model and its user; nothing is decided by it.

use std::path::Path;

use super::Containment;
use super::rule::{FileAccess, real, writable};
use crate::skill::lexical_path::without_dots;

/// Texts of programs that were refused a file: the C library's, Node's, Rust's, Go's.
const REFUSALS: [&str; 4] = ["permission denied", "eacces", "operation not permitted", "eperm"];

/// Texts of programs that do not work contained, each with the reason.
const UNFIT: [(&str, &str); 5] = [
    ("no new privileges", "programs gain no privileges here, so that sudo and its like do not work"),
    ("Permission denied (publickey", "keys and agent of SSH are out of reach; to allow them, add grants = [\"ssh\"]"),
    ("No usable sandbox", "a browser cannot make its own sandbox here; start it with --no-sandbox"),
    ("ping: socket", "sockets are TCP and UDP alone, so that ping does not work"),
    ("docker daemon socket", "the socket of Docker is out of reach; to allow it, add grants = [\"docker\"]"),
];

/// Most bytes of a program's output that are looked at, from its end.
const MAX_LOOKED_AT: usize = 64 << 10;

impl Containment {
    /// A line on why the program that printed `output` may have failed; none if nothing points to its containment. `cwd`
    /// is its working folder.
    pub fn reason(&self, output: &str, cwd: &Path) -> Option<String> {
        let start = output.len().saturating_sub(MAX_LOOKED_AT);
        let output = output.get(start..).or_else(|| output.get(output.ceil_char_boundary(start)..))?;
        let unfit = UNFIT.iter().find(|(text, _)| output.contains(text));
        if let Some((_, reason)) = unfit {
            return Some(format!("contained: {reason} ({})", self.place()));
        }
        let mut lines = output.lines().filter(|line| {
            let line = line.to_lowercase();
            REFUSALS.iter().any(|refusal| line.contains(refusal))
        });
        lines.find_map(|line| paths(line).into_iter().find_map(|path| self.refusal_of(&cwd.join(path))))
    }

    /// The line for a program that could not be started for want of permission.
    pub fn reason_for_program(&self, program: &str, cwd: &Path) -> Option<String> {
        program.contains('/').then(|| self.refusal_of(&cwd.join(program)))?
    }

    /// The line for a path that is out of reach; none for one within it.
    fn refusal_of(&self, path: &Path) -> Option<String> {
        let path = without_dots(path);
        let real = real(&path);
        if self.rule(&real, FileAccess::Change).is_some() {
            return None;
        }
        let shown = self.shown(&real);
        if self.rule(&real, FileAccess::Read).is_some() {
            return Some(format!(
                "contained: {shown} can be read here, not changed; to allow it, add writes = [\"{}\"] ({})",
                self.shown(writable(&real)),
                self.place()
            ));
        }
        let line = match self.granted_by(&path, &real) {
            Some(grant) => format!("grants = [\"{}\"]", grant.as_str()),
            None => format!("reads = [\"{shown}\"] or writes = [\"{shown}\"]"),
        };
        Some(format!("contained: {shown} is out of reach here; to allow it, add {line} ({})", self.place()))
    }

    /// The place of such a line.
    fn place(&self) -> String {
        format!("skill {} in perstack.toml", self.skill)
    }
}

/// The parts of a line that look like paths: words with a slash, without the signs that programs put around them.
fn paths(line: &str) -> Vec<&str> {
    let is_sign = |c: char| c.is_whitespace() || "'\"`‘’“”:,;()[]<>=".contains(c);
    let words = line.split(is_sign).map(|word| word.trim_end_matches('.'));
    words.filter(|word| word.contains('/') && *word != "/").collect()
}

#[cfg(test)]
mod tests {
    use super::super::{PathRule, ProgramPlace, WorkspaceTooWide};
    use super::*;
    use crate::environment::Environment;
    use crate::expert::SkillAccess;

    fn contained(skill: &str, workspace: &Path, environment: &Environment) -> Result<Containment, WorkspaceTooWide> {
        Containment::new(
            skill,
            ProgramPlace {
                workspace,
                root: workspace,
                storage: Path::new("none"),
                environment,
                words: &[],
                is_watched: true,
            },
            &SkillAccess::default(),
        )
    }

    fn containment(folder: &Path) -> Containment {
        for path in ["home/.ssh", "home/.kube", "home/docs", "home/go", "work"] {
            std::fs::create_dir_all(folder.join(path)).unwrap();
        }
        let pairs = [("HOME", folder.join("home").display().to_string()), ("PATH", "/usr/bin".to_owned())];
        let environment = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        contained("@perstack/base", &folder.join("work"), &environment).unwrap()
    }

    /// A folder outside of the temporary ones, which are within reach.
    fn folder() -> tempfile::TempDir {
        tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/target").unwrap()
    }

    #[test]
    fn the_line_to_add_is_named_for_what_is_out_of_reach() {
        let folder = folder();
        let containment = containment(folder.path());
        let reason = |text: &str| {
            let text = text.replace("HOME", folder.path().join("home").to_str().unwrap());
            containment.reason(&text, &folder.path().join("work"))
        };
        let place = "(skill @perstack/base in perstack.toml)";
        let expected = [
            (
                "cat: HOME/docs/a.txt: Permission denied",
                format!(
                    "contained: ~/docs/a.txt is out of reach here; to allow it, add reads = [\"~/docs/a.txt\"] or writes = \
                     [\"~/docs/a.txt\"] {place}"
                ),
            ),
            (
                "x\nError: EACCES: permission denied, open 'HOME/.kube/config'\n  at main",
                format!("contained: ~/.kube/config is out of reach here; to allow it, add grants = [\"kube\"] {place}"),
            ),
            (
                "PermissionError: [Errno 13] Permission denied: '../home/.ssh/id'",
                format!("contained: ~/.ssh/id is out of reach here; to allow it, add grants = [\"ssh\"] {place}"),
            ),
            (
                "touch: cannot touch 'HOME/go/x': Permission denied",
                format!(
                    "contained: ~/go/x can be read here, not changed; to allow it, add writes = [\"~/go\"] {place}"
                ),
            ),
        ];
        for (text, line) in expected {
            assert_eq!(reason(text), Some(line), "{text}");
        }
        for text in ["cat: ./a: Permission denied", "cat: /tmp/x: Permission denied", "a/b: No such file", "EACCES", ""]
        {
            assert_eq!(reason(text), None, "{text}");
        }
    }

    #[test]
    fn the_system_is_asked_for_its_folders_when_they_matter() {
        let folder = folder();
        let containment = containment(folder.path());
        let workspace = folder.path().join("work");
        assert_eq!(containment.rule(&workspace, FileAccess::Read), Some(PathRule::Workspace));
        assert_eq!(containment.system_reads.get(), None);
        assert_eq!(containment.rule(Path::new("/usr/share"), FileAccess::Read), Some(PathRule::System));
        assert_eq!(containment.rule(Path::new("/usr/share"), FileAccess::Change), None);
        assert_eq!(containment.rule(&folder.path().join("home/docs"), FileAccess::Read), None);
        assert!(containment.system_reads.get().is_some());
    }

    #[test]
    fn a_workspace_with_the_home_folder_in_it_is_too_wide() {
        let folder = folder();
        drop(containment(folder.path()));
        let home = folder.path().join("home");
        let environment = [("HOME".to_owned(), home.display().to_string())].into_iter().collect::<Environment>();
        for workspace in [&*home, folder.path(), Path::new("/")] {
            assert!(contained("s", workspace, &environment).is_err());
        }
        assert!(contained("s", &home.join("docs"), &environment).is_ok());
    }
}
