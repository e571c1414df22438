use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use injerto_files::remove_partial;

use super::part::{EXTENSION, Part};
use super::space::UNFINISHED;
use crate::TrainError;

/// A space in the cache, for whoever looks after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedSpace {
    /// Its folder.
    pub folder: PathBuf,
    /// Name of the network.
    pub network: String,
    /// Shape of each tensor that crosses, for one image.
    pub shapes: Vec<Vec<usize>>,
    /// Images that it has features of.
    pub images: usize,
    /// Bytes of its parts.
    pub bytes: u64,
    /// When it was last written to.
    pub modified: SystemTime,
}

/// All spaces in a cache's folder, the one that was last written to first.
///
/// # Errors
/// A folder that cannot be read; one that is not there is an empty cache.
pub fn list(folder: &Path) -> Result<Vec<CachedSpace>, TrainError> {
    let failed = |source| TrainError::Io { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut spaces: Vec<CachedSpace> = entries.flatten().filter_map(|entry| space(&entry.path())).collect();
    spaces.sort_by(|a, b| (b.modified, &b.folder).cmp(&(a.modified, &a.folder)));
    Ok(spaces)
}

fn space(folder: &Path) -> Option<CachedSpace> {
    let (network, modified) = ("?".to_owned(), SystemTime::UNIX_EPOCH);
    let mut space =
        CachedSpace { folder: folder.to_owned(), network, shapes: Vec::new(), images: 0, bytes: 0, modified };
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        space.modified = space.modified.max(metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH));
        // Whatever has another ending is being written, or was left by a process that was killed.
        if entry.path().extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        space.bytes += metadata.len();
        if let Ok(part) = Part::open(&entry.path()) {
            space.images += part.index.len();
            (space.network, space.shapes) = (part.header.network, part.header.shapes);
        }
    }
    Some(space)
}

/// Removes spaces that were not written to for `age`, then the oldest until no more than `bytes` are left; what was
/// removed. A run that reads them meanwhile computes again what it misses. In the spaces that stay, unfinished parts of
/// killed processes are removed too.
///
/// # Errors
/// As [`list`]'s, or a folder that cannot be removed.
pub fn prune(folder: &Path, age: Option<Duration>, bytes: Option<u64>) -> Result<Vec<CachedSpace>, TrainError> {
    let now = SystemTime::now();
    let mut total = 0_u64;
    let mut removed = Vec::new();
    for space in list(folder)? {
        let old = age.is_some_and(|age| now.duration_since(space.modified).is_ok_and(|since| since > age));
        total += space.bytes;
        if old || bytes.is_some_and(|bytes| total > bytes) {
            total -= space.bytes;
            let failed = |source| TrainError::Io { path: space.folder.clone(), source };
            std::fs::remove_dir_all(&space.folder).map_err(failed)?;
            removed.push(space);
        } else {
            remove_partial(&space.folder, UNFINISHED);
        }
    }
    Ok(removed)
}

/// Removes everything; what was removed.
///
/// # Errors
/// As [`prune`]'s.
pub fn clear(folder: &Path) -> Result<Vec<CachedSpace>, TrainError> {
    prune(folder, None, Some(0))
}
