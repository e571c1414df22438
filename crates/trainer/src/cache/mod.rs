//! Features of the frozen prefix: what crosses from it, computed once an image and kept.
//!
//! A *space* is all that features depend on beside the image: how pixels are made, the prefix, its weights, where it is cut,
//! the precision, the kernels. Each space has a folder, in which immutable *parts* hold rows by the fingerprint of
//! their image. So nothing depends on names, order or labels of images: another experiment with the same prefix finds its
//! rows, a dataset that has grown computes what is new, and a pass that was killed goes on behind its last finished part.
//! Runs at the same time write parts of their own and do not meet.
//!
//! Rows are read with positioned reads and not through a memory map: a file that somebody cuts short is an error then, not
//! the end of the process, and memory stays what the budget says.

mod clean;
mod features;
mod part;
mod space;
#[cfg(test)]
mod tests;

pub use clean::{CachedSpace, clear, list, prune};
pub(crate) use features::Features;
pub use part::verify;
pub(crate) use space::Space;

use std::path::PathBuf;

use injerto_recipe::FeaturePrecision;

/// Whether and how features are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Where parts are kept; `None` keeps features for this run alone, and only if they fit `memory`.
    pub folder: Option<PathBuf>,
    /// Bytes up to which the features of one set of images are held in memory; beyond it they are read from the folder.
    pub memory: usize,
    /// Number type of stored features.
    pub precision: FeaturePrecision,
}
