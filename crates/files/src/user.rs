//! The folders where this platform keeps a user's files.

use std::path::PathBuf;

use etcetera::base_strategy::{BaseStrategy, choose_native_strategy};

/// The folder for files that can be made again, such as `~/.cache`. It is `None` for a user without a home folder, so that nobody
/// falls back on a folder that others can write to.
pub fn cache() -> Option<PathBuf> {
    Some(choose_native_strategy().ok()?.cache_dir())
}

/// The folder for files that a user has installed, such as `~/.local/share`. It is `None` for a user without a home folder.
pub fn data() -> Option<PathBuf> {
    Some(choose_native_strategy().ok()?.data_dir())
}
