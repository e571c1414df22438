use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use injerto_files::remove_partial;

use super::namespace::UNFINISHED;
use super::segment::{EXTENSION, Segment};
use crate::TrainError;

/// A namespace of the cache, for commands that manage the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedNamespace {
    /// Folder of the namespace.
    pub folder: PathBuf,
    /// Name of the network.
    pub network: String,
    /// Shape of each tensor of the boundary for one image.
    pub shapes: Vec<Vec<usize>>,
    /// Number of images with features.
    pub images: usize,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Time of the last change.
    pub modified: SystemTime,
}

/// All namespaces in the folder of a cache, sorted so that the last changed one comes first.
///
/// # Errors
/// The folder cannot be read. A folder that does not exist counts as an empty cache.
pub fn list(folder: &Path) -> Result<Vec<CachedNamespace>, TrainError> {
    let failed = |source| TrainError::Io { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut namespaces: Vec<CachedNamespace> = entries.flatten().filter_map(|entry| namespace(&entry.path())).collect();
    namespaces.sort_by(|a, b| (b.modified, &b.folder).cmp(&(a.modified, &a.folder)));
    Ok(namespaces)
}

fn namespace(folder: &Path) -> Option<CachedNamespace> {
    let (network, modified) = ("?".to_owned(), SystemTime::UNIX_EPOCH);
    let mut namespace =
        CachedNamespace { folder: folder.to_owned(), network, shapes: Vec::new(), images: 0, bytes: 0, modified };
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        namespace.modified = namespace.modified.max(metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH));
        // A file with another extension is being written, or was left by a process that was killed.
        if entry.path().extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        namespace.bytes += metadata.len();
        if let Ok(segment) = Segment::open(&entry.path()) {
            namespace.images += segment.index.len();
            (namespace.network, namespace.shapes) = (segment.header.network, segment.header.shapes);
        }
    }
    Some(namespace)
}

/// Removes namespaces that were not changed for `age`, and then the oldest ones until no more than `bytes` are left. Returns what was
/// removed. A run that reads them meanwhile computes the missing features again. In the namespaces that stay, unfinished segments
/// of killed processes are removed too.
///
/// # Errors
/// Those of [`list`], or a folder cannot be removed.
pub fn prune(folder: &Path, age: Option<Duration>, bytes: Option<u64>) -> Result<Vec<CachedNamespace>, TrainError> {
    let now = SystemTime::now();
    let mut total = 0_u64;
    let mut removed = Vec::new();
    for namespace in list(folder)? {
        let old = age.is_some_and(|age| now.duration_since(namespace.modified).is_ok_and(|since| since > age));
        total += namespace.bytes;
        if old || bytes.is_some_and(|bytes| total > bytes) {
            total -= namespace.bytes;
            let failed = |source| TrainError::Io { path: namespace.folder.clone(), source };
            std::fs::remove_dir_all(&namespace.folder).map_err(failed)?;
            removed.push(namespace);
        } else {
            remove_partial(&namespace.folder, UNFINISHED);
        }
    }
    Ok(removed)
}

/// Removes all namespaces, and returns them.
///
/// # Errors
/// Those of [`prune`].
pub fn clear(folder: &Path) -> Result<Vec<CachedNamespace>, TrainError> {
    prune(folder, None, Some(0))
}
