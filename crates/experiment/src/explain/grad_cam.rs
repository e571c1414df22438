use injerto_backbones::network::Network;
use injerto_graph::Preprocessing;
use injerto_trainer::Slopes;

use super::{Batch, Map, Maps, largest};
use crate::ExperimentError;

/// Gradient-weighted class activation maps of one layer.
///
/// With the layer's output `a[place, channel]` and the logit `y` of a class, the map is
/// `max(0, sum over channels of w[channel] * a[place, channel])`, where `w[channel]` is the mean of `dy / da[place, channel]` over all
/// places.
#[derive(Debug)]
pub(super) struct GradCam {
    slopes: Slopes,
    /// Height, width and channels of the layer's output.
    shape: [usize; 3],
}

impl GradCam {
    /// Maps of the layer at a position, whose output has height and width.
    pub fn new(
        network: Network,
        preprocessing: Preprocessing,
        layer: usize,
        kernels: bool,
    ) -> Result<Self, ExperimentError> {
        let shape = network.graph().nodes()[layer].shape.image().expect("the caller has seen that it is a map");
        Ok(Self { slopes: Slopes::new(network, preprocessing, layer, kernels)?, shape })
    }

    pub fn maps(&self, batch: &Batch<'_>, of: Option<usize>) -> Result<Maps, ExperimentError> {
        let seen = self.slopes.look(batch.pixels, batch.images)?;
        let probabilities = batch.probabilities(&seen.outputs, batch.images);
        let (units, width) = (seen.outputs.len() / batch.images, probabilities.len() / batch.images);
        let classes: Vec<usize> =
            probabilities.chunks_exact(width).map(|row| of.unwrap_or_else(|| largest(row))).collect();
        let mut direction = vec![0.0; seen.outputs.len()];
        for (row, &class) in direction.chunks_exact_mut(units).zip(&classes) {
            // One unit has the logit of the second class; the first class has its negative.
            match row {
                [only] => *only = if class == 0 { -1.0 } else { 1.0 },
                row => row[class] = 1.0,
            }
        }
        let gradient = self.slopes.gradient(&seen, &direction)?;
        let [height, columns, channels] = self.shape;
        let size = height * columns * channels;
        let map = |(values, gradient): (&[f32], &[f32])| {
            let mut weights = vec![0.0_f64; channels];
            for place in gradient.chunks_exact(channels) {
                weights.iter_mut().zip(place).for_each(|(weight, slope)| *weight += f64::from(*slope));
            }
            let places = (height * columns) as f64;
            let at = |place: &[f32]| {
                let sum: f64 = place.iter().zip(&weights).map(|(value, weight)| f64::from(*value) * weight).sum();
                (sum / places) as f32
            };
            Map::new(height, columns, values.chunks_exact(channels).map(at).collect())
        };
        let maps = seen.values().chunks_exact(size).zip(gradient.chunks_exact(size)).map(map).collect();
        Ok(Maps { probabilities, classes, maps })
    }
}
