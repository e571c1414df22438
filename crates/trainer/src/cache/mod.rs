//! The cache of features, which are the values at the end of the frozen prefix. They are computed once per image and kept.
//!
//! A *namespace* stands for everything but the image on which features depend: how pixels are made, the prefix, its weights, the cut, the
//! precision, the kernels. Each namespace has a folder, in which immutable *segments* hold one row per view of an image, by its
//! fingerprint. Names, order and labels of images do not matter: another experiment with the same prefix finds the rows, only the
//! new images of a dataset are computed, and a pass that was killed goes on after its last finished segment. Concurrent runs write
//! separate segments and do not disturb each other.
//!
//! Numbers that are computed from an image's pixels alone, without a network, are kept in the same way ([`PixelRows`]).
//!
//! Rows are read with positioned reads and not through a memory map. A truncated file is then an error and does not end the process,
//! and memory stays within the budget.

mod clean;
mod features;
mod namespace;
mod rows;
mod segment;
#[cfg(test)]
mod tests;

pub use clean::{CachedNamespace, clear, list, prune};
pub(crate) use features::{Features, keep, rounded};
pub(crate) use namespace::Namespace;
pub use rows::PixelRows;
pub use segment::verify;

use std::path::PathBuf;

use injerto_recipe::FeaturePrecision;

/// Whether and how features are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Folder of the cache. `None` keeps features only for this run, and only if they fit into `memory`.
    pub folder: Option<PathBuf>,
    /// Limit in bytes for the features of one set of images in memory. Larger sets are read from the folder.
    pub memory: usize,
    /// Number type of stored features.
    pub precision: FeaturePrecision,
}
