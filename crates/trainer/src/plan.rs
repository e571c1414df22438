//! The plan of a phase: which layers train, where the network is cut, which features are kept.

use injerto_data::{Loader, LoaderOptions};
use injerto_graph::{Cut, CutOptions, Graph, Operator, Split};
use injerto_recipe::{BatchNorm, FeaturePrecision};
use serde::{Deserialize, Serialize};

use crate::Phase;
use crate::cache::CacheSettings;

/// All decisions about a phase before its first batch. [`PhasePlan::resolve`] makes the plan once; a dry run prints it,
/// [`Fit`](crate::Fit) trains from it, and the folder of a run and its report show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhasePlan {
    /// The phase as the user asked for it: name, epochs, optimiser, schedule, callbacks.
    pub phase: Phase,
    /// The decisions about each layer of the network, in order.
    pub layers: Vec<LayerPlan>,
    /// The cut, and the figures that justify it.
    pub cut: Cut,
    /// Number type of stored features, which decides how many bytes a kept value takes.
    pub precision: FeaturePrecision,
    /// Number of values of the boundary per image.
    pub boundary_values: usize,
    /// The features that are kept.
    pub keeps: Keeps,
    /// Number of parameter values that train.
    pub trainable: usize,
    /// Number of parameter values that do not train.
    pub non_trainable: usize,
}

/// The decisions about a layer in a phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerPlan {
    /// Name of the layer.
    pub name: String,
    /// Whether the layer trains: its parameters change, and it may draw random numbers.
    pub trains: bool,
    /// Multiplier of the learning rate.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub learning_rate_multiplier: f64,
    /// Whether the layer is a batch normalisation that normalises by the batch and updates its running statistics.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub updates_statistics: bool,
}

/// The features that are kept in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeps {
    /// Features of the training images.
    pub training: Kept,
    /// Features of the validation images.
    pub validation: Kept,
}

/// Whether features of a set of images are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// Features of each image, or of a few random views of it, are kept.
    Features {
        /// Number of random views per image; `None` means the unchanged image.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        views: Option<usize>,
        /// Where the features are kept.
        place: Place,
    },
    /// No features are kept, for this reason, so images pass through the prefix in every epoch.
    Nothing(Reason),
}

/// Where features are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In memory, and in the cache's folder if there is one.
    Memory,
    /// In the cache's folder.
    Folder,
    /// They fit into neither, so the same values are computed again in every epoch. Free space therefore decides only how long a run
    /// takes.
    Nowhere,
}

/// The reason why no features are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There are no images of this set.
    NoImages,
    /// The prefix is only the input, which computes nothing.
    NoPrefix,
    /// Every epoch mixes the images in a new way.
    Mixed,
    /// Every epoch changes the images in a new way.
    Augmented,
}

/// The facts about the images of a phase that decide which features can be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feeding {
    /// Number of training images.
    pub training: usize,
    /// Number of validation images, if there are any.
    pub validation: Option<usize>,
    /// Whether every epoch changes the training images at random.
    pub augments: bool,
    /// Whether every epoch mixes training images.
    pub mixes: bool,
    /// If training images are changed at random, the number of views per image whose features are kept, in place of a new view in each
    /// epoch.
    pub views: Option<usize>,
    /// Whether and how features are kept.
    pub cache: CacheSettings,
}

impl Feeding {
    /// Collects the facts from loaders. `views` is the number of views per training image whose features are kept, if images change.
    pub fn new(train: &Loader, validation: Option<&Loader>, views: Option<usize>, cache: &CacheSettings) -> Self {
        let LoaderOptions { augment, mix, .. } = train.options();
        Self {
            training: train.len(),
            validation: validation.map(Loader::len),
            augments: !augment.is_empty(),
            mixes: mix.is_on(),
            views,
            cache: cache.clone(),
        }
    }

    /// Which features can be kept, before it is known where they fit: the number of views per image, or the reason why none.
    fn keepable(&self) -> [Result<Option<usize>, Reason>; 2] {
        let views = self.views.filter(|_| self.augments);
        // An image that changes in each epoch has other features in each epoch, unless a few views replace all of them.
        let training = match () {
            () if self.mixes => Err(Reason::Mixed),
            () if self.augments && views.is_none() => Err(Reason::Augmented),
            () => Ok(views),
        };
        [training, self.validation.map(|_| None).ok_or(Reason::NoImages)]
    }

    fn place(&self, rows: usize, values: usize) -> Place {
        let bytes = rows.saturating_mul(values).saturating_mul(self.cache.precision.bytes());
        match (bytes <= self.cache.memory, &self.cache.folder) {
            (true, _) => Place::Memory,
            (false, Some(_)) => Place::Folder,
            (false, None) => Place::Nowhere,
        }
    }
}

impl PhasePlan {
    /// Makes the plan of `phase` for `graph`, whose first `backbone_layers` layers are those of the backbone.
    pub fn resolve(phase: &Phase, graph: &Graph, backbone_layers: usize, feeding: &Feeding) -> Self {
        let keepable = feeding.keepable();
        let precision = feeding.cache.precision;
        let mut options = CutOptions { bytes_per_value: precision.bytes(), ..CutOptions::default() };
        if keepable.iter().all(Result::is_err) {
            // Bytes that are not stored cost nothing, and the latest cut repeats the least work. The place of storage must not
            // matter here, because features are rounded at the cut.
            options.multiply_adds_per_byte = 0.0;
        }
        let cut = Cut::new(graph, &phase.plan, options);
        let values = cut.split.boundary_values(graph);
        let kept = |images: usize, keepable: Result<Option<usize>, Reason>| match keepable {
            Err(reason) => Kept::Nothing(reason),
            Ok(_) if cut.split.prefix.len() < 2 => Kept::Nothing(Reason::NoPrefix),
            Ok(views) => {
                let rows = images.saturating_mul(views.unwrap_or(1));
                Kept::Features { views, place: feeding.place(rows, values) }
            }
        };
        let [training, validation] = keepable;
        let keeps = Keeps {
            training: kept(feeding.training, training),
            validation: kept(feeding.validation.unwrap_or(0), validation),
        };
        let layer = |at: usize| {
            let node = &graph.nodes()[at];
            let is_norm = matches!(node.operator(), Operator::BatchNormalization { .. });
            // A normalisation in the head is new, and so are its statistics.
            let updates = phase.batch_norm == BatchNorm::Update || at >= backbone_layers;
            let trains = phase.plan.trains(at);
            LayerPlan {
                name: node.name().to_owned(),
                trains,
                learning_rate_multiplier: phase.multipliers.get(at).copied().unwrap_or(1.0),
                updates_statistics: trains && is_norm && updates && cut.split.tail.contains(&at),
            }
        };
        let (trainable, non_trainable) = phase.plan.counts(graph);
        Self {
            phase: phase.clone(),
            layers: (0..graph.len()).map(layer).collect(),
            precision,
            boundary_values: values,
            keeps,
            trainable,
            non_trainable,
            cut,
        }
    }

    /// Prefix, tail and boundary.
    pub fn split(&self) -> &Split {
        &self.cut.split
    }

    /// Whether the layer at this position trains.
    pub fn trains(&self, layer: usize) -> bool {
        self.layers[layer].trains
    }

    /// Positions of the batch normalisations that update their running statistics.
    pub fn updates_statistics(&self) -> Vec<usize> {
        (0..self.layers.len()).filter(|&at| self.layers[at].updates_statistics).collect()
    }
}

fn one() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_one(multiplier: &f64) -> bool {
    multiplier.to_bits() == 1.0_f64.to_bits()
}
