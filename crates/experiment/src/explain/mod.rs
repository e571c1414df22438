//! Where a network looks: for an image and a class, a map of the image that says what the answer rests on ([`Explainer`]).
//!
//! - [`Method::GradCam`] weighs the channels of a map by the mean slope of the class's logit (Selvaraju and others, "Grad-CAM: Visual
//!   Explanations from Deep Networks via Gradient-based Localization", ICCV 2017);
//! - [`Method::Rollout`] follows the attention of a transformer back to its patches (Abnar and Zuidema, "Quantifying Attention Flow in
//!   Transformers", ACL 2020); it is the same for every class;
//! - [`Method::Occlusion`] covers parts of the image and sees how much less probable the class becomes (Zeiler and Fergus, "Visualizing
//!   and Understanding Convolutional Networks", ECCV 2014); it works for every network, and takes 50 times as long as a prediction.

mod grad_cam;
mod map;
mod occlusion;
mod rollout;
#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::sync::Arc;

use injerto_data::{LoaderOptions, Origin};
use injerto_graph::{Graph, Operator, Shape};
use injerto_insight::calibration::Temperature;
use injerto_losses::{CrossEntropy as _, Outputs};
use injerto_recipe::Loss;
use injerto_trainer::Runner;
use serde::Serialize;

use crate::one_each::OneEach;
use crate::reading::pixels;
use crate::{ExperimentError, Predictor};
use grad_cam::GradCam;
use occlusion::Occlusion;
use rollout::Rollout;

pub use map::Map;

/// How a map is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The channels of a map, weighed by the slope of the class's logit.
    GradCam,
    /// How much less probable the class becomes where the image is covered.
    Occlusion,
    /// The attention of a transformer, followed back to the patches.
    Rollout,
}

impl Method {
    /// All methods.
    pub const ALL: [Self; 3] = [Self::GradCam, Self::Occlusion, Self::Rollout];

    /// Name of the method, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::GradCam => "grad-cam",
            Self::Occlusion => "occlusion",
            Self::Rollout => "rollout",
        }
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|method| method.name() == text);
        found.ok_or_else(|| format!("expected one of {names}"))
    }
}

/// Where a network looks on one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Probability of each class, as a [`Prediction`](crate::Prediction) has it.
    pub probabilities: Vec<f32>,
    /// Position of the class that the map is of.
    pub class: usize,
    /// The map, which covers what the network sees of the image ([`Explainer::seen`]).
    pub map: Map,
}

impl Explanation {
    /// Position of the most probable class; the first of equally probable ones.
    pub fn predicted(&self) -> usize {
        largest(&self.probabilities)
    }
}

/// Makes maps of a trained network. It owns its data, can be sent to another thread, and can be used by several threads, which then wait
/// for each other where a gradient is computed.
#[derive(Debug)]
pub struct Explainer {
    engine: Engine,
    layer: Option<String>,
    options: LoaderOptions,
    classes: Arc<[String]>,
    loss: Loss,
    temperature: Option<Temperature>,
}

#[derive(Debug)]
enum Engine {
    GradCam(Box<GradCam>),
    Occlusion(Occlusion),
    Rollout(Rollout),
}

/// What a network puts out for a batch of images.
struct Batch<'a> {
    pixels: &'a [f32],
    images: usize,
    loss: &'a Loss,
}

impl Batch<'_> {
    /// Pixels of an image.
    fn image(&self, at: usize) -> &[f32] {
        let size = self.pixels.len() / self.images.max(1);
        &self.pixels[at * size..][..size]
    }

    /// Probabilities `[images, classes]` of the network's outputs for some images.
    fn probabilities(&self, outputs: &[f32], images: usize) -> Vec<f32> {
        self.loss.probabilities(Outputs::new(outputs, outputs.len() / images.max(1)))
    }
}

/// The probabilities of a batch with a map per image, before anything is made of them.
struct Maps {
    /// The network's own probabilities, `[images, classes]`.
    probabilities: Vec<f32>,
    /// The class of each map.
    classes: Vec<usize>,
    maps: Vec<Map>,
}

impl Explainer {
    /// Maps of a predictor's network, by `method`, or by the one that suits it: Grad-CAM where a map comes after the last attention,
    /// rollout for other transformers, and occlusion elsewhere. `layer` names the layer whose map Grad-CAM weighs; without it, it is the
    /// last layer that puts out a map of more than one place, before the head pools it.
    ///
    /// # Errors
    /// [`ExperimentError::NoMap`] if the method does not suit the network, or the layer puts out no map.
    pub fn new(predictor: &Predictor, method: Option<Method>, layer: Option<&str>) -> Result<Self, ExperimentError> {
        let (card, runner) = (&predictor.card, &predictor.network.runner);
        let graph = &card.graph;
        let none = |reason: String| Err(ExperimentError::NoMap { reason });
        let method = match (method, layer) {
            (None, Some(_)) => Method::GradCam,
            (None, None) => suits(graph),
            (Some(Method::GradCam), _) | (Some(_), None) => method.unwrap_or(Method::GradCam),
            (Some(other), Some(_)) => return none(format!("{} has no layer to choose", other.name())),
        };
        let (network, kernels) = (runner.network().clone(), runner.is_compiled());
        let preprocessing = card.preprocessing.clone();
        let mut named = None;
        let engine = match method {
            Method::GradCam => {
                let at = match layer {
                    Some(name) => graph.position(name)?,
                    None => match last_map(graph) {
                        Some(at) => at,
                        None => return none("the network has no map after its input; occlusion needs none".to_owned()),
                    },
                };
                let node = &graph.nodes()[at];
                if !is_map(&node.shape) {
                    let (name, shape) = (injerto_files::printable(node.name()), &node.shape);
                    return none(format!(
                        "layer '{name}' puts out {shape}, and Grad-CAM needs a map: [height, width, channels] with more than one place"
                    ));
                }
                named = Some(node.name().to_owned());
                Engine::GradCam(Box::new(GradCam::new(network, preprocessing, at, kernels)?))
            }
            Method::Rollout => match Rollout::new(network, preprocessing, kernels)? {
                Ok(rollout) => Engine::Rollout(rollout),
                Err(reason) => return none(format!("{reason}; occlusion suits every network")),
            },
            Method::Occlusion => {
                let last = graph.len() - 1;
                Engine::Occlusion(Occlusion::new(Runner::at(network, preprocessing, vec![last], kernels)?))
            }
        };
        let most = match &engine {
            Engine::Occlusion(_) => 1,
            _ => MOST_IMAGES.min(crate::predict::batch_size(card.image_size())),
        };
        let (classes, loss) = (predictor.network.classes.clone(), card.loss.clone());
        let temperature = predictor.network.temperature();
        Ok(Self { engine, layer: named, options: pixels(card, most), classes, loss, temperature })
    }

    /// The method.
    pub fn method(&self) -> Method {
        match self.engine {
            Engine::GradCam(_) => Method::GradCam,
            Engine::Occlusion(_) => Method::Occlusion,
            Engine::Rollout(_) => Method::Rollout,
        }
    }

    /// The layer whose map Grad-CAM weighs; `None` for other methods.
    pub fn layer(&self) -> Option<&str> {
        self.layer.as_deref()
    }

    /// Names of the classes, in the order of the network's outputs.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// How images are read.
    pub fn options(&self) -> &LoaderOptions {
        &self.options
    }

    /// The part of an image of this size that the network sees, and that a map covers: top, left, height and width in pixels.
    pub fn seen(&self, height: usize, width: usize) -> [usize; 4] {
        self.options.seen([height, width])
    }

    /// Maps of decoded images, `[images, height, width, 3]` with values from 0 to 255 at the size of the network, in their order. Each is
    /// of the class `of`, or of the class that is predicted.
    ///
    /// # Errors
    /// There is not enough memory.
    ///
    /// # Panics
    /// If the number of pixels is not that of `images` images, or there is no such class.
    pub fn maps(&self, pixels: &[f32], images: usize, of: Option<usize>) -> Result<Vec<Explanation>, ExperimentError> {
        if images == 0 {
            return Ok(Vec::new());
        }
        assert!(of.is_none_or(|class| class < self.classes.len()), "there is no such class");
        let batch = Batch { pixels, images, loss: &self.loss };
        let Maps { probabilities, classes, maps } = match &self.engine {
            Engine::GradCam(engine) => engine.maps(&batch, of)?,
            Engine::Occlusion(engine) => engine.maps(&batch, of)?,
            Engine::Rollout(engine) => engine.maps(&batch, of)?,
        };
        let rows = probabilities.chunks_exact(self.classes.len());
        let each = rows.zip(classes).zip(maps).map(|((row, class), map)| {
            let probabilities = crate::predict::at_temperature(row, self.temperature.as_ref());
            Explanation { probabilities, class, map }
        });
        Ok(each.collect())
    }

    /// Explains images as [`Predictor::predict`] classifies them: one result per image, in their order, decoded ahead of use.
    pub fn explain<I>(&self, images: I, of: Option<usize>) -> Explanations<'_>
    where
        I: IntoIterator<Item: Into<Origin>>,
        I::IntoIter: Send + 'static,
    {
        Explanations { explainer: self, of, images: OneEach::new(self.options.stream(images)) }
    }
}

/// Images that are explained together.
const MOST_IMAGES: usize = 16;

/// Explanations, one per image. An image that cannot be read gives an error in its place; any other error ends the iterator.
#[derive(Debug)]
pub struct Explanations<'e> {
    explainer: &'e Explainer,
    of: Option<usize>,
    images: OneEach<Explanation>,
}

impl Iterator for Explanations<'_> {
    type Item = Result<Explanation, ExperimentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let maps = |pixels: &[f32], images: usize| {
            Ok(self.explainer.maps(pixels, images, self.of)?.into_iter().map(Ok).collect())
        };
        self.images.next(maps).map(Result::flatten)
    }
}

/// The method that suits a network.
fn suits(graph: &Graph) -> Method {
    let attends = |at: &usize| matches!(graph.nodes()[*at].operator(), Operator::DotProductAttention { .. });
    let last_attention = (0..graph.len()).rev().find(attends);
    match (last_map(graph), last_attention) {
        (Some(map), attention) if attention.is_none_or(|attention| map > attention) => Method::GradCam,
        (_, Some(_)) if rollout::Flow::of(graph).is_ok() => Method::Rollout,
        _ => Method::Occlusion,
    }
}

/// The last layer that puts out a map.
fn last_map(graph: &Graph) -> Option<usize> {
    (1..graph.len() - 1).rev().find(|&at| is_map(&graph.nodes()[at].shape))
}

/// Whether an output has more than one place.
fn is_map(shape: &Shape) -> bool {
    shape.image().is_some_and(|[height, width, _]| height * width > 1)
}

/// Position of the largest value; the first of equal ones.
fn largest(values: &[f32]) -> usize {
    (0..values.len()).rev().max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap_or(0)
}
