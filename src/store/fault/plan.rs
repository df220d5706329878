//! [`FaultPlan`]: the faults to inject, from a list of `NUMBER=FAULT` in `PERSTACK_FAULT`, separated by commas. `NUMBER`
//! counts the operations of the process from 1; a `+` behind it means all from there on. `FAULT` is one of
//!
//! | fault | does |
//! | --- | --- |
//! | `eio` `enospc` `erofs` `eacces` | nothing of the operation; it fails with this error |
//! | `short`, `short:BYTES` | a write writes half, or so many bytes, then fails with `enospc` |
//! | `crash-before` `crash-after` | the process dies at once, before or after the operation |
//! | `crash-torn`, `crash-torn:BYTES` | a write writes half, or so many bytes, then the process dies |
//! | `power` | a power cut before the operation: all unsynced changes are undone, then the process dies |
//! | `power:SEED` | the same, but a pseudo-random part of the unsynced changes is undone |
//!
//! `PERSTACK_FAULT_TRACE` names a file that every operation is appended to.

use std::io;
use std::path::PathBuf;

/// The faults to inject.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    faults: Vec<(When, Fault)>,
    pub trace: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    At(u64),
    From(u64),
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Error(Errno),
    Short(Errno, Option<usize>),
    CrashBefore,
    CrashAfter,
    CrashTorn(Option<usize>),
    PowerCut(Option<u64>),
}

/// Errors of the system, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errno {
    Io,
    NoSpace,
    ReadOnly,
    NoAccess,
}

impl From<Errno> for io::Error {
    fn from(error: Errno) -> Self {
        Self::from_raw_os_error(match error {
            Errno::Io => libc::EIO,
            Errno::NoSpace => libc::ENOSPC,
            Errno::ReadOnly => libc::EROFS,
            Errno::NoAccess => libc::EACCES,
        })
    }
}

impl FaultPlan {
    /// The plan of this process, from its environment; no faults when it has none.
    ///
    /// # Errors
    /// A list that cannot be parsed.
    pub fn from_environment() -> Result<Self, String> {
        #[expect(clippy::disallowed_methods, reason = "in builds for tests only, and the one place that reads these")]
        let variable = |name: &str| std::env::var_os(name);
        let mut plan = match variable("PERSTACK_FAULT") {
            Some(text) => Self::parse(&text.to_string_lossy())?,
            None => Self::default(),
        };
        plan.trace = variable("PERSTACK_FAULT_TRACE").map(PathBuf::from);
        Ok(plan)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let faults = text
            .split(',')
            .filter(|item| !item.is_empty())
            .map(|item| parse_item(item).ok_or_else(|| format!("PERSTACK_FAULT: {item:?} is no NUMBER=FAULT")));
        Ok(Self { faults: faults.collect::<Result<_, _>>()?, trace: None })
    }

    /// The fault at the operation `number`, counted from 1: the first that fits.
    pub fn fault_at(&self, number: u64) -> Option<Fault> {
        let fits = |when: &When| match when {
            When::At(at) => *at == number,
            When::From(from) => *from <= number,
        };
        self.faults.iter().find(|(when, _)| fits(when)).map(|(_, fault)| *fault)
    }
}

fn parse_item(item: &str) -> Option<(When, Fault)> {
    let (number, fault) = item.trim().split_once('=')?;
    let when = match number.strip_suffix('+') {
        Some(number) => When::From(number.parse().ok()?),
        None => When::At(number.parse().ok()?),
    };
    let (name, detail) = fault.split_once(':').map_or((fault, None), |(name, detail)| (name, Some(detail)));
    let bytes = || detail.map(str::parse).transpose().ok();
    let fault = match name {
        "short" => Fault::Short(Errno::NoSpace, bytes()?),
        "crash-torn" => Fault::CrashTorn(bytes()?),
        "power" => Fault::PowerCut(detail.map(str::parse).transpose().ok()?),
        _ if detail.is_some() => return None,
        "eio" => Fault::Error(Errno::Io),
        "enospc" => Fault::Error(Errno::NoSpace),
        "erofs" => Fault::Error(Errno::ReadOnly),
        "eacces" => Fault::Error(Errno::NoAccess),
        "crash-before" => Fault::CrashBefore,
        "crash-after" => Fault::CrashAfter,
        _ => return None,
    };
    Some((when, fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_faults_by_operation() {
        let plan = FaultPlan::parse("3=crash-torn:7,5+=enospc,9=power").unwrap();
        assert_eq!(plan.fault_at(2), None);
        assert_eq!(plan.fault_at(3), Some(Fault::CrashTorn(Some(7))));
        assert_eq!(plan.fault_at(4), None);
        assert_eq!(plan.fault_at(5), Some(Fault::Error(Errno::NoSpace)));
        assert_eq!(plan.fault_at(9), Some(Fault::Error(Errno::NoSpace)));
        assert_eq!(FaultPlan::parse("").unwrap(), FaultPlan::default());
    }

    #[test]
    fn a_plan_that_is_not_understood_is_refused() {
        for text in ["3", "x=eio", "3=ebadf", "3=eio:4", "3=short:half", "3=power:much"] {
            let error = FaultPlan::parse(text).unwrap_err();
            assert!(error.contains("PERSTACK_FAULT") && error.contains(text), "{error}");
        }
    }
}
