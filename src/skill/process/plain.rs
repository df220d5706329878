//! Children on systems without process groups: the child alone is killed, when dropped.

use super::{Child, Command, Cwd, SkillError, io};

#[derive(Debug)]
pub(super) struct Group;

impl Group {
    pub(super) async fn leader_ended(&mut self, child: &mut tokio::process::Child) -> io::Result<()> {
        child.wait().await.map(drop)
    }

    pub(super) fn ask_to_end(&self) {}

    pub(super) fn kill(&mut self) {}
}

pub(super) async fn start(mut command: Command, cwd: Cwd, program: String) -> Result<Child, SkillError> {
    match cwd {
        Cwd::Path(path) => drop(command.current_dir(path)),
        Cwd::Handle(_) => {
            let source = io::Error::other("starting in an open directory is for unix only");
            return Err(SkillError::Spawn { program, source });
        }
    }
    let mut inner = command.spawn().map_err(|source| SkillError::Spawn { program, source })?;
    Ok(Child {
        stdin: inner.stdin.take(),
        stdout: inner.stdout.take(),
        stderr: inner.stderr.take(),
        group: Group,
        inner,
    })
}
