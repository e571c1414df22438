use std::path::{Path, PathBuf};

use injerto_files::{printable, shown};
use injerto_plugin_abi::Linked;

/// The place of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A library, a backbone file or an ONNX model.
    File(PathBuf),
    /// The plugin is linked into this program.
    Linked(Linked),
}

impl Origin {
    /// The file; `None` if the plugin is linked into this program.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Linked(_) => None,
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", shown(path)),
            Self::Linked(linked) => write!(f, "{} (linked in)", printable(linked.plugin().name())),
        }
    }
}
