//! [`without_dots`]: paths cleaned by their text alone. `base` and `contain` use it where the disk is not to be asked.

use std::path::{Component, Path, PathBuf};

/// Takes `.` and `..` out of an absolute path.
pub fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}
