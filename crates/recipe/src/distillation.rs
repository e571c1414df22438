use serde::{Deserialize, Serialize};

/// Knowledge distillation (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"): a network learns from the answers of a
/// trained one as well as from the labels. The loss of an image is
///
/// `alpha * loss(label) + (1 - alpha) * temperature^2 * KL(teacher, student)`,
///
/// where `KL` is the Kullback-Leibler divergence of the probabilities of both networks after their logits are divided by the temperature. The
/// square of the temperature keeps the size of the gradients when the temperature changes. Names and defaults are those of Keras's example
/// (`knowledge_distillation.py`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distillation {
    /// The number above 0 by which logits are divided. The higher it is, the more the teacher's probabilities of the less probable classes
    /// count.
    pub temperature: f64,
    /// Weight of the loss by the labels, from 0 to 1; that of the divergence is `1 - alpha`.
    pub alpha: f64,
}

impl Default for Distillation {
    fn default() -> Self {
        Self { temperature: 3.0, alpha: 0.1 }
    }
}
