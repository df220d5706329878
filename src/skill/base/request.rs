//! A call of a base tool, read into its own type before anything is done.

use serde_json::{Map, Value};

use super::exec::Exec;
use super::failure::FileFailure;
use super::workspace::Workspace;
use super::{arguments, directories, files, media, text};
use crate::content::Content;
use crate::skill::output::Outputs;
use crate::tool::ToolSpec;

/// A call of a base tool, by the way it is carried out.
pub(super) enum BaseRequest {
    Exec(Exec),
    HealthCheck,
    File(FileRequest),
}

/// Work on files, done in order and off the runtime's threads.
pub(super) enum FileRequest {
    ReadText(text::ReadArgs),
    WriteText(text::WriteArgs),
    AppendText(text::WriteArgs),
    EditText(text::EditArgs),
    ReadImage(media::MediaArgs),
    ReadPdf(media::MediaArgs),
    Move(files::MoveArgs),
    Delete(files::FileArgs),
    Info(files::FileArgs),
    List(directories::DirectoryArgs),
    CreateDirectory(directories::DirectoryArgs),
    DeleteDirectory(directories::DeleteArgs),
}

impl BaseRequest {
    /// Reads a call of `tool`.
    ///
    /// # Errors
    /// In words for the model: the arguments do not fit the schema, or the tool is none that runs.
    pub(super) fn read(tool: &ToolSpec, args: &Map<String, Value>) -> Result<Self, String> {
        use FileRequest as F;
        let schema = &tool.input_schema;
        Ok(Self::File(match tool.name.as_str() {
            "exec" => return arguments::read(schema, args).map(Self::Exec),
            "healthCheck" => return Ok(Self::HealthCheck),
            "readTextFile" => F::ReadText(arguments::read(schema, args)?),
            "writeTextFile" => F::WriteText(arguments::read(schema, args)?),
            "appendTextFile" => F::AppendText(arguments::read(schema, args)?),
            "editTextFile" => F::EditText(arguments::read(schema, args)?),
            "readImageFile" => F::ReadImage(arguments::read(schema, args)?),
            "readPdfFile" => F::ReadPdf(arguments::read(schema, args)?),
            "moveFile" => F::Move(arguments::read(schema, args)?),
            "deleteFile" => F::Delete(arguments::read(schema, args)?),
            "getFileInfo" => F::Info(arguments::read(schema, args)?),
            "listDirectory" => F::List(arguments::read(schema, args)?),
            "createDirectory" => F::CreateDirectory(arguments::read(schema, args)?),
            "deleteDirectory" => F::DeleteDirectory(arguments::read(schema, args)?),
            other => return Err(format!("{other} is answered by the run itself")),
        }))
    }
}

impl FileRequest {
    /// Does it, waiting for the disk.
    pub(super) fn perform(&self, workspace: &Workspace, outputs: &Outputs) -> Result<Content, FileFailure> {
        let report = match self {
            Self::ReadImage(args) => return media::read_image(workspace, args),
            Self::ReadPdf(args) => return media::read_pdf(workspace, args),
            Self::ReadText(args) => text::read(workspace, outputs, args),
            Self::WriteText(args) => text::write(workspace, args),
            Self::AppendText(args) => text::append(workspace, args),
            Self::EditText(args) => text::edit(workspace, args),
            Self::Move(args) => files::rename(workspace, args),
            Self::Delete(args) => files::delete(workspace, args),
            Self::Info(args) => files::info(workspace, args),
            Self::List(args) => directories::list(workspace, args),
            Self::CreateDirectory(args) => directories::create(workspace, args),
            Self::DeleteDirectory(args) => directories::delete(workspace, args),
        }?;
        Ok(Content::text(report.to_string()))
    }
}
