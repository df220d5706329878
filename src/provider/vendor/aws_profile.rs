//! [`region`]: the region of the profile in use, from AWS's own files. Called when no setting or variable names one.
//!
//! Format: <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>. Credentials in
//! them are left to AWS's library.

use std::path::{Path, PathBuf};

use crate::environment::Environment;

/// Most bytes of a file that are read; a profile has some hundred.
const FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// The region of the profile that `AWS_PROFILE` names, or of the default one.
pub fn region(environment: &Environment) -> Option<String> {
    let profile = environment.get("AWS_PROFILE").unwrap_or("default");
    files(environment).into_iter().flatten().find_map(|path| region_of(&text(&path)?, profile))
}

/// The paths of AWS's configuration and credentials.
pub fn files(environment: &Environment) -> [Option<PathBuf>; 2] {
    let home = environment.get("HOME").or_else(|| environment.get("USERPROFILE")).map(PathBuf::from);
    let file = |variable: &str, name: &str| {
        let of_home = || home.as_deref().map(|home| home.join(".aws").join(name));
        environment.get(variable).map(|path| expanded(path, home.as_deref())).or_else(of_home)
    };
    [file("AWS_CONFIG_FILE", "config"), file("AWS_SHARED_CREDENTIALS_FILE", "credentials")]
}

/// The text of a regular file of a sensible size.
pub fn text(path: &Path) -> Option<String> {
    let is_sound = std::fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() <= FILE_LIMIT);
    is_sound.then(|| std::fs::read_to_string(path).ok())?
}

fn expanded(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

fn region_of(text: &str, profile: &str) -> Option<String> {
    let mut is_ours = false;
    for line in text.lines() {
        // Nested values are indented.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let name = name.trim();
            is_ours = name == profile || name.strip_prefix("profile").is_some_and(|rest| rest.trim() == profile);
        } else if is_ours
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "region"
            && !value.trim().is_empty()
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing::environment;

    const FILE: &str = "[default]\noutput = json\nregion = eu-west-1\n\n[profile owls]\n# region = no\nregion=us-west-2\n\
                        [profile bare]\ns3 =\n  region = nested\n[sso-session owls2]\nregion = x\n";

    #[test]
    fn the_region_is_that_of_the_profile() {
        assert_eq!(region_of(FILE, "default").as_deref(), Some("eu-west-1"));
        assert_eq!(region_of(FILE, "owls").as_deref(), Some("us-west-2"));
        assert_eq!(region_of(FILE, "bare"), None);
        assert_eq!(region_of(FILE, "missing"), None);
    }

    #[test]
    fn variables_name_the_files() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/config"), FILE).unwrap();
        std::fs::write(home.path().join("other"), "[default]\nregion = sa-east-1\n").unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(region(&environment(&[("HOME", home)])).as_deref(), Some("eu-west-1"));
        assert_eq!(region(&environment(&[("HOME", home), ("AWS_PROFILE", "owls")])).as_deref(), Some("us-west-2"));
        let elsewhere = [("HOME", home), ("AWS_CONFIG_FILE", "~/other")];
        assert_eq!(region(&environment(&elsewhere)).as_deref(), Some("sa-east-1"));
        assert_eq!(region(&environment(&[])), None);
    }
}
