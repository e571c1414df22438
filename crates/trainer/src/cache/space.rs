use std::path::PathBuf;
use std::time::Duration;

use injerto_backbones::network::Network;
use injerto_data::LoaderOptions;
use injerto_files::{remove_partial, shown};
use injerto_graph::{Preprocessing, Split};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::part::{EXTENSION, Header, Part};
use super::{CacheSettings, FeaturePrecision};

/// An unfinished part that was not written to for so long was left by a process that was killed.
pub(super) const UNFINISHED: Duration = Duration::from_secs(24 * 60 * 60);

/// All that features depend on beside the image.
#[derive(Debug, Clone)]
pub(crate) struct Space {
    pub(super) header: Header,
    /// The space's own folder.
    pub(super) folder: Option<PathBuf>,
    /// Bytes that the features of a set of images may take in memory.
    pub(super) memory: usize,
}

impl Space {
    /// The space of a network's prefix. `kernels` names what computes it, as far as that shows in the last bits.
    pub(crate) fn new(
        settings: &CacheSettings,
        network: &Network,
        split: &Split,
        preprocessing: &Preprocessing,
        pixels: &LoaderOptions,
        kernels: &str,
    ) -> Self {
        let graph = network.graph();
        let nodes = graph.nodes();
        let layers: Vec<_> = split.prefix.iter().map(|&at| &nodes[at].layer).collect();
        let boundary: Vec<&str> = split.boundary.iter().map(|&at| nodes[at].name()).collect();
        let about = json!([1, kernels, preprocessing, pixels.pixels_key(), layers, boundary, settings.precision]);
        let mut hash = Sha256::new_with_prefix(about.to_string());
        for (id, values) in network.parameters_of(&split.prefix) {
            hash.update(format!("{} {} {}", id.layer, id.place, values.len()));
            let mut bytes = Vec::new();
            FeaturePrecision::F32.encode(&values, &mut bytes);
            hash.update(bytes);
        }
        let space: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = settings.folder.as_ref().map(|folder| folder.join(&space[..32]));
        let shapes = split.boundary.iter().map(|&at| nodes[at].shape.0.clone()).collect();
        let network = graph.name().to_owned();
        let header = Header { space, network, shapes, precision: settings.precision };
        Self { header, folder, memory: settings.memory }
    }

    /// Shape of each tensor that crosses, for one image.
    pub(crate) fn shapes(&self) -> &[Vec<usize>] {
        &self.header.shapes
    }

    pub(super) fn precision(&self) -> FeaturePrecision {
        self.header.precision
    }

    /// Finished parts of this space. One that is damaged is told, removed, and computed again.
    pub(super) fn parts(&self) -> Vec<Part> {
        self.folder.iter().for_each(|folder| drop(remove_partial(folder, UNFINISHED)));
        let entries = self.folder.as_ref().and_then(|folder| std::fs::read_dir(folder).ok());
        let mut paths: Vec<PathBuf> = entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION))
            .collect();
        paths.sort();
        let open = |path: PathBuf| match Part::open(&path) {
            Ok(part) if part.header == self.header => Some(part),
            Ok(_) => {
                damaged(&path, "it belongs to other features");
                None
            }
            // Somebody clears the cache at this moment.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                damaged(&path, &error.to_string());
                None
            }
        };
        paths.into_iter().filter_map(open).collect()
    }
}

/// Tells of a damaged part and removes it.
pub(super) fn damaged(path: &std::path::Path, reason: &str) {
    tracing::warn!("{}: {reason}; these features are computed again", shown(path));
    // If it cannot be removed, the next run says so again.
    let _ = std::fs::remove_file(path);
}
