//! A phase, decided: what trains, where the network is cut, what is kept.

use injerto_data::{Loader, LoaderOptions};
use injerto_graph::{Cut, CutOptions, Graph, Operator, Split};
use serde::{Deserialize, Serialize};

use crate::cache::{CacheSettings, FeaturePrecision};
use crate::{BatchNorm, Phase};

/// Everything that is decided about a phase before its first batch. It is made once, by [`PhasePlan::resolve`]; a dry run
/// prints it, [`Fit`](crate::Fit) trains from it, and a run's folder and its report show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhasePlan {
    /// The phase as it was asked for: name, epochs, optimiser, schedule, callbacks.
    pub phase: Phase,
    /// What becomes of each layer of the network, in order.
    pub layers: Vec<LayerPlan>,
    /// Where the network is cut, and why.
    pub cut: Cut,
    /// Number type of stored features, which says what a kept value costs.
    pub precision: FeaturePrecision,
    /// Values that cross the cut per image.
    pub boundary_values: usize,
    /// Which features are kept.
    pub keeps: Keeps,
    /// Number of values that train.
    pub trainable: usize,
    /// Number of values that do not.
    pub non_trainable: usize,
}

/// What becomes of a layer in a phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerPlan {
    /// Its name.
    pub name: String,
    /// Whether its parameters train and it draws random numbers.
    pub trains: bool,
    /// What the learning rate is multiplied by.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub learning_rate_multiplier: f64,
    /// Whether it is a batch normalisation that uses the batch's statistics and moves its running statistics towards them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub updates_statistics: bool,
}

/// Which features are kept in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeps {
    /// Those of the training images.
    pub training: Kept,
    /// Those of the validation images.
    pub validation: Kept,
}

/// Whether features of a set of images are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// They are those of each image, or of a few random views of it.
    Features {
        /// How many random views of each image; `None`: the image as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        views: Option<usize>,
        /// Where they are.
        place: Place,
    },
    /// They are not, for this reason: images pass the prefix in every epoch.
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
    /// They fit into neither: the same values are computed anew in every epoch. So room decides how long a run takes, and
    /// nothing else.
    Nowhere,
}

/// Why no features are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There are no such images.
    NoImages,
    /// The prefix is the input alone, which computes nothing.
    NoPrefix,
    /// Every epoch mixes the images anew.
    Mixed,
    /// Every epoch changes the images anew.
    Augmented,
}

/// What a phase is fed with, as far as it decides what can be kept.
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
    /// Where training images are changed at random: keep the features of so many views of each, in place of a new one in
    /// each epoch.
    pub views: Option<usize>,
    /// Whether and how features are kept.
    pub cache: CacheSettings,
}

impl Feeding {
    /// From loaders; `views` is the number of views of each training image to keep features of, if they change.
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

    /// Which features can be kept at all, before it is known where they fit: views per image, or why none.
    fn keepable(&self) -> [Result<Option<usize>, Reason>; 2] {
        let views = self.views.filter(|_| self.augments);
        // Another image in each epoch has other features in each epoch, unless a few views stand for all of them.
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
    /// Decides about `phase` over `graph`, whose first `backbone_layers` layers are the backbone's.
    pub fn resolve(phase: &Phase, graph: &Graph, backbone_layers: usize, feeding: &Feeding) -> Self {
        let keepable = feeding.keepable();
        let precision = feeding.cache.precision;
        let mut options = CutOptions { bytes_per_value: precision.bytes(), ..CutOptions::default() };
        if keepable.iter().all(Result::is_err) {
            // Bytes that nobody stores cost nothing: the latest cut repeats the least work. Where they are stored must not
            // matter, because features are rounded at the cut.
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
            // A normalisation in the head is new, and its statistics with it.
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

    /// Positions of the batch normalisations that move their running statistics.
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
