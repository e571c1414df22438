use rayon::prelude::*;

use crate::dense;
use crate::table::Matrix;

/// Rows of a block: so many rows of a thousand features stay in a core's cache between the two products.
const BLOCK: usize = 64;
/// Upper limit of the parts into which the rows are divided; one thread adds up each part. The parts depend only on the number of rows, so
/// sums are rounded in the same way for any number of threads. More parts would take more memory.
const MOST_PARTS: usize = 128;

/// Logistic regression with an L2 penalty on some rows of a matrix, as a function to be minimised:
///
/// ```text
/// strength · Σ loss(row) + ½ ‖weights‖²
/// ```
///
/// This is scikit-learn's objective (its `C` is the strength; the intercept is not penalised). Two classes have one
/// output, whose logit is that of the second class; more classes have one output each, with a softmax over all of them.
///
/// Features are standardised by mean and deviation of these rows. Instead of the features, the weights are scaled, so that all folds
/// read the same matrix.
///
/// A point is a vector `[outputs · width + outputs]`: first the weights of each output, then the intercepts.
pub(super) struct Problem<'a> {
    matrix: &'a Matrix,
    rows: &'a [usize],
    /// For each of `rows`, the index of its class among the classes that occur.
    targets: Vec<u32>,
    outputs: usize,
    mean: Vec<f64>,
    scale: Vec<f64>,
    strength: f64,
}

/// The function at a point.
pub(super) struct Value {
    pub loss: f64,
    pub gradient: Vec<f64>,
    /// The probability of each row and output, from which the curvature is computed.
    probabilities: Vec<f32>,
}

/// Sums over one part of the rows.
struct Partial {
    loss: f64,
    products: Vec<f32>,
    sums: Vec<f64>,
    probabilities: Vec<f32>,
}

/// Weights and intercepts for the features of the matrix, which are not standardised by these rows.
struct Effective {
    weights: Vec<f32>,
    intercepts: Vec<f64>,
}

impl<'a> Problem<'a> {
    /// The problem for some rows. `targets` are below `classes`, which is at least 2.
    pub fn new(matrix: &'a Matrix, rows: &'a [usize], targets: Vec<u32>, classes: usize, strength: f64) -> Self {
        let (mean, scale) = moments(matrix, rows);
        let outputs = if classes == 2 { 1 } else { classes };
        Self { matrix, rows, targets, outputs, mean, scale, strength }
    }

    pub fn dimensions(&self) -> usize {
        self.outputs * (self.matrix.width() + 1)
    }

    /// Loss and gradient at a point.
    pub fn value(&self, point: &[f64]) -> Value {
        let partials = self.parts(point, &self.targets, |targets, logits| {
            let mut loss = 0.0;
            let mut probabilities = Vec::with_capacity(logits.len());
            let mut residuals = Vec::with_capacity(logits.len());
            for (logits, &target) in logits.chunks_exact(self.outputs).zip(targets) {
                let first = probabilities.len();
                loss += row_loss(logits, target as usize, &mut probabilities);
                residuals.extend_from_slice(&probabilities[first..]);
                match self.outputs {
                    1 => residuals[first] -= target as f32,
                    _ => residuals[first + target as usize] -= 1.0,
                }
            }
            (loss, residuals, probabilities)
        });
        let gradient = self.adjoint(point, &partials);
        let penalty: f64 = self.weights(point).iter().map(|w| w * w).sum::<f64>() / 2.0;
        let loss = partials.iter().map(|partial| partial.loss).sum::<f64>() * self.strength + penalty;
        let probabilities = partials.into_iter().flat_map(|partial| partial.probabilities).collect();
        Value { loss, gradient, probabilities }
    }

    /// The second derivative at the point of `value`, times a direction.
    pub fn curvature(&self, value: &Value, direction: &[f64]) -> Vec<f64> {
        let partials = self.parts(direction, &value.probabilities, |probabilities, changes| {
            let rows = probabilities.chunks_exact(self.outputs).zip(changes.chunks_exact(self.outputs));
            let moved = |(p, change): (&[f32], &[f64])| -> Vec<f32> {
                if let [p] = p {
                    return vec![(f64::from(p * (1.0 - p)) * change[0]) as f32];
                }
                let mean: f64 = p.iter().zip(change).map(|(&p, change)| f64::from(p) * change).sum();
                p.iter().zip(change).map(|(&p, change)| (f64::from(p) * (change - mean)) as f32).collect()
            };
            (0.0, rows.flat_map(moved).collect(), Vec::new())
        });
        self.adjoint(direction, &partials)
    }

    /// Weights, `[outputs, width]`, and intercepts for the features of the matrix.
    pub fn unstandardised(&self, point: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let width = self.matrix.width();
        let scaled = |(at, weight): (usize, &f64)| weight / self.scale[at % width];
        let weights: Vec<f64> = self.weights(point).iter().enumerate().map(scaled).collect();
        let moved = |weights: &[f64]| weights.iter().zip(&self.mean).map(|(w, mean)| w * mean).sum::<f64>();
        let intercepts = weights.chunks_exact(width).zip(self.intercepts(point)).map(|(w, b)| b - moved(w)).collect();
        (weights, intercepts)
    }

    fn weights<'p>(&self, point: &'p [f64]) -> &'p [f64] {
        &point[..self.outputs * self.matrix.width()]
    }

    fn intercepts<'p>(&self, point: &'p [f64]) -> &'p [f64] {
        &point[self.outputs * self.matrix.width()..]
    }

    fn effective(&self, point: &[f64]) -> Effective {
        let (weights, intercepts) = self.unstandardised(point);
        Effective { weights: weights.into_iter().map(|weight| weight as f32).collect(), intercepts }
    }

    fn logits(&self, rows: &[usize], effective: &Effective) -> Vec<f64> {
        let rows: Vec<&[f32]> = rows.iter().map(|&row| self.matrix.row(row)).collect();
        let columns: Vec<&[f32]> = effective.weights.chunks_exact(self.matrix.width()).collect();
        let mut products = vec![0.0; rows.len() * self.outputs];
        dense::dots(&rows, &columns, &mut products);
        let intercepts = effective.intercepts.iter().cycle();
        products.iter().zip(intercepts).map(|(&product, intercept)| f64::from(product) + intercept).collect()
    }

    /// For each part of the rows, block by block: computes the logits at `point`, and calls `of` with the block's values of `what` and these
    /// logits. `of` returns a loss, a weight for each row and output, and values to keep. Then the rows are added up with these weights, while
    /// they are in the cache.
    fn parts<T: Sync>(
        &self,
        point: &[f64],
        what: &[T],
        of: impl Fn(&[T], &[f64]) -> (f64, Vec<f32>, Vec<f32>) + Sync,
    ) -> Vec<Partial> {
        let effective = self.effective(point);
        let known_of_a_row = what.len() / self.rows.len();
        let part = BLOCK * self.rows.len().div_ceil(BLOCK * MOST_PARTS);
        let sums = |(rows, what): (&[usize], &[T])| {
            let (mut loss, mut probabilities) = (0.0, Vec::new());
            let mut products = vec![0.0; self.outputs * self.matrix.width()];
            let mut sums = vec![0.0; self.outputs];
            for (rows, what) in rows.chunks(BLOCK).zip(what.chunks(BLOCK * known_of_a_row)) {
                let logits = self.logits(rows, &effective);
                let (more, weights, mut kept) = of(what, &logits);
                let rows: Vec<&[f32]> = rows.iter().map(|&row| self.matrix.row(row)).collect();
                dense::combine(&rows, &weights, &mut products);
                for weights in weights.chunks_exact(self.outputs) {
                    sums.iter_mut().zip(weights).for_each(|(sum, &weight)| *sum += f64::from(weight));
                }
                loss += more;
                probabilities.append(&mut kept);
            }
            Partial { loss, products, sums, probabilities }
        };
        self.rows.par_chunks(part).zip(what.par_chunks(part * known_of_a_row)).map(sums).collect()
    }

    /// The gradient at a point, from the sums of all parts and the penalty, half the square of the weights.
    fn adjoint(&self, point: &[f64], partials: &[Partial]) -> Vec<f64> {
        let width = self.matrix.width();
        let mut gradient = vec![0.0; self.dimensions()];
        for Partial { products, sums, .. } in partials {
            let all = products.iter().map(|&x| f64::from(x)).chain(sums.iter().copied());
            gradient.iter_mut().zip(all).for_each(|(sum, x)| *sum += x);
        }
        let (weights, intercepts) = gradient.split_at_mut(self.outputs * width);
        for ((weights, intercept), point) in
            weights.chunks_exact_mut(width).zip(intercepts.iter_mut()).zip(self.weights(point).chunks_exact(width))
        {
            for (((sum, mean), scale), weight) in weights.iter_mut().zip(&self.mean).zip(&self.scale).zip(point) {
                *sum = self.strength * (*sum - mean * *intercept) / scale + weight;
            }
            *intercept *= self.strength;
        }
        gradient
    }
}

/// The cross-entropy of a row, whose probabilities are appended to `probabilities`.
fn row_loss(logits: &[f64], target: usize, probabilities: &mut Vec<f32>) -> f64 {
    if let [logit] = *logits {
        probabilities.push(sigmoid(logit) as f32);
        // The loss is log(1 + exp(±logit)), written so that exp does not overflow.
        let signed = if target == 1 { -logit } else { logit };
        return signed.max(0.0) + (-signed.abs()).exp().ln_1p();
    }
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers = logits.iter().map(|logit| (logit - largest).exp());
    let sum: f64 = powers.clone().sum();
    probabilities.extend(powers.map(|power| (power / sum) as f32));
    largest + sum.ln() - logits[target]
}

pub(super) fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// Mean and standard deviation of each feature over some rows; the deviation of a constant feature counts as 1.
pub(super) fn moments(matrix: &Matrix, rows: &[usize]) -> (Vec<f64>, Vec<f64>) {
    let count = rows.len().max(1) as f64;
    let mut mean = vec![0.0; matrix.width()];
    for &row in rows {
        mean.iter_mut().zip(matrix.row(row)).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    mean.iter_mut().for_each(|sum| *sum /= count);
    let mut scale = vec![0.0; matrix.width()];
    for &row in rows {
        let values = matrix.row(row).iter().zip(&mean);
        scale.iter_mut().zip(values).for_each(|(sum, (&x, mean))| *sum += (f64::from(x) - mean).powi(2));
    }
    // A smaller deviation is the rounding error of a constant feature.
    let constant = |mean: f64| 1e-6 * mean.abs().max(1e-30);
    for (scale, &mean) in scale.iter_mut().zip(&mean) {
        *scale = (*scale / count).sqrt();
        if *scale <= constant(mean) {
            *scale = 1.0;
        }
    }
    (mean, scale)
}
