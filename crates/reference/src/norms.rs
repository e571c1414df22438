//! Normalisations: of batches, of sets of values, and by the response of all channels.

use injerto_graph::Role;

use crate::layer::{Backward, Context};
use crate::tensor::Tensor;

/// What follows a normalisation: a factor and a summand for each channel, which are parameters, or 1 and 0.
struct Affine {
    /// Where gamma and beta stand among the layer's parameters, if it has them.
    places: [Option<usize>; 2],
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Affine {
    fn of(context: &Context<'_>, channels: usize) -> Self {
        let [gamma, beta] = [Role::Gamma, Role::Beta].map(|role| context.parameter(role));
        let places = [&gamma, &beta].map(|parameter| parameter.as_ref().map(|(place, _)| *place));
        let values =
            |parameter: Option<(usize, Vec<f64>)>, plain| parameter.map_or(vec![plain; channels], |(_, all)| all);
        Self { places, scale: values(gamma, 1.0), shift: values(beta, 0.0) }
    }

    fn forward(&self, normal: &Tensor) -> Tensor {
        normal.map(|c, normal| normal * self.scale[c] + self.shift[c])
    }

    /// The gradients of factor and summand by channels.
    fn sums(&self, normal: &Tensor, dy: &Tensor) -> [Vec<f64>; 2] {
        [dy.sum_by_channel(normal, |_, dy, normal| dy * normal), dy.sum_by_channel(dy, |_, dy, _| dy)]
    }

    /// Those of the parameters that there are.
    fn gradients(&self, sums: [Vec<f64>; 2]) -> Vec<(usize, Vec<f64>)> {
        self.places.into_iter().zip(sums).filter_map(|(place, sum)| Some((place?, sum))).collect()
    }
}

/// `y = (x - mean) / sqrt(variance + epsilon) * gamma + beta` by channels, with the statistics of the batch or the running ones.
pub(crate) fn normalise(x: &Tensor, epsilon: f64, momentum: f64, context: &mut Context<'_>) -> (Tensor, Backward) {
    let channels = x.channels();
    let rows = (x.values.len() / channels) as f64;
    let affine = Affine::of(context, x.channels());
    let [running_mean, running_variance] = [Role::MovingMean, Role::MovingVariance].map(|role| context.needed(role));
    let uses_batch = context.uses_batch;
    let (mut mean, mut variance) = (running_mean.1.clone(), running_variance.1.clone());
    if uses_batch {
        mean = x.sum_by_channel(x, |_, x, _| x / rows);
        variance = x.sum_by_channel(x, |c, x, _| (x - mean[c]).powi(2) / rows);
        for ((place, old), new) in [(running_mean, &mean), (running_variance, &variance)] {
            let moved = old.iter().zip(new).map(|(old, new)| old * momentum + new * (1.0 - momentum)).collect();
            context.moved.push((place, moved));
        }
    }
    let inverse: Vec<f64> = variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
    let normal = x.map(|c, x| (x - mean[c]) * inverse[c]);
    let y = affine.forward(&normal);
    let back = move |dy: &Tensor| {
        let [of_gamma, of_beta] = affine.sums(&normal, dy);
        let mut dx = dy.map(|c, dy| dy * affine.scale[c] * inverse[c]);
        if uses_batch {
            // The batch's mean and variance depend on x too.
            for (at, (dx, normal)) in dx.values.iter_mut().zip(&normal.values).enumerate() {
                let c = at % channels;
                *dx -= affine.scale[c] * inverse[c] * (of_beta[c] + normal * of_gamma[c]) / rows;
            }
        }
        (vec![dx], affine.gradients([of_gamma, of_beta]))
    };
    (y, Backward::new(back))
}

/// Normalises the values that belong to the same set; `set` gives the number of the set of each value.
pub(crate) fn standardise(
    x: &Tensor,
    set: impl Fn(usize) -> usize,
    epsilon: f64,
    context: &mut Context<'_>,
) -> (Tensor, Backward) {
    let affine = Affine::of(context, x.channels());
    let sets: Vec<usize> = (0..x.values.len()).map(set).collect();
    let count = sets.iter().max().map_or(0, |last| last + 1);
    // For each value, the mean of its set.
    let means = move |values: &mut dyn Iterator<Item = f64>| {
        let mut sums = vec![0.0; count];
        let size = (sets.len() / count) as f64;
        values.zip(&sets).for_each(|(value, &set)| sums[set] += value / size);
        sets.iter().map(|&set| sums[set]).collect::<Vec<f64>>()
    };
    let mean = means(&mut x.values.iter().copied());
    let variance = means(&mut x.values.iter().zip(&mean).map(|(x, mean)| (x - mean).powi(2)));
    let inverse: Vec<f64> = variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
    let mut normal = x.clone();
    for ((x, mean), inverse) in normal.values.iter_mut().zip(&mean).zip(&inverse) {
        *x = (*x - mean) * inverse;
    }
    let y = affine.forward(&normal);
    let back = move |dy: &Tensor| {
        let gradients = affine.gradients(affine.sums(&normal, dy));
        // Mean and variance depend on x too.
        let mut dx = dy.map(|c, dy| dy * affine.scale[c]);
        let plain = means(&mut dx.values.iter().copied());
        let along = means(&mut dx.values.iter().zip(&normal.values).map(|(dx, normal)| dx * normal));
        for (at, dx) in dx.values.iter_mut().enumerate() {
            *dx = (*dx - plain[at] - normal.values[at] * along[at]) * inverse[at];
        }
        (vec![dx], gradients)
    };
    (y, Backward::new(back))
}

/// `y = x + gamma * x * n + beta`, where `n[c] = g[c] / (mean of g + epsilon)` and `g[c]` is the Euclidean norm of channel c over all
/// positions of a sample.
pub(crate) fn respond(x: &Tensor, epsilon: f64, context: &mut Context<'_>) -> (Tensor, Backward) {
    let ((gamma_place, gamma), (beta_place, beta)) = (context.needed(Role::Gamma), context.needed(Role::Beta));
    let (channels, count) = (x.channels(), x.count());
    let sums = move |values: &mut dyn Iterator<Item = f64>, batch: usize| {
        let mut sums = vec![0.0; batch * channels];
        values.enumerate().for_each(|(at, value)| sums[at / count * channels + at % channels] += value);
        sums
    };
    let norm: Vec<f64> = sums(&mut x.values.iter().map(|x| x * x), x.batch).iter().map(|sum| sum.sqrt()).collect();
    let whole: Vec<f64> =
        norm.chunks_exact(channels).map(|norm| norm.iter().sum::<f64>() / channels as f64 + epsilon).collect();
    let place = move |at: usize| at / count * channels + at % channels;
    let (mut y, x) = (x.clone(), x.clone());
    for (at, y) in y.values.iter_mut().enumerate() {
        let share = norm[place(at)] / whole[at / count];
        *y += gamma[at % channels] * *y * share + beta[at % channels];
    }
    let back = move |dy: &Tensor| {
        let share = |at: usize| norm[place(at)] / whole[at / count];
        let (mut of_gamma, mut of_beta) = (vec![0.0; channels], vec![0.0; channels]);
        for (at, dy) in dy.values.iter().enumerate() {
            of_gamma[at % channels] += dy * x.values[at] * share(at);
            of_beta[at % channels] += dy;
        }
        // The slope along n of each channel, and from there along g.
        let each = |at: usize| dy.values[at] * gamma[at % channels] * x.values[at];
        let of_share = sums(&mut (0..dy.values.len()).map(each), dy.batch);
        let of_norm = |at: usize| {
            let (sample, own) = (at / count, place(at));
            let row = sample * channels..(sample + 1) * channels;
            let all: f64 = of_share[row.clone()].iter().zip(&norm[row]).map(|(slope, norm)| slope * norm).sum();
            of_share[own] / whole[sample] - all / whole[sample].powi(2) / channels as f64
        };
        let mut dx = dy.clone();
        for (at, dx) in dx.values.iter_mut().enumerate() {
            let length = norm[place(at)];
            // As in PyTorch, a channel of zeros has no slope along its norm.
            let along = if length > 0.0 { of_norm(at) * x.values[at] / length } else { 0.0 };
            *dx = *dx * (1.0 + gamma[at % channels] * share(at)) + along;
        }
        (vec![dx], vec![(gamma_place, of_gamma), (beta_place, of_beta)])
    };
    (y, Backward::new(back))
}
