//! [`DryRun`]: the object of `--dry-run --output json`. The command line prints it; a program that embeds the library makes
//! the same of a [`JobPlan`].

use std::path::PathBuf;

use serde::Serialize;

use super::JobPlan;
use crate::permission::Permissions;

/// Version of the object's shape; a field is only ever added within one version.
pub const DRY_RUN_SCHEMA_VERSION: u32 = 1;

/// The beginning or continuation of a job that is not made, and its places, as one JSON object.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// Version of this shape; a field is only ever added within one version.
    pub schema_version: u32,
    #[serde(flatten)]
    pub plan: JobPlan,
    /// The configuration's file.
    pub configuration: Option<PathBuf>,
    /// The folder that experts work in.
    pub workspace: PathBuf,
    /// The folder that holds `jobs/`.
    pub storage: PathBuf,
    pub trust: TrustState,
    /// The reasons for which a run would be refused where nobody can be asked.
    pub refusals: Vec<String>,
    pub permissions: AllPermissions,
}

/// The state of a folder's trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum TrustState {
    NothingToTrust,
    Trusted,
    NotTrusted,
}

/// The lists that decide about calls, those of the command line first.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AllPermissions {
    /// Only tools that read are called, but for those that the command line allows.
    pub read_only: bool,
    pub command_line: Permissions,
    /// Those of the user's `config.toml`.
    pub user: Permissions,
    pub project: Permissions,
    pub expert: Permissions,
}
