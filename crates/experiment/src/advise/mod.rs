//! Advice on the strategy for a dataset and a backbone. It rests on the number of images per class, and on the depth of
//! the backbone at which the features separate the classes best.

mod ask;

use burn_tensor::Device;
use injerto_config::Strategy;
use injerto_graph::Graph;
use injerto_insight::{FeatureTable, Image, Matrix, logme};
use injerto_trainer::{Event, Runner, Watch};
use serde::Serialize;

use crate::{ExperimentError, Prepared};

pub use ask::Ask;

/// Approximate number of images per class from which training the whole network is worthwhile.
const MANY: usize = 1000;

/// Upper limit of the images that features are computed for. The cost of the score grows with the cube of their number.
const SAMPLE: usize = 600;

/// Upper limit of the depths that are compared.
const DEPTHS: usize = 6;

/// If an earlier layer scores higher than the last one by more than this, the last layers serve another task. (On flowers,
/// an InceptionV3 whose upper layers were trained for another task scores higher by 0.1 and more in its middle than at its
/// end; MobileNetV2 with ImageNet's weights scores highest at its end.)
const MARGIN: f64 = 0.02;

/// The score of one layer: how well its features separate the classes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerScore {
    /// Position of the layer in the backbone.
    pub index: usize,
    /// Name of the layer.
    pub layer: String,
    /// Number of features after global average pooling, which is the number of channels.
    pub features: usize,
    /// LogME score in nats per image; higher is better.
    pub logme: f64,
}

/// A recommended strategy with the figures that it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// Name and number of images of each class.
    pub classes: Vec<(String, usize)>,
    /// Scores of the compared layers, from the input to the output of the backbone.
    pub layers: Vec<LayerScore>,
    /// The recommended strategy.
    pub strategy: Strategy,
    /// The last layer to keep, for [`Strategy::EarlyLayers`].
    pub last_layer: Option<String>,
    /// Reason for the recommendation, in words.
    pub reason: String,
}

/// Runs a sample of the training images through the backbone, scores its layers and recommends a strategy. Returns `None`
/// if `watch` was stopped. The observer receives [`Event::Evaluated`] after each batch.
///
/// # Errors
/// [`ExperimentError`] if an image cannot be read, or if the weights cannot be put on the device.
pub fn advise(prepared: &Prepared, device: &Device, watch: &mut Watch<'_>) -> Result<Option<Advice>, ExperimentError> {
    let dataset = &prepared.train;
    let classes: Option<Vec<u32>> = dataset.samples.iter().map(|sample| sample.label.class()).collect();
    let Some(class_of) = classes else { return Err(ExperimentError::SeveralClasses { what: "advice on a strategy" }) };
    let counts = dataset.counts();
    let (loader, _) = prepared.loaders(prepared.config.seed);
    // The sample has the same number of images per class: the first ones in the order of the first epoch.
    let per_class = (SAMPLE / counts.len()).max(2);
    let mut taken = vec![0; counts.len()];
    let sample: Vec<usize> = loader
        .order(0)
        .into_iter()
        .filter(|&image| {
            let taken = &mut taken[class_of[image] as usize];
            *taken += 1;
            *taken <= per_class
        })
        .collect();
    let depths = depths(&prepared.backbone);
    let model = prepared.model(prepared.config.seed, device)?;
    let runner = Runner::at(model.network, model.card.preprocessing, depths.clone(), prepared.config.uses_kernels())?;
    let nodes = prepared.backbone.nodes();
    let (mut features, mut labels) = (vec![Vec::new(); depths.len()], Vec::new());
    for batch in loader.batches(&sample) {
        let batch = batch?;
        let values = runner.values(&batch.pixels, batch.labels.len())?;
        for ((rows, &at), values) in features.iter_mut().zip(&depths).zip(values) {
            let shape = &nodes[at].shape;
            rows.extend(values.chunks_exact(shape.count()).flat_map(|image| pooled(image, shape.channels())));
        }
        labels.extend(batch.indices.iter().map(|&image| class_of[image]));
        watch.observer.observe(&Event::Evaluated { done: labels.len(), total: sample.len() });
        if watch.is_stopped() {
            return Ok(None);
        }
    }
    let score = |(&index, rows): (&usize, Vec<f32>)| {
        let features = nodes[index].shape.channels();
        let images = labels.iter().enumerate().map(|(at, &label)| Image::new(at.to_string(), label)).collect();
        let table = FeatureTable::new(Matrix::new(features, rows)?, images, dataset.classes.clone())?;
        Ok(LayerScore { index, layer: nodes[index].name().to_owned(), features, logme: logme(&table)? })
    };
    let layers: Vec<LayerScore> = depths.iter().zip(features).map(score).collect::<Result<_, ExperimentError>>()?;
    let classes = dataset.classes.iter().cloned().zip(counts).collect();
    Ok(Some(decide(classes, layers)))
}

/// Chooses a strategy by two questions: is there much or little data, and does it resemble the data that the backbone was
/// trained on?
fn decide(classes: Vec<(String, usize)>, layers: Vec<LayerScore>) -> Advice {
    let fewest = classes.iter().map(|(_, count)| *count).min().unwrap_or(0);
    let last = &layers[layers.len() - 1];
    let best = layers.iter().max_by(|a, b| a.logme.total_cmp(&b.logme)).unwrap_or(last);
    let unlike = best.logme - last.logme > MARGIN;
    let where_best = format!("{:.3} at '{}', {:.3} at the end", best.logme, best.layer, last.logme);
    let (strategy, last_layer, reason) = match (fewest >= MANY, unlike) {
        (true, _) => {
            let reason = format!("at least {fewest} images per class are enough to train everything");
            (Strategy::RetrainAll, None, reason)
        }
        (false, true) => {
            let reason = format!(
                "{fewest} images in the smallest class are few, and the last layers serve another task: features of an \
                 earlier layer separate the classes better ({where_best})"
            );
            (Strategy::EarlyLayers, Some(best.layer.clone()), reason)
        }
        (false, false) => {
            let reason = format!(
                "{fewest} images in the smallest class are few, and no earlier features separate the classes better than \
                 the backbone's last ones ({where_best})"
            );
            (Strategy::FeatureExtractor, None, reason)
        }
    };
    Advice { classes, layers, strategy, last_layer, reason }
}

/// Positions of layers whose output is the only tensor that later layers read, spread over the last three quarters of the
/// backbone. The last layer is always one of them.
fn depths(backbone: &Graph) -> Vec<usize> {
    let nodes = backbone.nodes();
    let end = nodes.len() - 1;
    // The last layer that reads each layer's output.
    let mut read_until: Vec<usize> = (0..nodes.len()).collect();
    for (at, node) in nodes.iter().enumerate() {
        node.inputs.iter().for_each(|&input| read_until[input] = at);
    }
    let alone = |at: usize| read_until[..at].iter().all(|&until| until <= at);
    // Of consecutive layers of this kind (convolution, normalisation, activation), only the last is a candidate.
    let cuts: Vec<usize> = (1..nodes.len()).filter(|&at| alone(at)).collect();
    let ends: Vec<usize> = cuts
        .iter()
        .copied()
        .filter(|&at| at == end || !(cuts.contains(&(at + 1)) && nodes[at + 1].operator().class() != "Conv2D"))
        .filter(|&at| at >= end / 4)
        .collect();
    let count = ends.len().min(DEPTHS);
    let mut chosen: Vec<usize> = (1..=count).map(|i| ends[(i * ends.len()).div_ceil(count) - 1]).collect();
    if chosen.last() != Some(&end) {
        chosen.push(end);
    }
    chosen
}

/// Mean over height and width, one value per channel.
pub(crate) fn pooled(image: &[f32], channels: usize) -> Vec<f32> {
    let mut means = vec![0.0; channels];
    for pixel in image.chunks_exact(channels) {
        means.iter_mut().zip(pixel).for_each(|(mean, value)| *mean += value);
    }
    let pixels = (image.len() / channels) as f32;
    means.iter_mut().for_each(|mean| *mean /= pixels);
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule() {
        let check = |count: usize, scores: &[f64], strategy: Strategy, last_layer: Option<&str>| {
            let layer = |(index, &logme): (usize, &f64)| LayerScore {
                index,
                layer: format!("layer_{index}"),
                features: 8,
                logme,
            };
            let advice = decide(
                vec![("a".to_owned(), 5000), ("b".to_owned(), count)],
                scores.iter().enumerate().map(layer).collect(),
            );
            assert_eq!((advice.strategy, advice.last_layer.as_deref()), (strategy, last_layer), "{}", advice.reason);
        };
        check(100, &[-0.2, 0.1, 0.3], Strategy::FeatureExtractor, None);
        check(100, &[-0.2, 0.31, 0.3], Strategy::FeatureExtractor, None);
        check(100, &[-0.2, 0.4, 0.3], Strategy::EarlyLayers, Some("layer_1"));
        check(2000, &[-0.2, 0.4, 0.3], Strategy::RetrainAll, None);
    }
}
