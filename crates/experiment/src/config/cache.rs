//! `[cache]`: features of the frozen prefix, computed once an image and kept for the next experiment; decoded images.

use injerto_trainer::cache::FeaturePrecision;
use serde::Serialize;

use super::reader::{Section, boolean, choice, integer};

/// `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheConfig {
    /// Whether features are kept in the user's cache folder.
    pub keep: bool,
    /// Number type of the features.
    pub precision: FeaturePrecision,
    /// MiB up to which the features of one set of images are held in memory; beyond it they are read from the folder.
    pub memory_mb: usize,
    /// MiB of decoded and resized images that are held in memory, for epochs that look at the photos again.
    pub images_mb: usize,
}

const PRECISIONS: &[(&str, FeaturePrecision)] =
    &[("f32", FeaturePrecision::F32), ("f16", FeaturePrecision::F16), ("bf16", FeaturePrecision::BF16)];

pub(super) fn cache(mut s: Section<'_>) -> Option<CacheConfig> {
    let keep = s.or("keep", true, boolean);
    let precision = s.or("precision", FeaturePrecision::F32, choice(PRECISIONS));
    let memory_mb = s.or("memory_mb", 256, integer(0, 1 << 20));
    let images_mb = s.or("images_mb", 0, integer(0, 1 << 20));
    s.finish();
    Some(CacheConfig { keep: keep?, precision: precision?, memory_mb: memory_mb?, images_mb: images_mb? })
}
