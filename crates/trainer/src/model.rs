use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use injerto_backbones::network::Network;
use injerto_backbones::weights::{BackboneCard, BackboneName, Precision, WeightFile, Weights};
use injerto_data::decode::Orientation;
use injerto_graph::{Format, Graph, GraphError, Interpolation, Preprocessing};
use injerto_losses::Loss;
use serde::{Deserialize, Serialize};

use crate::{Runner, TrainError};

/// All that is needed to run a trained network beside its weights: it travels in the checkpoint's metadata, so that a
/// checkpoint alone can predict, without the plugin that described the backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Backbone and head in one.
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

    /// Height and width of the images that the network takes.
    pub fn image_size(&self) -> [usize; 2] {
        let shape = &self.graph.input_shape().0;
        [shape[0], shape[1]]
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

    /// Puts a network on a device.
    ///
    /// # Errors
    /// Weights that do not fit the card's graph.
    pub fn new(card: ModelCard, weights: &Weights, device: &Device) -> Result<Self, TrainError> {
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
        let card = file.metadata().get(ModelCard::KEY);
        let card = card.ok_or_else(|| bad(format!("no '{}' in its metadata", ModelCard::KEY)))?;
        let card: ModelCard = serde_json::from_str(card).map_err(|error| bad(error.to_string()))?;
        let weights = file.own(&card.graph, &[&format!("{}*", Self::OPTIMIZER), &format!("{}*", Self::SNAPSHOT)])?;
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
