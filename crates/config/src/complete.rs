//! The settings that follow from the data and the backbone.

use injerto_graph::{Activation, Interpolation};
use injerto_heads::Head;
use injerto_recipe::{Focus, Loss, LossName};

use crate::values::Config;

/// What [`Config::complete`] has settled.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed {
    /// What is grafted on the backbone.
    pub head: Head,
    /// What training minimises.
    pub loss: Loss,
}

impl Config {
    /// Fills in what the file left to the data and the backbone: `image_size` and `interpolation` are the backbone's, and
    /// the loss, the units and the activation of the output follow from the number of classes.
    ///
    /// Images that may have several classes (`multi_label`) mean one sigmoid unit per class and binary cross-entropy. Otherwise two
    /// classes mean one sigmoid unit and binary cross-entropy, unless the head asks for softmax or another number of
    /// units; everything else means one softmax unit per class and sparse categorical cross-entropy (categorical with label
    /// smoothing, which the sparse one does not have). With `from_logits` the output is linear. What the file says is never
    /// changed, even if it does not fit: that is for the loss to refuse.
    pub fn complete(&mut self, classes: usize, image_size: [usize; 2], interpolation: Interpolation) -> Completed {
        self.data.image_size.get_or_insert(image_size);
        self.data.interpolation.get_or_insert(interpolation);
        let (head, asked) = (&mut self.head, &mut self.loss);
        let several = self.data.multi_label == Some(true);
        let one_unit = head.units.unwrap_or(1) == 1 && head.activation != Some(Activation::Softmax);
        let name = *asked.name.get_or_insert(match (classes, one_unit) {
            _ if several => LossName::BinaryCrossentropy,
            (..=2, true) => LossName::BinaryCrossentropy,
            _ if asked.label_smoothing > 0.0 => LossName::CategoricalCrossentropy,
            _ => LossName::SparseCategoricalCrossentropy,
        });
        let own = Focus::default();
        let focus = Focus {
            gamma: asked.gamma.unwrap_or(own.gamma),
            alpha: asked.alpha.unwrap_or(own.alpha),
            apply_class_balancing: asked.apply_class_balancing.unwrap_or(own.apply_class_balancing),
        };
        let loss = name.focused(asked.from_logits, asked.label_smoothing, focus);
        let of_two = loss.is_binary() && classes == 2 && !several;
        let units = *head.units.get_or_insert(if of_two { 1 } else { classes });
        let activation = *head.activation.get_or_insert(loss.natural_activation());
        Completed { head: Head { body: head.body.clone(), units, activation }, loss }
    }
}
