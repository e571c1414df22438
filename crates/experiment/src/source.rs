//! Where the images of an experiment lie: in a folder that is named, in one that is looked for, or in an archive that is fetched.

#[cfg(not(feature = "shards"))]
use std::convert::Infallible as Gathered;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use injerto_backbones::weights::Cache;
use injerto_config::{Config, Images};
use injerto_fetch::datasets::{Archive, get};
#[cfg(feature = "shards")]
use injerto_shards::Gathered;

use crate::ExperimentError;

/// The files of `data.features`, where an experiment has these instead of photos.
pub(crate) type Features = Option<Arc<Gathered>>;

/// The environment variable that names a folder of datasets.
pub const DATA_DIR: &str = "INJERTO_DATA_DIR";

/// The places where a folder of this name is looked for: as it is, in `data/`, and in `INJERTO_DATA_DIR`.
pub fn places(name: &Path) -> Vec<PathBuf> {
    let above = std::env::var_os(DATA_DIR).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let above = std::iter::once(PathBuf::from("data")).chain(above);
    let inside = above.map(|folder| folder.join(name)).filter(|_| name.is_relative());
    std::iter::once(name.to_owned()).chain(inside).collect()
}

/// Where a dataset with a name is, if it is anywhere on this machine.
pub fn kept(name: &str, cache: &Cache) -> Option<PathBuf> {
    let found = places(Path::new(name)).into_iter().find(|place| place.is_dir());
    found.or_else(|| Archive::known(name)?.kept(&cache.data()))
}

/// Fetches an archive of images, and says in the log how far it is. `names` is what its folder is called elsewhere.
///
/// # Errors
/// [`ExperimentError::Fetch`], which says where the images can be put by hand.
pub fn fetch(archive: &Archive, names: &[PathBuf], cache: &Cache) -> Result<PathBuf, ExperimentError> {
    if let Some(kept) = archive.kept(&cache.data()) {
        return Ok(kept);
    }
    tracing::info!("fetching {} (once; it is kept in {})", archive.url, injerto_files::shown(&cache.data()));
    let mut told = 0;
    let mut progress = |came: u64, all: Option<u64>| {
        // Each tenth, or each 64 MiB where nobody knows how much there is.
        let tenth = all.map_or(came >> 26, |all| came.saturating_mul(10) / all.max(1));
        if tenth > told {
            told = tenth;
            let of = all.map_or(String::new(), |all| format!(" of {:.1}", all as f64 / 1e6));
            tracing::info!("{:.1}{of} MB", came as f64 / 1e6);
        }
    };
    get(archive, &cache.data(), &mut progress).map_err(|source| ExperimentError::Fetch {
        source,
        places: match names.is_empty() {
            true => Vec::new(),
            false => names.iter().flat_map(|name| places(name)).collect(),
        },
    })
}

/// The root folder of an experiment's images; `None` for drawn ones. The first folder of `data.root` that exists is taken, wherever it
/// is looked for; if there is none, the archive of `data.url` or of a dataset with this name is fetched.
pub(crate) fn locate(config: &Config, cache: &Cache) -> Result<Option<PathBuf>, ExperimentError> {
    let Images::Folder { root } = &config.data.images else { return Ok(None) };
    if let Some(found) = root.iter().flat_map(|root| places(root)).find(|place| place.is_dir()) {
        return Ok(Some(found));
    }
    let named = || root.iter().find_map(|root| Archive::known(root.to_str()?));
    let given = config.data.url.clone().map(|url| Archive { url, sha256: config.data.sha256.clone() });
    match given.or_else(named) {
        Some(archive) => fetch(&archive, root, cache).map(Some),
        None => Err(ExperimentError::NoRoot { tried: root.iter().flat_map(|root| places(root)).collect() }),
    }
}

/// Puts the folder that was found before the others, so that everything that asks for the root finds the same.
pub(crate) fn settle(config: &mut Config, found: &Path) {
    if let Images::Folder { root } = &mut config.data.images
        && root.iter().find(|root| root.is_dir()).is_none_or(|first| first != found)
    {
        root.retain(|root| root != found);
        root.insert(0, found.to_owned());
    }
}

/// Root folder of the images: the first folder of `data.root` that exists; `None` for drawn images.
pub(crate) fn root(config: &Config) -> Option<&Path> {
    match &config.data.images {
        Images::Folder { root } => root.iter().map(AsRef::as_ref).find(|root: &&Path| root.is_dir()),
        Images::Drawn { .. } | Images::Features { .. } => None,
    }
}
