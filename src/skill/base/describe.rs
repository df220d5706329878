//! The description of files in results: times, sizes, types, in the original's forms.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use cap_std::fs::Metadata;
use cap_std::time::SystemTime;

/// The type of a file with an unknown extension.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// `2026-02-16T09:30:00.000Z`; the epoch where the file system keeps no such time.
pub(super) fn time(time: io::Result<SystemTime>) -> String {
    let timestamp = time.ok().and_then(|time| jiff::Timestamp::try_from(time.into_std()).ok()).unwrap_or_default();
    format!("{timestamp:.3}")
}

/// `file`, `directory`, or `symlink` for a link that leads nowhere or outside.
pub(super) fn kind(metadata: &Metadata) -> &'static str {
    if metadata.is_dir() {
        "directory"
    } else if metadata.is_symlink() {
        "symlink"
    } else {
        "file"
    }
}

/// `0 B`, `1.50 KB`, up to TB, by 1024.
pub(super) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 1024_u128;
    let mut name = "KB";
    for larger in ["MB", "GB", "TB"] {
        if u128::from(bytes) < unit * 1024 {
            break;
        }
        unit *= 1024;
        name = larger;
    }
    let hundredths = (u128::from(bytes) * 100 + unit / 2) / unit;
    format!("{}.{:02} {name}", hundredths / 100, hundredths % 100)
}

/// `15.3MB`.
pub(super) fn megabytes(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10 + (1 << 19)) >> 20;
    format!("{}.{}MB", tenths / 10, tenths % 10)
}

/// By the name's extension.
pub(super) fn mime_type(name: &Path) -> String {
    mime_guess::from_path(name).first_raw().unwrap_or(UNKNOWN_TYPE).to_owned()
}

/// The extension with its dot.
pub(super) fn extension(name: &Path) -> Option<String> {
    name.extension().and_then(OsStr::to_str).map(|extension| format!(".{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_digits_behind_the_point_from_a_kilobyte_on() {
        let sizes = [0, 1023, 1024, 1536, 1024 * 1024, 5 * 1024 * 1024 * 1024].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.00 KB", "1.50 KB", "1.00 MB", "5.00 GB"]);
        assert_eq!([16_252_928, 15 << 20].map(megabytes), ["15.5MB", "15.0MB"]);
    }

    #[test]
    fn times_are_utc_to_the_millisecond() {
        let epoch = SystemTime::from_std(std::time::UNIX_EPOCH);
        assert_eq!(time(Ok(epoch)), "1970-01-01T00:00:00.000Z");
    }
}
