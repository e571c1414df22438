use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use burn_tensor::Device;
use injerto_backbones::network::{Network, NetworkError};
use injerto_backbones::weights::{BackboneCard, BackboneName, Precision, WeightFile, Weights};
use injerto_data::decode::Orientation;
use injerto_files::printable;
use injerto_graph::{Activation, Format, Graph, GraphError, Interpolation, Operator, Preprocessing};
use injerto_recipe::{Loss, Task};
use serde::{Deserialize, Serialize};

use crate::{Arithmetics, Runner, TrainError};

/// Everything that is needed to run a trained network, apart from its weights. The card is in the metadata of a checkpoint, so that a
/// checkpoint alone can predict, without the plugin that described the backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The network of backbone and head. In a card that was read, the network takes RGB images.
    #[serde(deserialize_with = "injerto_graph::of_images")]
    pub graph: Graph,
    /// Name and parameters of the backbone. Old checkpoints do not contain them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<BackboneName>,
    /// Number of layers of the backbone, which are the first ones.
    pub backbone_layers: usize,
    /// How pixels become input.
    pub preprocessing: Preprocessing,
    /// Whether images are cropped to the network's aspect ratio instead of squeezed.
    #[serde(default)]
    pub crop_to_aspect_ratio: bool,
    /// How images are resized.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// Whether photos are turned according to their EXIF data.
    #[serde(default)]
    pub exif_orientation: Orientation,
    /// Whether large JPEGs are decoded at a fraction of their size.
    #[serde(default)]
    pub scaled_decoding: bool,
    /// Names of the classes, in the order of the labels.
    pub classes: Vec<String>,
    /// The loss of the training, which decides how outputs are interpreted.
    pub loss: Loss,
    /// Where an image may have several classes: the probability of each class from which on an image is said to have it. They are those
    /// with the best F1 on the validation images in the best epoch so far, and one half before. `None`: an image has one class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Vec<f32>>,
}

impl ModelCard {
    /// Metadata key of the card in a checkpoint.
    const KEY: &str = BackboneCard::MODEL;

    /// The card of the backbone alone.
    ///
    /// # Errors
    /// The graph has fewer layers than `backbone_layers`.
    pub fn backbone_card(&self) -> Result<BackboneCard, GraphError> {
        Ok(BackboneCard {
            backbone: self.backbone.clone(),
            graph: self.graph.truncate(self.backbone_layers.saturating_sub(1))?,
            preprocessing: self.preprocessing.clone(),
        })
    }

    /// How many classes an image may have.
    pub fn task(&self) -> Task {
        match self.thresholds {
            None => Task::MultiClass,
            Some(_) => Task::MultiLabel,
        }
    }

    /// Reads the card in the metadata of a checkpoint, and checks that it is consistent.
    ///
    /// # Errors
    /// The problem with the metadata, in words.
    pub fn of(metadata: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = metadata.get(Self::KEY).ok_or_else(|| format!("no '{}' in its metadata", Self::KEY))?;
        let card: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        card.check()?;
        Ok(card)
    }

    /// Checks that the card is consistent: its network takes images and has outputs that fit the classes and the loss.
    ///
    /// # Errors
    /// The contradiction, in words.
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
            return Err(format!("its output has shape {:?}, expected one row of classes", last.shape.0));
        };
        let activation = match last.operator() {
            Operator::Dense { activation, .. } | Operator::Activation { activation } => activation,
            _ => &Activation::Linear,
        };
        if let Some(thresholds) = &self.thresholds {
            let holds = thresholds.len() == self.classes.len() && thresholds.iter().all(|p| (0.0..=1.0).contains(p));
            if !holds {
                return Err(format!(
                    "its thresholds are not one probability for each of {} classes",
                    self.classes.len()
                ));
            }
        }
        self.loss.check(self.task(), *activation, units, self.classes.len()).map_err(|error| error.to_string())
    }

    /// Whether both cards describe the same model. The graphs are compared, and not the parameters of the backbone, which old checkpoints
    /// do not contain; and of the thresholds only whether there are some, because training finds them.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let unnamed = |card: &Self| {
            let thresholds = card.thresholds.as_ref().map(|_| Vec::new());
            Self { backbone: None, thresholds, ..card.clone() }
        };
        unnamed(self) == unnamed(other)
    }

    /// The first difference between the models, in a few words.
    pub(crate) fn differs_from(&self, other: &Self) -> &'static str {
        let differs = [
            (self.classes != other.classes, "list of classes"),
            (self.graph != other.graph || self.backbone_layers != other.backbone_layers, "network"),
            (self.loss != other.loss, "loss"),
            (self.task() != other.task(), "number of classes per image"),
        ];
        differs.iter().find(|(differs, _)| *differs).map_or("preprocessing", |(_, what)| what)
    }

    /// Position of the layer whose output the head learns from: the head's global pooling, or the last layer of the backbone
    /// if the head has none.
    pub fn head_input(&self) -> usize {
        head_input(&self.graph, self.backbone_layers)
    }

    /// Height and width of the images that the network takes.
    ///
    /// # Panics
    /// If the network does not take RGB images, which reading a card or a description has ruled out.
    pub fn image_size(&self) -> [usize; 2] {
        self.graph.image_size().expect("a card's network takes RGB images")
    }
}

/// Position of the layer whose output the head learns from, in a network whose first `backbone_layers` layers are the backbone:
/// [`ModelCard::head_input`].
pub fn head_input(graph: &Graph, backbone_layers: usize) -> usize {
    let (nodes, end) = (graph.nodes(), backbone_layers - 1);
    let pools = |at: &usize| nodes[*at].inputs == [end] && nodes[*at].operator().class().starts_with("Global");
    (end + 1..nodes.len()).find(pools).unwrap_or(end)
}

/// A backbone with its head, on a device.
#[derive(Debug, Clone)]
pub struct Model {
    /// The network with its parameters.
    pub network: Network,
    /// The card, which describes the model.
    pub card: ModelCard,
    /// The arithmetic with which it trains, if an experiment has chosen it; otherwise `f32`. Checkpoints record the
    /// choice, even if it is `f32`, because another machine might choose otherwise. Reading a checkpoint does not restore the choice: whole
    /// networks are then computed in `f32`.
    pub arithmetic: Option<Arithmetics>,
}

impl Model {
    /// Prefix of the names of tensors that belong to the state of an optimiser.
    pub(crate) const OPTIMIZER: &str = "optimizer:";
    /// Prefix of the names of weights that early stopping may restore.
    pub(crate) const SNAPSHOT: &str = "snapshot:";
    /// Prefix of the names of weights of the last epoch, if early stopping has restored others.
    pub(crate) const LEFT: &str = "left:";

    /// Puts a network on a device.
    ///
    /// # Errors
    /// The graph does not take RGB images, the preprocessing would lose the image, or the weights do not fit the graph.
    pub fn new(card: ModelCard, weights: &Weights, device: &Device) -> Result<Self, TrainError> {
        card.graph.image_size()?;
        card.preprocessing.check()?;
        let network = Network::new(Arc::new(card.graph.clone()), weights, device)?;
        Ok(Self { network, card, arithmetic: None })
    }

    /// Reads a checkpoint that [`Model::save`] wrote.
    ///
    /// # Errors
    /// The file cannot be read, is not a checkpoint, or has weights that do not fit its graph.
    pub fn load(path: &Path, device: &Device) -> Result<Self, TrainError> {
        Ok(Self::open(path, device)?.0)
    }

    /// Reads a checkpoint as [`Model::load`] does, and returns the file's checksum with it ([`WeightFile::checksum`]).
    ///
    /// # Errors
    /// Those of [`Model::load`].
    pub fn open(path: &Path, device: &Device) -> Result<(Self, Option<String>), TrainError> {
        let file = WeightFile::open_as(path, Format::Safetensors)?;
        let model = Self::read(&file, path, device).map_err(|error| match error {
            TrainError::Network(error @ NetworkError::NegativeVariance { .. }) => {
                TrainError::Checkpoint { path: path.to_owned(), reason: error.to_string() }
            }
            error => error,
        })?;
        Ok((model, file.checksum().map(str::to_owned)))
    }

    /// Reads an open checkpoint. `path` names it in errors.
    pub(crate) fn read(file: &WeightFile, path: &Path, device: &Device) -> Result<Self, TrainError> {
        let bad = |reason: String| TrainError::Checkpoint { path: path.to_owned(), reason };
        let card = ModelCard::of(file.metadata()).map_err(bad)?;
        let others = [Self::OPTIMIZER, Self::SNAPSHOT, Self::LEFT].map(|prefix| format!("{prefix}*"));
        let weights = file.own(&card.graph, &others.each_ref().map(String::as_str))?;
        Self::new(card, &weights, device)
    }

    /// Writes weights and card as safetensors. The file appears whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path, precision: Precision) -> Result<(), TrainError> {
        Ok(self.network.weights().save(path, &self.metadata(), precision)?)
    }

    /// The arithmetic with which it trains.
    pub(crate) fn arithmetic(&self) -> Arithmetics {
        self.arithmetic.unwrap_or_else(Arithmetics::f32)
    }

    /// The card as metadata of a checkpoint, and what the network has been trained in where an experiment has chosen it.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let card = serde_json::to_string(&self.card).expect("a card is plain data");
        let arithmetic = self.arithmetic.map(|chosen| {
            let said = serde_json::to_string(&chosen.said()).expect("words are plain data");
            (Arithmetics::KEY.to_owned(), said)
        });
        std::iter::once((ModelCard::KEY.to_owned(), card)).chain(arithmetic).collect()
    }

    /// A runner of the network; with `kernels` for a network on the CPU.
    ///
    /// # Errors
    /// Those of [`Runner::new`].
    pub fn runner(&self, kernels: bool) -> Result<Runner, TrainError> {
        Runner::new(self.network.clone(), self.card.preprocessing.clone(), kernels)
    }
}
