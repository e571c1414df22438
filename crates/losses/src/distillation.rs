//! A loss with a teacher (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"), in the form that PyTorch computes as
//! `kl_div(log_softmax(student / T), softmax(teacher / T), reduction = "batchmean") * T * T`.
//!
//! Where each unit decides about a class of its own, or one unit about two classes, the divergence is that of each unit's two
//! probabilities, and the units are averaged as in the binary cross-entropy.

use burn_tensor::{Tensor, TensorData};
use injerto_recipe::{Distillation, Loss};

use crate::smooth::{clip, log_sum_exp, sigmoid, softmax};
use crate::tensor::{TensorCrossEntropy as _, binary_crossentropy, categorical_crossentropy};
use crate::{CrossEntropy as _, EPSILON, LossError, Outputs, Targets};

/// A loss by the labels and by the answers of a teacher.
#[derive(Debug, Clone, Copy)]
pub struct Taught<'a> {
    /// The loss by the labels.
    pub loss: &'a Loss,
    /// The weight of each of the two, and the temperature.
    pub distillation: Distillation,
    /// Logits of the teacher, `[batch, units]`, in the order of the student's units.
    pub teacher: Outputs<'a>,
}

impl Taught<'_> {
    /// Mean loss of a batch and its derivative with respect to each output of the student, `[batch, units]`. `weights`, one per row,
    /// multiply the whole loss of their row.
    ///
    /// # Errors
    /// Targets or a teacher that do not fit the outputs.
    pub fn gradient(
        &self,
        outputs: Outputs<'_>,
        targets: Targets<'_>,
        weights: Option<&[f32]>,
    ) -> Result<(f64, Vec<f32>), LossError> {
        let (batch, units) = (outputs.batch(), outputs.units());
        self.check(batch, units)?;
        let (by_labels, mut gradient) = self.loss.gradient(outputs, targets, weights)?;
        let Distillation { temperature, alpha } = self.distillation;
        let (mut by_teacher, mut slopes) = (0.0, vec![0.0; units]);
        let rows = outputs.rows().zip(self.teacher.rows()).zip(gradient.chunks_exact_mut(units));
        for (at, ((row, teacher), gradient)) in rows.enumerate() {
            let weight = weights.map_or(1.0, |weights| f64::from(weights[at])) / batch as f64;
            by_teacher += weight * self.divergence(row, teacher, &mut slopes);
            for (gradient, slope) in gradient.iter_mut().zip(&slopes) {
                let soft = weight * temperature * temperature * slope;
                *gradient = (alpha * f64::from(*gradient) + (1.0 - alpha) * soft) as f32;
            }
        }
        Ok((alpha * by_labels + (1.0 - alpha) * temperature * temperature * by_teacher, gradient))
    }

    /// The same loss on Burn's tensors, `[1]`, of outputs `[batch, units]`; autodiff gives the gradient.
    ///
    /// # Errors
    /// Those of [`Taught::gradient`].
    pub fn forward(
        &self,
        outputs: Tensor<2>,
        targets: Targets<'_>,
        weights: Option<&[f32]>,
    ) -> Result<Tensor<1>, LossError> {
        let [batch, units] = outputs.dims();
        self.check(batch, units)?;
        let by_labels = self.loss.forward(outputs.clone(), targets, weights)?;
        let Distillation { temperature, alpha } = self.distillation;
        let (mut wanted, mut entropies) = (Vec::with_capacity(batch * units), Vec::with_capacity(batch));
        for teacher in self.teacher.rows() {
            let softened = self.softened(teacher);
            entropies.push(self.entropy(&softened) as f32);
            wanted.extend(softened.into_iter().map(|q| q as f32));
        }
        let device = outputs.device().inner();
        let wanted = Tensor::from_data(TensorData::new(wanted, [batch, units]), &device);
        let logits = match (self.loss.from_logits(), self.loss.is_binary()) {
            (true, _) => outputs,
            (false, binary) => {
                let p = outputs.clamp(EPSILON, 1.0 - EPSILON);
                let positive = p.clone().log();
                if binary { positive - p.neg().add_scalar(1.0).log() } else { positive }
            }
        };
        let softened = logits.div_scalar(temperature);
        let crossed = match self.loss.is_binary() {
            true => binary_crossentropy(softened, wanted, true, 0.0),
            false => categorical_crossentropy(softened, wanted, true, 0.0),
        };
        let mut rows = crossed - Tensor::from_floats(entropies.as_slice(), &device);
        if let Some(weights) = weights {
            rows = rows * Tensor::from_floats(weights, &device);
        }
        let by_teacher = rows.mean().mul_scalar((1.0 - alpha) * temperature * temperature);
        Ok(by_labels.mul_scalar(alpha) + by_teacher)
    }

    fn check(&self, batch: usize, units: usize) -> Result<(), LossError> {
        let (found, expected) = ([self.teacher.batch(), self.teacher.units()], [batch, units]);
        if found == expected { Ok(()) } else { Err(LossError::Targets { found, expected }) }
    }

    /// The teacher's probabilities of a row at the temperature.
    fn softened(&self, teacher: &[f32]) -> Vec<f64> {
        let scaled = teacher.iter().map(|&logit| f64::from(logit) / self.distillation.temperature);
        if self.loss.is_binary() {
            return scaled.map(sigmoid).collect();
        }
        let scaled: Vec<f64> = scaled.collect();
        let normaliser = log_sum_exp(&scaled);
        scaled.into_iter().map(|logit| (logit - normaliser).exp()).collect()
    }

    /// Entropy of softened probabilities, which is the part of the cross-entropy that no student can avoid.
    fn entropy(&self, softened: &[f64]) -> f64 {
        let part = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
        match self.loss.is_binary() {
            true => softened.iter().map(|&p| part(p) + part(1.0 - p)).sum::<f64>() / softened.len() as f64,
            false => softened.iter().map(|&p| part(p)).sum(),
        }
    }

    /// The divergence of a row from the teacher's, and its slopes with respect to the student's outputs.
    fn divergence(&self, outputs: &[f32], teacher: &[f32], slopes: &mut [f64]) -> f64 {
        let (temperature, binary) = (self.distillation.temperature, self.loss.is_binary());
        let wanted = self.softened(teacher);
        // The student's logits, and what each of them gains from its output.
        let (logits, gains): (Vec<f64>, Vec<f64>) = outputs
            .iter()
            .map(|&output| f64::from(output))
            .map(|output| match (self.loss.from_logits(), clip(output)) {
                (true, _) => (output, 1.0),
                (false, (p, passes)) if binary => (p.ln() - (1.0 - p).ln(), passes / (p * (1.0 - p))),
                (false, (p, passes)) => (p.ln(), passes / p),
            })
            .unzip();
        let softened: Vec<f64> = logits.iter().map(|logit| logit / temperature).collect();
        let crossed = match binary {
            true => {
                let units = outputs.len() as f64;
                let mut sum = 0.0;
                for ((&logit, &q), slope) in softened.iter().zip(&wanted).zip(&mut *slopes) {
                    sum += logit.max(0.0) - logit * q + (-logit.abs()).exp().ln_1p();
                    *slope = (sigmoid(logit) - q) / units;
                }
                sum / units
            }
            false => softmax(&softened, &wanted, slopes),
        };
        slopes.iter_mut().zip(gains).for_each(|(slope, gain)| *slope *= gain / temperature);
        crossed - self.entropy(&wanted)
    }
}
