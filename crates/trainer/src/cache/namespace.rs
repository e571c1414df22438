use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use injerto_backbones::network::Network;
use injerto_data::{Fingerprint, LoaderOptions};
use injerto_files::{hex, remove_partial, shown};
use injerto_graph::{Preprocessing, Split};
use injerto_recipe::FeaturePrecision;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::CacheSettings;
use super::segment::{EXTENSION, Header, Segment, encode};

/// An unfinished segment that another machine has not written to for this time was left by a process that was killed.
pub(super) const UNFINISHED: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything but the image on which features depend.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    pub(super) header: Header,
    /// Folder of the namespace.
    pub(super) folder: Option<PathBuf>,
    /// Limit in bytes for the features of a set of images in memory.
    pub(super) memory: usize,
}

impl Namespace {
    /// The namespace of a network's prefix. `kernels` is the identity of the code that computes it, which may show in the last bits.
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
            encode(FeaturePrecision::F32, &values, &mut bytes);
            hash.update(bytes);
        }
        let namespace = hex(hash.finalize());
        let folder = settings.folder.as_ref().map(|folder| folder.join(&namespace[..32]));
        let shapes = split.boundary.iter().map(|&at| nodes[at].shape.0.clone()).collect();
        let network = graph.name().to_owned();
        let header = Header { namespace, network, shapes, precision: settings.precision };
        Self { header, folder, memory: settings.memory }
    }

    /// The namespace of `width` numbers per image that are computed from its pixels without a network; `name` says what they are, and
    /// changes when they are computed otherwise.
    pub(super) fn of_pixels(settings: &CacheSettings, name: &str, width: usize, pixels: &LoaderOptions) -> Self {
        let namespace = hex(Sha256::digest(json!(["pixels", name, width, pixels.pixels_key()]).to_string()));
        let folder = settings.folder.as_ref().map(|folder| folder.join(&namespace[..32]));
        let precision = FeaturePrecision::F32;
        let header = Header { namespace, network: name.to_owned(), shapes: vec![vec![width]], precision };
        Self { header, folder, memory: settings.memory }
    }

    /// Hash of everything but the image on which features depend.
    pub(crate) fn name(&self) -> &str {
        &self.header.namespace
    }

    /// Shape of each tensor of the boundary for one image.
    pub(crate) fn shapes(&self) -> &[Vec<usize>] {
        &self.header.shapes
    }

    pub(crate) fn precision(&self) -> FeaturePrecision {
        self.header.precision
    }

    /// The images that have rows in this namespace, by their content.
    pub(crate) fn contents(&self) -> HashSet<Fingerprint> {
        self.segments().iter().flat_map(|segment| segment.index.iter().map(|(print, _)| *print)).collect()
    }

    /// Finished segments of this namespace. A damaged segment is reported and removed, and its features are computed again.
    pub(super) fn segments(&self) -> Vec<Segment> {
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
        let open = |path: PathBuf| match Segment::open(&path) {
            Ok(segment) if segment.header == self.header => Some(segment),
            Ok(_) => {
                damaged(&path, "it belongs to other features");
                None
            }
            // Another process clears the cache at this moment.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                damaged(&path, &error.to_string());
                None
            }
        };
        paths.into_iter().filter_map(open).collect()
    }
}

/// Reports a damaged segment and removes it.
pub(super) fn damaged(path: &std::path::Path, reason: &str) {
    tracing::warn!("{}: {reason}; these features are computed again", shown(path));
    // If it cannot be removed, the next run reports it again.
    let _ = std::fs::remove_file(path);
}
