//! The state of a file, by which it is known whether the file has to be read again, and its content.

use std::fs::Metadata;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use crate::decode::Examined;

/// SHA-256 of an image's content, wherever the image lies and whatever it is called.
pub type Fingerprint = [u8; 32];

/// A clock may not tell two writes apart that are less than this apart.
const FRESH: Duration = Duration::from_secs(2);

/// State of a file: its size, and its times to the nanosecond (and its number, on Unix). Writing to a file changes one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) bytes: u64,
    modified: Duration,
    changed: Duration,
    number: u64,
}

impl Stamp {
    /// The state of a file now; `None` for a file that is not there.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let (changed, number) = changed(&metadata);
        Some(Self { bytes: metadata.len(), modified, changed, number })
    }

    /// [`Stamp::of`], unless the file was written to so shortly before `now` that another write might leave the same stamp.
    pub(crate) fn settled(path: &Path, now: SystemTime) -> Option<Self> {
        let stamp = Self::of(path)?;
        let latest = UNIX_EPOCH + stamp.modified.max(stamp.changed);
        now.duration_since(latest).is_ok_and(|age| age >= FRESH).then_some(stamp)
    }

    /// Adds the stamp to a hash.
    pub(crate) fn update(&self, hash: &mut Sha256) {
        hash.update(self.bytes.to_le_bytes());
        hash.update(self.modified.as_nanos().to_le_bytes());
        hash.update(self.changed.as_nanos().to_le_bytes());
        hash.update(self.number.to_le_bytes());
    }
}

#[cfg(unix)]
fn changed(metadata: &Metadata) -> (Duration, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    (Duration::new(seconds, u32::try_from(metadata.ctime_nsec()).unwrap_or(0)), metadata.ino())
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> (Duration, u64) {
    (Duration::ZERO, 0)
}

/// The content of a file that was read, and the file's state before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) stamp: Stamp,
    pub(crate) content: Fingerprint,
    pub(crate) examined: Examined,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_counts_once_its_file_has_been_left_alone_for_a_while() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("photo.jpg");
        std::fs::write(&path, b"one").expect("written");
        let now = SystemTime::now();
        assert_eq!(Stamp::settled(&path, now), None);
        assert_eq!(Stamp::settled(&path, now + 2 * FRESH), Stamp::of(&path));
    }
}
