use injerto_recipe::Loss;

use crate::smooth::{clip, log_sum_exp, sigmoid, softmax};
use crate::{LossError, focal};

/// Outputs of a batch on the host, `[batch, units]`, row by row.
#[derive(Debug, Clone, Copy)]
pub struct Outputs<'a> {
    values: &'a [f32],
    units: usize,
}

impl<'a> Outputs<'a> {
    /// Outputs of `units` units.
    ///
    /// # Panics
    /// If there are no units, or the values are not whole rows.
    pub fn new(values: &'a [f32], units: usize) -> Self {
        assert!(units > 0 && values.len().is_multiple_of(units), "{} values are no rows of {units}", values.len());
        Self { values, units }
    }

    /// Number of rows.
    pub fn batch(&self) -> usize {
        self.values.len() / self.units
    }

    /// Number of columns.
    pub fn units(&self) -> usize {
        self.units
    }

    /// All values, row by row.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &'a [f32]> {
        self.values.chunks_exact(self.units)
    }
}

/// What the outputs of a batch should have been.
#[derive(Debug, Clone, Copy)]
pub enum Targets<'a> {
    /// One class index per row.
    Labels(&'a [u32]),
    /// One distribution over the classes per row, `[batch, classes]`; mixing images makes such targets. With one output unit there are
    /// two columns, of which only the second is used.
    Distributions(&'a [f32]),
    /// One value from 0 to 1 per row and unit, `[batch, units]`, where each unit decides about a class of its own: 1 if the image has the
    /// class and 0 if it has not. Mixing images makes values between.
    Independent(&'a [f32]),
}

impl Targets<'_> {
    /// Checks that they fit `batch` rows of `units` outputs.
    pub(crate) fn check(self, batch: usize, units: usize) -> Result<(), LossError> {
        let classes = units.max(2);
        match self {
            Self::Labels(labels) if labels.len() != batch => {
                Err(LossError::Batch { outputs: batch, labels: labels.len() })
            }
            Self::Labels(labels) => match labels.iter().find(|&&label| label as usize >= classes) {
                Some(&label) => Err(LossError::Label { label, units }),
                None => Ok(()),
            },
            Self::Distributions(values) if values.len() != batch * classes => {
                Err(LossError::Targets { found: [values.len() / classes, classes], expected: [batch, classes] })
            }
            Self::Independent(values) if values.len() != batch * units => {
                Err(LossError::Targets { found: [values.len() / units, units], expected: [batch, units] })
            }
            Self::Distributions(_) | Self::Independent(_) => Ok(()),
        }
    }

    /// Writes the targets of a row, one per unit.
    pub(crate) fn row(self, at: usize, row: &mut [f64]) {
        match (self, row) {
            (Self::Labels(labels), [only]) => *only = f64::from(labels[at]),
            (Self::Labels(labels), row) => {
                row.fill(0.0);
                row[labels[at] as usize] = 1.0;
            }
            (Self::Distributions(values), [only]) => *only = f64::from(values[2 * at + 1]),
            (Self::Distributions(values) | Self::Independent(values), row) => {
                let found = &values[at * row.len()..];
                row.iter_mut().zip(found).for_each(|(target, &value)| *target = value.into());
            }
        }
    }
}

/// What a [`Loss`] computes from outputs on the host. All sums are in double precision and in the order of the rows.
pub trait CrossEntropy {
    /// Mean loss of a batch. `weights`, one per row, multiply the loss of their row before the mean, which still divides by the
    /// batch size, as in Keras.
    ///
    /// # Errors
    /// Targets that do not fit the outputs.
    fn value(&self, outputs: Outputs<'_>, targets: Targets<'_>, weights: Option<&[f32]>) -> Result<f64, LossError>;

    /// [`CrossEntropy::value`], and its derivative with respect to each output, `[batch, units]`.
    ///
    /// # Errors
    /// Those of [`CrossEntropy::value`].
    fn gradient(
        &self,
        outputs: Outputs<'_>,
        targets: Targets<'_>,
        weights: Option<&[f32]>,
    ) -> Result<(f64, Vec<f32>), LossError>;

    /// Probabilities `[batch, classes]`. One unit gives two columns.
    fn probabilities(&self, outputs: Outputs<'_>) -> Vec<f32>;

    /// The predicted class of each row. With one unit, an output above one half (a logit above zero) means class 1; otherwise the
    /// first of the largest units is the class.
    fn predictions(&self, outputs: Outputs<'_>) -> Vec<u32>;
}

impl CrossEntropy for Loss {
    fn value(&self, outputs: Outputs<'_>, targets: Targets<'_>, weights: Option<&[f32]>) -> Result<f64, LossError> {
        batch(self, outputs, targets, weights, &mut |_, _| {})
    }

    fn gradient(
        &self,
        outputs: Outputs<'_>,
        targets: Targets<'_>,
        weights: Option<&[f32]>,
    ) -> Result<(f64, Vec<f32>), LossError> {
        let mut gradient = Vec::with_capacity(outputs.values.len());
        let mut keep = |row: &[f64], factor: f64| gradient.extend(row.iter().map(|&slope| (slope * factor) as f32));
        let value = batch(self, outputs, targets, weights, &mut keep)?;
        Ok((value, gradient))
    }

    fn probabilities(&self, outputs: Outputs<'_>) -> Vec<f32> {
        let binary = self.is_binary();
        let mut all = Vec::with_capacity(outputs.batch() * outputs.units.max(2));
        for row in outputs.rows() {
            let start = all.len();
            match (self.from_logits(), binary) {
                (false, _) => all.extend_from_slice(row),
                (true, true) => all.extend(row.iter().map(|&logit| sigmoid(logit.into()) as f32)),
                (true, false) => {
                    let logits: Vec<f64> = row.iter().map(|&logit| logit.into()).collect();
                    let normaliser = log_sum_exp(&logits);
                    all.extend(logits.iter().map(|logit| (logit - normaliser).exp() as f32));
                }
            }
            if let [positive] = all[start..] {
                all.insert(start, 1.0 - positive);
            }
        }
        all
    }

    fn predictions(&self, outputs: Outputs<'_>) -> Vec<u32> {
        let threshold = if self.from_logits() { 0.0 } else { 0.5 };
        let class = |row: &[f32]| match row {
            [only] => u32::from(*only > threshold),
            row => (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0) as u32,
        };
        outputs.rows().map(class).collect()
    }
}

/// Mean loss of a batch. `take` gets the slopes of each row's loss with respect to its outputs, and the row's share of the mean.
fn batch(
    loss: &Loss,
    outputs: Outputs<'_>,
    targets: Targets<'_>,
    weights: Option<&[f32]>,
    take: &mut dyn FnMut(&[f64], f64),
) -> Result<f64, LossError> {
    let count = outputs.batch();
    targets.check(count, outputs.units)?;
    let (mut wanted, mut slopes) = (vec![0.0; outputs.units], vec![0.0; outputs.units]);
    let mut sum = 0.0;
    for (at, row) in outputs.rows().enumerate() {
        targets.row(at, &mut wanted);
        let factor = weights.map_or(1.0, |weights| f64::from(weights[at])) / count as f64;
        sum += factor * self::row(loss, row, &mut wanted, &mut slopes);
        take(&slopes, factor);
    }
    Ok(sum)
}

/// Loss of a row and its slopes. `wanted` are the targets, which label smoothing changes.
fn row(loss: &Loss, outputs: &[f32], wanted: &mut [f64], slopes: &mut [f64]) -> f64 {
    let smoothing = loss.label_smoothing();
    let uniform = if loss.is_binary() { 0.5 } else { 1.0 / outputs.len() as f64 };
    wanted.iter_mut().for_each(|target| *target = *target * (1.0 - smoothing) + smoothing * uniform);
    let outputs = outputs.iter().map(|&output| f64::from(output));
    if let Some(focus) = loss.focus() {
        let compute = if loss.is_binary() { focal::binary } else { focal::categorical };
        return compute(&outputs.collect::<Vec<_>>(), wanted, loss.from_logits(), focus, slopes);
    }
    match loss {
        Loss::BinaryFocalCrossentropy { .. } | Loss::CategoricalFocalCrossentropy { .. } => {
            unreachable!("focal losses have a focus")
        }
        Loss::BinaryCrossentropy { from_logits: true, .. } => {
            let units = slopes.len() as f64;
            let mut sum = 0.0;
            for ((logit, &target), slope) in outputs.zip(&*wanted).zip(slopes) {
                // As TensorFlow computes it: the logarithm neither overflows nor loses digits that matter.
                sum += logit.max(0.0) - logit * target + (-logit.abs()).exp().ln_1p();
                *slope = (sigmoid(logit) - target) / units;
            }
            sum / units
        }
        Loss::BinaryCrossentropy { .. } => {
            let units = slopes.len() as f64;
            let mut sum = 0.0;
            for ((output, &target), slope) in outputs.zip(&*wanted).zip(slopes) {
                let (p, passes) = clip(output);
                sum -= target * p.ln() + (1.0 - target) * (1.0 - p).ln();
                *slope = passes * ((1.0 - target) / (1.0 - p) - target / p) / units;
            }
            sum / units
        }
        Loss::CategoricalCrossentropy { from_logits: true, .. }
        | Loss::SparseCategoricalCrossentropy { from_logits: true } => {
            let logits: Vec<f64> = outputs.collect();
            softmax(&logits, wanted, slopes)
        }
        Loss::SparseCategoricalCrossentropy { .. } => {
            // For probabilities, Keras uses the logarithm of the clipped values as logits.
            let clipped: Vec<(f64, f64)> = outputs.map(clip).collect();
            let logits: Vec<f64> = clipped.iter().map(|(p, _)| p.ln()).collect();
            let value = softmax(&logits, wanted, slopes);
            slopes.iter_mut().zip(clipped).for_each(|(slope, (p, passes))| *slope *= passes / p);
            value
        }
        Loss::CategoricalCrossentropy { .. } => {
            let outputs: Vec<f64> = outputs.collect();
            let total: f64 = outputs.iter().sum();
            let (mut value, mut inner) = (0.0, 0.0);
            for ((&output, &target), slope) in outputs.iter().zip(&*wanted).zip(&mut *slopes) {
                let (p, passes) = clip(output / total);
                value -= target * p.ln();
                *slope = -passes * target / p;
                inner += *slope * output / total;
            }
            // The derivative of a row that is divided by its sum.
            slopes.iter_mut().for_each(|slope| *slope = (*slope - inner) / total);
            value
        }
    }
}
