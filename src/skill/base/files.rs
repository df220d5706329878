//! Files whatever their content: move, delete, describe.

use std::io;

use serde::Deserialize;
use serde_json::{Value, json};

use super::describe;
use super::failure::FileFailure;
use super::workspace::{LastLink, Workspace, WorkspacePath, is_writable};

/// `moveFile`.
#[derive(Debug, Deserialize)]
pub(super) struct MoveArgs {
    source: String,
    destination: String,
}

/// `deleteFile`, `getFileInfo`.
#[derive(Debug, Deserialize)]
pub(super) struct FileArgs {
    path: String,
}

/// Moves a file or directory to a path where nothing is. Of a link, the link is moved.
pub(super) fn rename(workspace: &Workspace, args: &MoveArgs) -> Result<Value, FileFailure> {
    let source = itself(workspace, &args.source)?;
    let metadata = source.metadata().ok_or_else(|| FileFailure::NoSource(args.source.clone()))?;
    if !metadata.is_symlink() && !is_writable(metadata) {
        return Err(FileFailure::SourceNotWritable(args.source.clone()));
    }
    let destination = workspace.resolve_to_change(&args.destination, LastLink::Keep)?;
    let exists = || FileFailure::DestinationExists(args.destination.clone());
    if destination.metadata().is_some() {
        return Err(exists());
    }
    match rename_to_nothing(&source, &destination) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists()),
        outcome => outcome.map_err(FileFailure::io("move", &args.source)),
    }?;
    Ok(json!({ "source": args.source, "destination": args.destination }))
}

/// Deletes a file. Of a link, the link is deleted.
pub(super) fn delete(workspace: &Workspace, args: &FileArgs) -> Result<Value, FileFailure> {
    let place = itself(workspace, &args.path)?;
    let metadata = place.metadata().ok_or_else(|| FileFailure::NoFile(args.path.clone()))?;
    if metadata.is_dir() {
        return Err(FileFailure::DeletesDirectory(args.path.clone()));
    }
    if !metadata.is_symlink() && !is_writable(metadata) {
        return Err(FileFailure::FileNotWritable(args.path.clone()));
    }
    place.folder().remove_file(place.name()).map_err(FileFailure::io("delete", &args.path))?;
    Ok(json!({ "path": args.path }))
}

/// Tells about a file or directory; of a link, about what it leads to.
pub(super) fn info(workspace: &Workspace, args: &FileArgs) -> Result<Value, FileFailure> {
    let place = workspace.resolve(&args.path, LastLink::Follow)?;
    let metadata = place.metadata().ok_or_else(|| FileFailure::NoEntry(args.path.clone()))?;
    let absolute = place.absolute();
    let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(json!({
        "exists": true,
        "path": args.path,
        "absolutePath": absolute.to_string_lossy(),
        "name": name,
        "directory": place.parent().to_string_lossy(),
        "extension": if metadata.is_dir() { None } else { describe::extension(absolute) },
        "type": describe::kind(metadata),
        "mimeType": if metadata.is_dir() { None } else { Some(describe::mime_type(absolute)) },
        "size": metadata.len(),
        "sizeFormatted": describe::size(metadata.len()),
        "created": describe::time(metadata.created().or_else(|_| metadata.modified())),
        "modified": describe::time(metadata.modified()),
        "accessed": describe::time(metadata.accessed()),
        "permissions": {
            "readable": true,
            "writable": is_writable(metadata),
            "executable": is_executable(metadata),
        },
    }))
}

/// The place of `path`, not following a last link; but one that leads outside is refused like everywhere.
fn itself(workspace: &Workspace, path: &str) -> Result<WorkspacePath, FileFailure> {
    workspace.resolve(path, LastLink::Follow)?;
    let place = workspace.resolve_to_change(path, LastLink::Keep)?;
    if place.is_workspace() { Err(FileFailure::IsWorkspace(path.to_owned())) } else { Ok(place) }
}

/// Renames, and fails where something has come to the destination since it was looked at.
#[cfg(target_os = "linux")]
fn rename_to_nothing(source: &WorkspacePath, destination: &WorkspacePath) -> io::Result<()> {
    use rustix::fs::{RenameFlags, renameat_with};
    use rustix::io::Errno;
    let (from, to) = (source.folder(), destination.folder());
    match renameat_with(from, source.name(), to, destination.name(), RenameFlags::NOREPLACE) {
        // A file system that cannot promise it.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => from.rename(source.name(), to, destination.name()),
        outcome => Ok(outcome?),
    }
}

#[cfg(not(target_os = "linux"))]
fn rename_to_nothing(source: &WorkspacePath, destination: &WorkspacePath) -> io::Result<()> {
    source.folder().rename(source.name(), destination.folder(), destination.name())
}

#[cfg(unix)]
fn is_executable(metadata: &cap_std::fs::Metadata) -> bool {
    use cap_std::fs::PermissionsExt;
    metadata.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &cap_std::fs::Metadata) -> bool {
    false
}
