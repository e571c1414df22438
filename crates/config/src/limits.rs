//! The largest numbers that a file may name.

/// NumPy's generator, whose split Keras's users expect, takes seeds of 32 bits.
pub(crate) const SEED: i64 = u32::MAX as i64;

/// The side of an image, in pixels.
pub(crate) const SIDE: i64 = 16_384;

/// Whatever is counted: images, epochs, layers, units.
pub(crate) const COUNT: i64 = 1_000_000;

/// Views of an image whose features are kept.
pub(crate) const VIEWS: i64 = 1_000;

/// Images of a batch.
pub(crate) const BATCH: i64 = 65_536;

/// Stages of a gradual phase.
pub(crate) const STAGES: i64 = 1_000;

/// Room for features and images, in MiB.
pub(crate) const MEBIBYTES: i64 = 1 << 20;
/// The most trials of a sweep that run at the same time.
pub(crate) const JOBS: i64 = 1 << 10;

/// Operations of an augmentation policy, and their strengths.
pub(crate) const OPERATIONS: i64 = 1_000;
