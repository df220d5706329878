//! AWS's own files as its library reads them, with each `credential_process` started without keys.
//!
//! The library starts that program with all variables of this process, other vendors' keys among them. So the files are
//! handed to it with the command behind `env -i` and the variables that programs need. Called by `aws`.

use std::fmt::Write as _;

#[expect(deprecated, reason = "the library's setter takes these names, which it has moved elsewhere")]
use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};

use super::command::passed;
use crate::environment::Environment;
use crate::provider::vendor::aws_profile;

/// The key whose value is a command line.
const KEY: &str = "credential_process";

/// The files to use in place of the library's own reading; none if no profile starts a program.
#[expect(deprecated, reason = "as above")]
pub fn without_keys(environment: &Environment) -> Option<ProfileFiles> {
    let texts = aws_profile::files(environment).map(|path| path.and_then(|path| aws_profile::text(&path)));
    if !texts.iter().flatten().any(|text| text.contains(KEY)) {
        return None;
    }
    let kinds = [ProfileFileKind::Config, ProfileFileKind::Credentials];
    let files = kinds.into_iter().zip(texts).fold(ProfileFiles::builder(), |files, (kind, text)| {
        files.with_contents(kind, enclosed(&text.unwrap_or_default(), environment))
    });
    Some(files.build())
}

/// The text of a file with every command line enclosed.
fn enclosed(text: &str, environment: &Environment) -> String {
    let line = |line: &str| match line.split_once('=') {
        Some((key, command)) if key.trim() == KEY && !key.starts_with(['#', ';']) => {
            format!("{key}= {}\n", enclosed_command(without_comment(command).trim(), environment))
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The value without the comment that the library would cut off, as it cannot know of the quotes around the value.
fn without_comment(value: &str) -> &str {
    let starts = [" #", " ;", "\t#", "\t;"].iter().filter_map(|start| value.find(start));
    starts.min().and_then(|end| value.get(..end)).unwrap_or(value)
}

fn enclosed_command(command: &str, environment: &Environment) -> String {
    let mut line = "env -i".to_owned();
    // A value with a comment's sign or a line break would end the command there.
    let is_plain = |value: &str| without_comment(value) == value && !value.contains(['\n', '\r']);
    for (name, value) in passed(environment).filter(|(_, value)| is_plain(value)) {
        // Writing to a String does not fail.
        let _ = write!(line, " {name}={}", quoted(value));
    }
    format!("{line} sh -c {}", quoted(command))
}

/// A word for `sh`.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing::environment;

    #[test]
    fn only_the_command_line_is_enclosed_and_gets_no_key() {
        let environment =
            environment(&[("PATH", "/bin"), ("HOME", "/h"), ("OPENAI_API_KEY", "k"), ("LANG", "x # y"), ("PWD", "/")]);
        let text = "[default]\nregion = a\ncredential_process = get 'it' --for me # theirs\n[x]\n";
        assert_eq!(
            enclosed(text, &environment),
            "[default]\nregion = a\ncredential_process = env -i PATH='/bin' HOME='/h' sh -c 'get '\\''it'\\'' --for me'\n[x]\n"
        );
    }
}
