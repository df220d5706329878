//! The files of a server's own command that it may read: its program, its script, and the packages that these are installed
//! among. Called where a containment is made.

use std::path::{Path, PathBuf};

use super::home::Home;

/// Folders of installed packages, which read each other.
const PACKAGE_FOLDERS: [&str; 3] = ["node_modules", "site-packages", "dist-packages"];

/// The parts of a virtual environment of Python.
const ENVIRONMENT_PARTS: [&str; 6] = ["pyvenv.cfg", "bin", "include", "lib", "lib64", "share"];

/// The files among the words of a command, with the folders that they are in: a program is read by itself, and finds its
/// parts beside it. A folder that has more in it (the home folder, one of its hidden ones) is not given.
pub(super) fn own_files(words: &[String], home: Option<&Home>) -> Vec<PathBuf> {
    let mut own = Vec::new();
    for word in words.iter().map(Path::new).filter(|word| word.is_absolute()) {
        let Ok(real) = word.canonicalize() else { continue };
        if !real.is_file() {
            continue;
        }
        let is_wide = |folder: &&Path| folder.parent().is_none() || home.is_some_and(|home| home.is_private(folder));
        own.extend(real.parent().filter(|folder| !is_wide(folder)).map(Path::to_owned));
        own.extend(package_folder(&real));
        // The program of such an environment is a link to one of the system's.
        let environment = word.parent().and_then(Path::parent).filter(|above| above.join("pyvenv.cfg").is_file());
        own.extend(environment.into_iter().flat_map(|above| ENVIRONMENT_PARTS.map(|part| above.join(part))));
        own.push(real);
    }
    own
}

/// The outermost folder of packages that `file` is in.
fn package_folder(file: &Path) -> Option<PathBuf> {
    let is_of_packages = |folder: &&Path| PACKAGE_FOLDERS.iter().any(|name| folder.ends_with(name));
    file.ancestors().filter(is_of_packages).last().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn packages_and_environments_are_given_and_not_what_is_around_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for file in
            ["app/node_modules/s/dist/i.js", "app/node_modules/s/node_modules/t/i.js", "venv/pyvenv.cfg", "venv/bin/s"]
        {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), "").unwrap();
        }
        let own = |file: &str| own_files(&["node".to_owned(), root.join(file).display().to_string()], None);
        let path = |path: &str| root.join(path);
        let expected =
            [path("app/node_modules/s/dist"), path("app/node_modules"), path("app/node_modules/s/dist/i.js")];
        assert_eq!(own("app/node_modules/s/dist/i.js"), expected);
        assert!(own("app/node_modules/s/node_modules/t/i.js").contains(&path("app/node_modules")));
        let given = own("venv/bin/s");
        assert!(given.contains(&path("venv/lib")) && !given.contains(&path("venv")), "{given:?}");
    }
}
