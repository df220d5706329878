//! [`Picture`]: what is in a folder, as it is seen without the product.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Every entry by its path: the kind, the permissions of a file, and what is in it.
pub type Picture = BTreeMap<String, String>;

/// What is in `folder`, without the product's own files.
pub fn of(folder: &Path) -> Picture {
    let mut picture = Picture::new();
    add(folder, "", &mut picture);
    picture
}

fn add(folder: &Path, above: &str, picture: &mut Picture) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{above}{}", entry.file_name().to_str().unwrap());
        // What is in the storage comes and goes.
        if path == "perstack" || path == "perstack.toml" {
            continue;
        }
        let metadata = entry.metadata().unwrap();
        let shown = if metadata.is_symlink() {
            format!("link to {}", fs::read_link(entry.path()).unwrap().display())
        } else if metadata.is_dir() {
            add(&entry.path(), &format!("{path}/"), picture);
            "folder".to_owned()
        } else {
            let bytes = fs::read(entry.path()).unwrap();
            let mode = metadata.permissions().mode() & 0o777;
            // Short texts as they are: a difference is to be read.
            match str::from_utf8(&bytes) {
                Ok(text) if text.len() < 100 => format!("file {mode:o} {text:?}"),
                _ => format!("file {mode:o} {:x}", hash(&bytes)),
            }
        };
        picture.insert(path, shown);
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
