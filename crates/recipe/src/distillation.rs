use serde::{Deserialize, Serialize};

/// Knowledge distillation (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"): a network learns from the answers of a
/// trained one as well as from the labels. The loss of an image is
///
/// `alpha * loss(label) + (1 - alpha) * temperature^2 * KL(teacher, student)`,
///
/// where the divergence is that of the probabilities that both give after their logits were divided by the temperature. The square keeps
/// the size of the gradients when the temperature changes. Names and defaults are those of Keras's example (`knowledge_distillation.py`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distillation {
    /// What logits are divided by, above 0. At a higher temperature, more of what the teacher says of the less probable classes counts.
    pub temperature: f64,
    /// Weight of the loss by the labels, from 0 to 1; the teacher's answers have the rest.
    pub alpha: f64,
}

impl Default for Distillation {
    fn default() -> Self {
        Self { temperature: 3.0, alpha: 0.1 }
    }
}
