//! [`output`]: the output of a program that prints a token, a cloud's own command line.
//!
//! Called by `entra`. The program sees no key and ends, with everything it started, at its time limit.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::error::AuthError;
use crate::environment::Environment;

/// Most bytes read of each stream; a token has a few kilobytes.
const OUTPUT_LIMIT: u64 = 256 * 1024;
/// The variables that such a program sees: folders and the way to the network, never a key.
const PASSED: [&str; 37] = [
    "PATH",
    "HOME",
    "USERPROFILE",
    "HOMEDRIVE",
    "HOMEPATH",
    "APPDATA",
    "LOCALAPPDATA",
    "SYSTEMROOT",
    "COMSPEC",
    "PATHEXT",
    "TMPDIR",
    "TEMP",
    "TMP",
    "LANG",
    "LC_ALL",
    "AZURE_CONFIG_DIR",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    // Where helpers keep a login, and the agents that unlock it.
    "USER",
    "LOGNAME",
    "SHELL",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSH_AUTH_SOCK",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CA_BUNDLE",
];

/// The variables of the user's own that such a program gets.
pub fn passed(environment: &Environment) -> impl Iterator<Item = (&'static str, &str)> {
    PASSED.into_iter().filter_map(|name| Some((name, environment.users(name)?)))
}

/// Returns the standard output of `program`; `None` when there is no such program.
///
/// # Errors
/// When it fails, with the last line of its error output, or takes longer than `limit`.
pub async fn output(
    program: &str,
    arguments: &[&str],
    environment: &Environment,
    limit: Duration,
) -> Result<Option<String>, AuthError> {
    let name = format!("the command {program}");
    let mut command = Command::new(program);
    command.args(arguments).env_clear().kill_on_drop(true);
    command.envs(passed(environment));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    command.process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(AuthError::unusable(name, &error)),
    };
    let mut group = Group::new(&child);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let run = async { tokio::join!(text(out), text(err), child.wait()) };
    let Ok((out, err, status)) = timeout(limit, run).await else {
        return Err(AuthError::TooSlow { what: name, seconds: limit.as_secs() });
    };
    group.has_ended();
    match status {
        Ok(status) if status.success() => Ok(Some(out)),
        Ok(_) => Err(AuthError::unusable(name, err.trim().lines().last().unwrap_or("it failed without a message"))),
        Err(error) => Err(AuthError::unusable(name, &error)),
    }
}

async fn text(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // The bytes that arrived count; a broken pipe shows in the status.
        let _ = stream.take(OUTPUT_LIMIT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The program's process group; dropping this ends it, unless the program has ended already.
struct Group {
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
}

impl Group {
    #[cfg(unix)]
    fn new(child: &tokio::process::Child) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        Self { leader }
    }

    #[cfg(not(unix))]
    fn new(_child: &tokio::process::Child) -> Self {
        Self {}
    }

    /// Forgets the group, whose number the system may give to another from now on.
    #[cfg_attr(not(unix), expect(clippy::unused_self, reason = "there are no groups to forget"))]
    fn has_ended(&mut self) {
        #[cfg(unix)]
        {
            self.leader = None;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.leader {
            // Fails when no process is left, which is the aim.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::provider::testing::environment;

    const AMPLE: Duration = Duration::from_mins(1);

    async fn shell(script: &str, limit: Duration) -> Result<Option<String>, AuthError> {
        let environment = environment(&[("PATH", "/usr/bin:/bin"), ("OWL_API_KEY", "secret")]);
        output("/bin/sh", &["-c", script], &environment, limit).await
    }

    #[tokio::test]
    async fn a_programs_output_is_read_and_it_sees_no_key() {
        let output = shell("echo token; test -z \"$OWL_API_KEY\"", AMPLE).await;
        assert_eq!(output, Ok(Some("token\n".to_owned())));
    }

    #[tokio::test]
    async fn a_failure_shows_the_last_line() {
        let error = shell("echo first >&2; echo 'Please log in.' >&2; exit 1", AMPLE).await.unwrap_err();
        assert_eq!(error.to_string(), "the command /bin/sh cannot be used: Please log in.");
    }

    #[tokio::test]
    async fn a_missing_program_is_none_and_a_slow_one_ends() {
        assert_eq!(output("/no/such/program", &[], &Environment::default(), AMPLE).await, Ok(None));
        let slow = shell("sleep 600", Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(slow, AuthError::TooSlow { .. }), "{slow}");
    }
}
