//! Where this platform keeps a user's files.

use std::path::PathBuf;

use etcetera::base_strategy::{BaseStrategy, choose_native_strategy};

/// The folder for what can be made again, such as `~/.cache`; `None` for a user without a home, so that nobody falls back on
/// a folder that others can write to.
pub fn cache() -> Option<PathBuf> {
    Some(choose_native_strategy().ok()?.cache_dir())
}

/// The folder for what a user has installed, such as `~/.local/share`; `None` for a user without a home.
pub fn data() -> Option<PathBuf> {
    Some(choose_native_strategy().ok()?.data_dir())
}
