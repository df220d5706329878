//! [`RecordedJob`]: a job whose cassette has all that it was run with, so that it can be run again without its
//! configuration. Programs and the command line load it, and run each part by [`run`](super::run) or
//! [`resume`](super::resume).

use std::path::{Path, PathBuf};

use crate::checkpoint::Status;
use crate::replay::{Cassette, LocalPaths, RecordedStart, ReplayError};
use crate::runtime::job::recorded_addresses::use_recorded_address;
use crate::runtime::job::recorded_options::RecordedOptions;
use crate::runtime::options::{CassetteMode, Options, ResumeFrom, ResumeInput, RunInput};

/// A recorded job.
#[derive(Debug)]
pub struct RecordedJob {
    file: PathBuf,
    cassette: Cassette,
}

/// The input of a part of a job.
#[derive(Debug, Clone)]
pub enum PartInput {
    /// Its beginning.
    Run(RunInput),
    /// A continuation.
    Resume(ResumeInput),
}

impl RecordedJob {
    /// Reads the cassette `file`.
    ///
    /// # Errors
    /// It cannot be read, is of a later version or damaged; or it does not have what its job was run with, or not its
    /// beginning.
    pub fn load(file: &Path) -> Result<Self, ReplayError> {
        let cassette = Cassette::load(file)?;
        let start = cassette.start(0)?;
        match start.from {
            Some(checkpoint) => Err(ReplayError::Middle { path: file.to_owned(), job: start.job_id, checkpoint }),
            None => Ok(Self { file: file.to_owned(), cassette }),
        }
    }

    /// The number of its parts: the beginning, and its continuations.
    pub fn parts(&self) -> usize {
        self.cassette.parts()
    }

    /// The status in which a part ended, `Proceeding` if its process died before the next one; none where its recording was
    /// cut short.
    pub fn end(&self, part: usize) -> Option<Status> {
        self.cassette.end(part)
    }

    /// The number of the last whole line of the cassette.
    pub fn last_line(&self) -> u64 {
        self.cassette.last_line()
    }

    /// The model that was asked for by a flag or a variable.
    pub fn explicit_model(&self) -> Option<&str> {
        let header = self.cassette.header();
        Some(header.model.as_str()).filter(|model| header.model_is_explicit && !model.is_empty())
    }

    /// The beginning of a part, as it was recorded.
    ///
    /// # Errors
    /// The cassette cannot be read any more.
    pub fn start(&self, part: usize) -> Result<RecordedStart, ReplayError> {
        self.cassette.start(part)
    }

    /// The input of a part.
    ///
    /// # Errors
    /// As [`RecordedJob::start`].
    pub fn input(&self, part: usize) -> Result<PartInput, ReplayError> {
        let RecordedStart { job_id, run_id, from, expert, query, attached, is_answer, recovers, .. } =
            self.start(part)?;
        Ok(match from {
            None => {
                let query = query.unwrap_or_default();
                PartInput::Run(RunInput { expert, query, attached, job_id: Some(job_id), run_id })
            }
            Some(checkpoint) => PartInput::Resume(ResumeInput {
                from: if recovers { ResumeFrom::Job(job_id) } else { ResumeFrom::Checkpoint(job_id, checkpoint) },
                expert: Some(expert),
                query,
                attached,
                is_answer,
            }),
        })
    }

    /// The recording that answers a part: nothing is sent, started or written by it.
    pub fn cassette(&self, part: usize) -> CassetteMode {
        CassetteMode::Replay { file: self.file.clone(), tools: true, effects: false, part: Some(part) }
    }

    /// Gives `options` what a comparison is not about: the recorded address of their provider, if it is the recorded one.
    pub fn lend_address(options: &mut Options, recorded: &Options) {
        use_recorded_address(options, recorded);
    }

    /// The options of a part, for a replay whose state goes to `storage`. With them, a replay depends on nothing but the
    /// cassette.
    ///
    /// # Errors
    /// As [`RecordedJob::start`], or the options are damaged.
    pub fn options(&self, part: usize, storage: &Path) -> Result<Options, ReplayError> {
        let options = self.recorded_options(self.start(part)?.options)?;
        Ok(Options { cassette: self.cassette(part), ..options.into_options(storage) })
    }

    /// The same options where the workspace and the home folder are those of `paths`, and the names of the settings that
    /// flags and variables gave ([`Origins::asked`]).
    ///
    /// # Errors
    /// As [`RecordedJob::options`].
    ///
    /// [`Origins::asked`]: crate::config::Origins::asked
    pub fn options_here(
        &self,
        part: usize,
        storage: &Path,
        paths: &LocalPaths,
    ) -> Result<(Options, Vec<String>), ReplayError> {
        let options = self.recorded_options(paths.shown(self.start(part)?.options))?;
        let asked = options.asked().to_vec();
        Ok((Options { cassette: self.cassette(part), ..options.into_options(storage) }, asked))
    }

    fn recorded_options(&self, options: serde_json::Value) -> Result<RecordedOptions, ReplayError> {
        serde_json::from_value(options).map_err(|source| ReplayError::Options { path: self.file.clone(), source })
    }
}
