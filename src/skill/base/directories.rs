//! Directories: list, create, delete.

use std::io;

use cap_std::fs::Metadata;
use serde::Deserialize;
use serde_json::{Value, json};

use super::describe;
use super::failure::FileFailure;
use super::workspace::{LastLink, Workspace, WorkspacePath, is_protected, is_writable};

/// Most entries listed at once: about 100 bytes each, so that a listing keeps to the limit of other tools' outputs.
const MAX_ENTRIES: usize = 1_000;

/// `listDirectory`, `createDirectory`.
#[derive(Debug, Deserialize)]
pub(super) struct DirectoryArgs {
    /// Required of all but `listDirectory`, by their schemas.
    #[serde(default = "here")]
    path: String,
}

fn here() -> String {
    ".".to_owned()
}

/// `deleteDirectory`.
#[derive(Debug, Deserialize)]
pub(super) struct DeleteArgs {
    path: String,
    recursive: Option<bool>,
}

/// Lists a directory by name, without the runner's own. Of more than [`MAX_ENTRIES`], `omitted` counts the rest.
pub(super) fn list(workspace: &Workspace, args: &DirectoryArgs) -> Result<Value, FileFailure> {
    let place = workspace.resolve(&args.path, LastLink::Follow)?;
    let metadata = place.metadata().ok_or_else(|| FileFailure::NoDirectory(args.path.clone()))?;
    if !metadata.is_dir() {
        return Err(FileFailure::NotDirectory(args.path.clone()));
    }
    let failed = || FileFailure::io("list", &args.path);
    let folder = place.open_folder().map_err(failed())?;
    let mut names = Vec::new();
    for entry in folder.entries().map_err(failed())? {
        names.push(entry.map_err(failed())?.file_name());
    }
    names.retain(|name| !place.is_workspace() || !is_protected(name));
    // The original's order, JavaScript's: by UTF-16 code units.
    names.sort_by_cached_key(|name| name.to_string_lossy().encode_utf16().collect::<Vec<_>>());
    let mut items = Vec::new();
    let mut omitted = 0_usize;
    for name in names {
        if items.len() == MAX_ENTRIES {
            omitted += 1;
            continue;
        }
        let inside = place.absolute().join(&name);
        // Links to the protected directory are hidden like itself; an entry that went away since is left out.
        let target = match workspace.resolve(&inside.to_string_lossy(), LastLink::Follow) {
            Err(FileFailure::Protected) => continue,
            other => other.ok().and_then(|target| target.metadata().cloned()),
        };
        let Some(metadata) = target.or_else(|| folder.symlink_metadata(&name).ok()) else { continue };
        items.push(item(&name.to_string_lossy(), &metadata));
    }
    let mut listing = json!({ "path": args.path, "items": items });
    if let (true, Some(listing)) = (omitted > 0, listing.as_object_mut()) {
        listing.insert("omitted".to_owned(), json!(omitted));
    }
    Ok(listing)
}

/// Creates one directory; its parent must exist.
pub(super) fn create(workspace: &Workspace, args: &DirectoryArgs) -> Result<Value, FileFailure> {
    let place = workspace.resolve_to_change(&args.path, LastLink::Follow)?;
    let exists = || FileFailure::DirectoryExists(args.path.clone());
    if place.metadata().is_some() {
        return Err(exists());
    }
    if place.is_through_link() {
        return Err(FileFailure::IsLink);
    }
    check_parent(&place, &args.path)?;
    match place.folder().create_dir(place.name()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists()),
        outcome => outcome.map_err(FileFailure::io("create", &args.path)),
    }?;
    Ok(json!({ "path": args.path }))
}

/// Deletes an empty directory, or with `recursive` all that is in it. Links in it are deleted, not followed.
pub(super) fn delete(workspace: &Workspace, args: &DeleteArgs) -> Result<Value, FileFailure> {
    workspace.resolve(&args.path, LastLink::Follow)?;
    let place = workspace.resolve_to_change(&args.path, LastLink::Keep)?;
    let metadata = place.metadata().ok_or_else(|| FileFailure::NoDirectory(args.path.clone()))?;
    if place.is_workspace() {
        return Err(FileFailure::IsWorkspace(args.path.clone()));
    }
    if !metadata.is_dir() {
        return Err(FileFailure::DeletesFile(args.path.clone()));
    }
    if !is_writable(metadata) {
        return Err(FileFailure::DirectoryNotWritable(args.path.clone()));
    }
    if args.recursive.unwrap_or(false) {
        place.folder().remove_dir_all(place.name()).map_err(FileFailure::io("delete", &args.path))?;
    } else {
        place.folder().remove_dir(place.name()).map_err(FileFailure::io("delete", &args.path))?;
    }
    Ok(json!({ "path": args.path }))
}

fn check_parent(place: &WorkspacePath, path: &str) -> Result<(), FileFailure> {
    let parent = place.folder().dir_metadata().map_err(FileFailure::io("look at the parent of", path))?;
    if is_writable(&parent) { Ok(()) } else { Err(FileFailure::ParentNotWritable(place.parent())) }
}

fn item(name: &str, metadata: &Metadata) -> Value {
    json!({
        "name": name,
        "path": name,
        "type": describe::kind(metadata),
        "size": metadata.len(),
        "modified": describe::time(metadata.modified()),
    })
}
