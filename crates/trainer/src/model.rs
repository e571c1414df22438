use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use burn_tensor::Device;
use injerto_backbones::network::Network;
use injerto_backbones::weights::{BackboneCard, BackboneName, Precision, WeightFile, Weights};
use injerto_data::decode::Orientation;
use injerto_files::printable;
use injerto_graph::{Activation, Format, Graph, GraphError, Interpolation, Operator, Preprocessing};
use injerto_losses::{Loss, OutputActivation};
use serde::{Deserialize, Serialize};

use crate::{Runner, TrainError};

/// All that is needed to run a trained network beside its weights: it travels in the checkpoint's metadata, so that a
/// checkpoint alone can predict, without the plugin that described the backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Backbone and head in one. A card that was read has a network that takes RGB images.
    #[serde(deserialize_with = "injerto_graph::of_images")]
    pub graph: Graph,
    /// Which backbone it is, and of which parameters; checkpoints from before this was written do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<BackboneName>,
    /// How many of the first layers are the backbone's.
    pub backbone_layers: usize,
    /// How pixels become input.
    pub preprocessing: Preprocessing,
    /// Cut images to the network's aspect ratio instead of squeezing them.
    #[serde(default)]
    pub crop_to_aspect_ratio: bool,
    /// How images are resized.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// Whether photos are turned as their EXIF data says.
    #[serde(default)]
    pub exif_orientation: Orientation,
    /// Whether large JPEGs are decoded at a part of their size.
    #[serde(default)]
    pub scaled_decoding: bool,
    /// Names of the classes, in the order of the labels.
    pub classes: Vec<String>,
    /// What it was trained with; says how outputs are read.
    pub loss: Loss,
}

impl ModelCard {
    /// Key of the card in a checkpoint's metadata.
    const KEY: &str = BackboneCard::MODEL;

    /// What a file that holds the backbone alone says of it.
    ///
    /// # Errors
    /// A graph of fewer layers than the backbone is said to have.
    pub fn backbone_card(&self) -> Result<BackboneCard, GraphError> {
        Ok(BackboneCard {
            backbone: self.backbone.clone(),
            graph: self.graph.truncate(self.backbone_layers.saturating_sub(1))?,
            preprocessing: self.preprocessing.clone(),
        })
    }

    /// The card in a checkpoint's metadata, if there is one and its parts agree.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn of(metadata: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = metadata.get(Self::KEY).ok_or_else(|| format!("no '{}' in its metadata", Self::KEY))?;
        let card: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        card.check()?;
        Ok(card)
    }

    /// Whether its parts agree: a network that takes images and gives one output a class, in the way that the loss reads it.
    ///
    /// # Errors
    /// What contradicts what, in words.
    pub fn check(&self) -> Result<(), String> {
        let nodes = self.graph.nodes();
        self.graph.image_size().map_err(|error| error.to_string())?;
        if self.backbone_layers == 0 || self.backbone_layers > nodes.len() {
            return Err(format!("its backbone has {} of {} layers", self.backbone_layers, nodes.len()));
        }
        self.preprocessing.check().map_err(|error| error.to_string())?;
        let mut seen = BTreeSet::new();
        if let Some(class) = self.classes.iter().find(|class| class.is_empty() || !seen.insert(*class)) {
            return Err(format!("its classes have the name '{}' twice, or one without a name", printable(class)));
        }
        let last = nodes.last().expect("a graph has an input");
        let [units] = last.shape.0[..] else {
            return Err(format!("its output is {:?}, and no row of classes", last.shape.0));
        };
        let activation = match last.operator() {
            Operator::Dense { activation, .. } | Operator::Activation { activation } => activation,
            _ => &Activation::Linear,
        };
        let output = match activation {
            Activation::Sigmoid => OutputActivation::Sigmoid,
            Activation::Softmax => OutputActivation::Softmax,
            _ => OutputActivation::Linear,
        };
        self.loss.check(output, units, self.classes.len()).map_err(|error| error.to_string())
    }

    /// Whether both describe the same model. Which parameters made the graph is known of newer checkpoints only, and the
    /// graph itself is compared.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let unnamed = |card: &Self| Self { backbone: None, ..card.clone() };
        unnamed(self) == unnamed(other)
    }

    /// The first thing in which it is another model, in a word or two.
    pub(crate) fn differs_from(&self, other: &Self) -> &'static str {
        let differs = [
            (self.classes != other.classes, "list of classes"),
            (self.graph != other.graph || self.backbone_layers != other.backbone_layers, "network"),
            (self.loss != other.loss, "loss"),
        ];
        differs.iter().find(|(differs, _)| *differs).map_or("preprocessing", |(_, what)| what)
    }

    /// Height and width of the images that the network takes.
    ///
    /// # Panics
    /// If the network does not take RGB images, which neither a card nor a description that was read allows.
    pub fn image_size(&self) -> [usize; 2] {
        self.graph.image_size().expect("a card's network takes RGB images")
    }
}

/// A backbone with its head, on a device.
#[derive(Debug, Clone)]
pub struct Model {
    /// What runs.
    pub network: Network,
    /// What it is.
    pub card: ModelCard,
}

impl Model {
    /// What the names of tensors that belong to an optimiser's state begin with.
    pub(crate) const OPTIMIZER: &str = "optimizer:";
    /// What the names of weights begin with that early stopping may go back to.
    pub(crate) const SNAPSHOT: &str = "snapshot:";
    /// What the names of weights begin with that were those of the last epoch when early stopping went back to others.
    pub(crate) const LEFT: &str = "left:";

    /// Puts a network on a device.
    ///
    /// # Errors
    /// A graph that does not take RGB images, preprocessing that is no use, and weights that do not fit the card's graph.
    pub fn new(card: ModelCard, weights: &Weights, device: &Device) -> Result<Self, TrainError> {
        card.graph.image_size()?;
        card.preprocessing.check()?;
        let network = Network::new(Arc::new(card.graph.clone()), weights, device)?;
        Ok(Self { network, card })
    }

    /// Reads a checkpoint that [`Model::save`] wrote.
    ///
    /// # Errors
    /// A file that cannot be read, is no checkpoint, or whose weights do not fit its graph.
    pub fn load(path: &Path, device: &Device) -> Result<Self, TrainError> {
        Self::read(&WeightFile::open_as(path, Format::Safetensors)?, path, device)
    }

    /// The same from a checkpoint that is open; `path` names it in errors.
    pub(crate) fn read(file: &WeightFile, path: &Path, device: &Device) -> Result<Self, TrainError> {
        let bad = |reason: String| TrainError::Checkpoint { path: path.to_owned(), reason };
        let card = ModelCard::of(file.metadata()).map_err(bad)?;
        let others = [Self::OPTIMIZER, Self::SNAPSHOT, Self::LEFT].map(|prefix| format!("{prefix}*"));
        let weights = file.own(&card.graph, &others.each_ref().map(String::as_str))?;
        Self::new(card, &weights, device)
    }

    /// Writes weights and card as safetensors, atomically: at no moment is there half a file under that name.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path, precision: Precision) -> Result<(), TrainError> {
        Ok(self.network.weights().save(path, &self.metadata(), precision)?)
    }

    /// The card, as a checkpoint carries it.
    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        let card = serde_json::to_string(&self.card).expect("a card is plain data");
        BTreeMap::from([(ModelCard::KEY.to_owned(), card)])
    }

    /// The network as something that answers; `kernels` for a network on the CPU.
    ///
    /// # Errors
    /// As [`Runner::new`]'s.
    pub fn runner(&self, kernels: bool) -> Result<Runner, TrainError> {
        Runner::new(self.network.clone(), self.card.preprocessing.clone(), kernels)
    }
}
