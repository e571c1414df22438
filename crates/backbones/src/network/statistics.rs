use std::sync::Arc;

use burn_tensor::Device;
use injerto_graph::{Graph, Operator, Preprocessing};

use super::{Network, to_input};
use crate::weights::Weights;

/// Spread that is added to both sides of a comparison, relative to the mean spread of the channels. The values of channels that were
/// dead in training are only rounding errors.
const FLOOR: f64 = 1e-3;

/// Distance of images from those on which a network was trained, measured at its first batch normalisation, which holds the mean and
/// the variance of each of its channels in training. It is `None` for a network without batch normalisation.
///
/// The distance is the median over the channels of two terms: the logarithm of the ratio of the spreads, and the difference of the
/// means in units of the spread. It is about 0.1 to 0.3 for similar images with the same scaling, and 0.7 or more for pixels that were
/// scaled to half the range.
///
/// # Panics
/// If `pixels` does not hold `batch` images of the network's size.
pub fn distance_from_training(
    graph: &Graph,
    weights: &Weights,
    preprocessing: &Preprocessing,
    pixels: &[f32],
    batch: usize,
) -> Option<f64> {
    let is_norm = |operator: &Operator| matches!(operator, Operator::BatchNormalization { .. });
    let node = graph.nodes().iter().find(|node| is_norm(node.operator()))?;
    let held = |parameter: &str| weights.get(&format!("{}/{parameter}", node.name()));
    let (means, variances) = (held("moving_mean")?, held("moving_variance")?);
    let front = graph.truncate(*node.inputs.first()?).ok()?;
    let network = Network::new(Arc::new(front), weights, &Device::flex()).ok()?;
    let shape = &graph.input_shape().0;
    let input = to_input(pixels, [batch, shape[0], shape[1]], preprocessing, network.device());
    let found = statistics(&network.forward(input).to_host(), means.data.len());
    let all = variances.data.iter().map(|&x| f64::from(x)).sum::<f64>() / variances.data.len().max(1) as f64;
    let floor = FLOOR * all;
    let mut distances: Vec<f64> = found
        .iter()
        .zip(means.data.iter().zip(&variances.data))
        .map(|((mean, variance), (&held_mean, &held_variance))| {
            let (ours, theirs) = (variance + floor, f64::from(held_variance) + floor);
            let spread = (ours / theirs).ln().abs() / 2.0;
            spread + (mean - f64::from(held_mean)).abs() / ours.max(theirs).sqrt()
        })
        .collect();
    distances.sort_by(f64::total_cmp);
    distances.get(distances.len() / 2).copied().filter(|distance| distance.is_finite())
}

/// Mean and variance of each channel.
fn statistics(values: &[f32], channels: usize) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0, 0.0); channels];
    for pixel in values.chunks_exact(channels.max(1)) {
        for ((sum, squares), &value) in sums.iter_mut().zip(pixel) {
            *sum += f64::from(value);
            *squares += f64::from(value) * f64::from(value);
        }
    }
    let count = (values.len() / channels.max(1)).max(1) as f64;
    sums.into_iter().map(|(sum, squares)| (sum / count, (squares / count - (sum / count).powi(2)).max(0.0))).collect()
}
