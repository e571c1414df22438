//! Reads a classifier of images from an ONNX model.

mod constant;
mod dense;
mod elementwise;
mod finish;
mod known;
mod layers;
mod moves;
mod norms;
mod patterns;
mod pieces;
mod reader;
mod resize;
mod shapes;
mod view;
mod windows;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use injerto_files::mistaken;
use injerto_graph::{ChannelOrder, Graph, GraphSpec, Layer};

use crate::OnnxError;
use crate::proto::Model;
use reader::Reader;

/// Size limit of a file in bytes, which is that of a protocol buffer; larger networks keep their numbers in another file.
const LARGEST_FILE: u64 = i32::MAX as u64;

/// Height and width of images for a model that leaves them open, unless the user gives others.
pub const USUAL_SIZE: [usize; 2] = [224, 224];

/// A model in memory.
#[derive(Debug)]
pub struct ModelFile {
    bytes: Vec<u8>,
    folder: PathBuf,
    path: PathBuf,
}

/// Values of a parameter, in Keras's axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// `LAYER/PARAMETER`.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Values, row by row.
    pub values: Vec<f32>,
}

/// A model's own statements about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Number of nodes.
    pub nodes: usize,
    /// Name and version of the program that wrote it.
    pub producer: String,
    /// Whether it leaves height and width of images open.
    pub is_resizable: bool,
}

/// A network that was read from a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// All layers from the image to the output, with the names of the model's nodes.
    pub graph: Graph,
    /// Parameters of all layers.
    pub weights: Vec<Tensor>,
    /// The last layer before the classifier; that of the graph if the model ends without one.
    pub features: String,
    /// Number of classes, if the model ends in a classifier.
    pub classes: Option<usize>,
    /// Whether the model leaves height and width of images open.
    pub is_resizable: bool,
    /// The order of colours that the network takes. A model that takes red first may exchange the colours itself; this network does not.
    pub channel_order: ChannelOrder,
    /// Whether an exporter has folded batch normalisations into convolutions, as far as the model shows.
    pub folded: Folded,
    /// Name and version of the program that wrote the model.
    pub producer: String,
    /// Keys and texts that are stored in the file.
    pub metadata: Vec<(String, String)>,
}

/// Whether a model shows that its exporter has folded batch normalisations into convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folded {
    /// There is no sign of it.
    No,
    /// The names of kernels show it.
    Surely,
    /// There are many convolutions, all with a bias, and no normalisation.
    Perhaps,
}

/// The part of a model that is read, and the size of its images.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ask {
    /// Height and width of images, for a model that leaves them open.
    pub image_size: Option<[usize; 2]>,
    /// Name of the layer after which nothing is read. Nodes that only later layers need may be of any kind.
    pub last_layer: Option<String>,
}

impl ModelFile {
    /// Reads the file at `path` into memory.
    ///
    /// # Errors
    /// [`OnnxError::Io`]; [`OnnxError::Damaged`] if it is not a regular file, or is larger than the format allows.
    pub fn open(path: &Path) -> Result<Self, OnnxError> {
        let io = |source| OnnxError::Io { path: path.to_owned(), source };
        let damaged = |reason: &str| OnnxError::Damaged { reason: reason.to_owned() };
        // Opening a pipe would wait for a writer, and reading it might never end.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(damaged("it is not a regular file"));
        }
        let file = std::fs::File::open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(damaged("it is larger than 2 GiB"));
        }
        Ok(Self::from_bytes(bytes, path))
    }

    /// A model in memory, as if it were the file at `path`: numbers in other files are searched in the folder of `path`.
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Self {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Self { bytes, folder, path: path.to_owned() }
    }

    fn model(&self) -> Result<Model<'_>, OnnxError> {
        let damaged = |reason| OnnxError::Damaged { reason: mistaken(&self.bytes).map_or(reason, str::to_owned) };
        Model::parse(&self.bytes).map_err(damaged)
    }

    /// The model's statements about itself. Its nodes are not read.
    ///
    /// # Errors
    /// [`OnnxError`] if it is damaged, or does not take images.
    pub fn about(&self) -> Result<About, OnnxError> {
        let model = self.model()?;
        let input = reader::image(&model).map_err(|reason| OnnxError::Unsuited { reason })?;
        Ok(About { nodes: model.graph.nodes.len(), producer: producer(&model), is_resizable: input.is_resizable() })
    }

    /// Recognises the layers of the model. Nothing in the file is trusted.
    ///
    /// # Errors
    /// [`OnnxError`]; if nodes are no layers, [`OnnxError::Nodes`] lists all of them.
    pub fn read(&self, ask: &Ask) -> Result<Network, OnnxError> {
        let model = self.model()?;
        let reader = Reader::new(&model, &self.folder, ask)?;
        let name = self.path.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned());
        reader.network(&name, ask)
    }
}

impl Network {
    /// The network up to and including `layer`, with its parameters.
    ///
    /// # Errors
    /// [`GraphError`](injerto_graph::GraphError) if there is no such layer.
    pub fn up_to(&self, layer: &str) -> Result<Self, OnnxError> {
        let graph = self.graph.truncate(self.graph.position(layer)?)?;
        let names: BTreeSet<String> = (graph.nodes().iter())
            .flat_map(|node| node.parameters.iter().map(|parameter| format!("{}/{}", node.name(), parameter.name())))
            .collect();
        let weights = self.weights.iter().filter(|tensor| names.contains(&tensor.name)).cloned().collect();
        Ok(Self { graph, weights, ..self.clone() })
    }

    /// The values of `LAYER/PARAMETER`.
    pub fn parameter(&self, name: &str) -> Option<&[f32]> {
        self.weights.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.values.as_slice())
    }
}

/// Name and version of the program that wrote a model.
fn producer(model: &Model<'_>) -> String {
    let text = format!("{} {}", model.producer, model.producer_version);
    let text: String = text.trim().chars().take(100).collect();
    injerto_files::printable(&text).to_string()
}

/// A graph of layers; its name is made printable.
fn graph(name: &str, layers: Vec<Layer>) -> Result<Graph, OnnxError> {
    Ok(Graph::new(GraphSpec { name: injerto_files::printable(name).to_string(), layers })?)
}
