use injerto_graph::Activation;

use crate::{Loss, Task};

/// A loss, an activation and a number of units that do not go together. Each message names the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The outputs are probabilities, but the loss expects logits.
    #[error(
        "{loss} has from_logits = true, but {activation} already makes probabilities: \
         set loss.from_logits = false, or head.activation = \"linear\""
    )]
    ProbabilitiesAsLogits {
        /// Name of the loss.
        loss: &'static str,
        /// Name of the activation.
        activation: &'static str,
    },
    /// The outputs are logits, but the loss expects probabilities.
    #[error(
        "{loss} has from_logits = false, but a linear output is not a probability: \
         set loss.from_logits = true, or head.activation = \"{activation}\""
    )]
    LogitsAsProbabilities {
        /// Name of the loss.
        loss: &'static str,
        /// The activation that would fit.
        activation: &'static str,
    },
    /// The binary loss needs two classes and one unit.
    #[error(
        "{loss} tells two classes apart with one unit, but there are {classes} classes and {units} unit(s): {}",
        if *classes == 2 { "set head.units = 1" }
        else { "set loss.name = \"sparse_categorical_crossentropy\", head.activation = \"softmax\" and leave head.units out" }
    )]
    Binary {
        /// Name of the loss.
        loss: &'static str,
        /// Number of classes.
        classes: usize,
        /// Number of units.
        units: usize,
    },
    /// Images that may have several classes need a decision per class.
    #[error(
        "{loss} gives each image one class, but images have several (data.multi_label): set loss.name = \"binary_crossentropy\" and \
         leave head.units and head.activation out"
    )]
    OneClass {
        /// Name of the loss.
        loss: &'static str,
    },
    /// A binary loss of several classes per image needs one unit per class.
    #[error(
        "{loss} of images with several classes (data.multi_label) needs one unit per class, but there are {classes} classes and \
         {units} unit(s): set head.units = {classes}, or leave it out"
    )]
    EachClass {
        /// Name of the loss.
        loss: &'static str,
        /// Number of classes.
        classes: usize,
        /// Number of units.
        units: usize,
    },
    /// A categorical loss needs one unit per class.
    #[error(
        "{loss} needs one unit per class, but there are {classes} classes and {units} unit(s): set head.units = {classes}{}",
        if *units == 1 && *classes == 2 { ", or loss.name = \"binary_crossentropy\"" } else { "" }
    )]
    Units {
        /// Name of the loss.
        loss: &'static str,
        /// Number of classes.
        classes: usize,
        /// Number of units.
        units: usize,
    },
    /// The loss cannot take outputs of this activation.
    #[error("{loss} does not go with a {activation} output: set head.activation = \"{fix}\"")]
    Activation {
        /// Name of the loss.
        loss: &'static str,
        /// Name of the activation.
        activation: &'static str,
        /// The activation that fits.
        fix: &'static str,
    },
    /// There are fewer than two classes.
    #[error("found {classes} class(es), but a classifier needs at least 2: add images of another class")]
    Classes {
        /// Number of classes.
        classes: usize,
    },
}

impl Loss {
    /// Checks that this loss goes with a head that has `units` outputs with `activation`, for `classes` classes. `task` says how many of them an
    /// image may have.
    ///
    /// # Errors
    /// The first mismatch, with the change that fixes it.
    pub fn check(&self, task: Task, activation: Activation, units: usize, classes: usize) -> Result<(), Mismatch> {
        let loss = self.name();
        let binary = self.is_binary();
        if classes < 2 {
            return Err(Mismatch::Classes { classes });
        }
        match task {
            Task::MultiLabel if !binary => return Err(Mismatch::OneClass { loss }),
            Task::MultiLabel if units != classes => return Err(Mismatch::EachClass { loss, classes, units }),
            Task::MultiClass if binary && (classes != 2 || units != 1) => {
                return Err(Mismatch::Binary { loss, classes, units });
            }
            Task::MultiClass if !binary && units != classes => return Err(Mismatch::Units { loss, classes, units }),
            Task::MultiLabel | Task::MultiClass => {}
        }
        let wanted = self.natural_activation();
        let fix = wanted.name();
        match activation {
            fits if fits == wanted => Ok(()),
            Activation::Linear => Err(Mismatch::LogitsAsProbabilities { loss, activation: fix }),
            Activation::Sigmoid | Activation::Softmax if self.from_logits() => {
                Err(Mismatch::ProbabilitiesAsLogits { loss, activation: activation.name() })
            }
            other => Err(Mismatch::Activation { loss, activation: other.name(), fix }),
        }
    }

    /// The activation whose outputs this loss takes: linear for logits, and otherwise sigmoid or softmax.
    pub fn natural_activation(&self) -> Activation {
        match (self.from_logits(), self) {
            (true, _) => Activation::Linear,
            (false, loss) if loss.is_binary() => Activation::Sigmoid,
            (false, _) => Activation::Softmax,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LossName;

    /// A loss as the TOML names it.
    fn loss(name: &str, from_logits: bool) -> Loss {
        serde_json::from_value(serde_json::json!({"name": name, "from_logits": from_logits})).expect("a loss")
    }

    #[test]
    fn a_loss_and_a_head_that_do_not_go_together_are_refused_with_the_fix() {
        use Activation::{Linear, Sigmoid, Softmax};
        let (binary, categorical, sparse) =
            ("binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy");
        let three = "set loss.name = \"sparse_categorical_crossentropy\", head.activation = \"softmax\" and leave \
                     head.units out";
        let table: &[(&str, bool, Activation, usize, usize, &str)] = &[
            (binary, false, Sigmoid, 1, 2, ""),
            (binary, true, Linear, 1, 2, ""),
            (categorical, false, Softmax, 3, 3, ""),
            (categorical, true, Linear, 3, 3, ""),
            (sparse, false, Softmax, 2, 2, ""),
            (sparse, true, Linear, 2, 2, ""),
            (sparse, false, Sigmoid, 3, 3, "set head.activation = \"softmax\""),
            (categorical, false, Sigmoid, 3, 3, "set head.activation = \"softmax\""),
            (binary, false, Softmax, 1, 2, "set head.activation = \"sigmoid\""),
            (sparse, true, Softmax, 3, 3, "set loss.from_logits = false, or head.activation = \"linear\""),
            (categorical, true, Softmax, 3, 3, "set loss.from_logits = false, or head.activation = \"linear\""),
            (binary, true, Activation::Relu, 1, 2, "set head.activation = \"linear\""),
            (binary, true, Sigmoid, 1, 2, "set loss.from_logits = false, or head.activation = \"linear\""),
            (binary, false, Linear, 1, 2, "set loss.from_logits = true, or head.activation = \"sigmoid\""),
            (sparse, false, Linear, 3, 3, "set loss.from_logits = true, or head.activation = \"softmax\""),
            (categorical, false, Softmax, 1, 2, "set head.units = 2, or loss.name = \"binary_crossentropy\""),
            (sparse, false, Softmax, 1, 3, "set head.units = 3"),
            (sparse, true, Linear, 5, 3, "set head.units = 3"),
            (binary, false, Sigmoid, 2, 2, "set head.units = 1"),
            (binary, false, Sigmoid, 1, 3, three),
            (binary, false, Sigmoid, 3, 3, three),
            (
                binary,
                false,
                Sigmoid,
                1,
                1,
                "found 1 class(es), but a classifier needs at least 2: add images of another class",
            ),
            (
                sparse,
                true,
                Linear,
                0,
                0,
                "found 0 class(es), but a classifier needs at least 2: add images of another class",
            ),
        ];
        for &(name, from_logits, activation, units, classes, fix) in table {
            let what = format!("{name}, from_logits = {from_logits}, {activation:?}, {units} units, {classes} classes");
            match loss(name, from_logits).check(Task::MultiClass, activation, units, classes) {
                Ok(()) => assert_eq!(fix, "", "{what} was taken"),
                Err(mismatch) => {
                    let message = mismatch.to_string();
                    assert!(!fix.is_empty() && message.ends_with(fix), "{what}: {message}");
                    let named = message.contains(name) || classes < 2;
                    assert!(named, "{what}: {message}");
                }
            }
        }
        for (name, from_logits) in LossName::ALL.into_iter().flat_map(|name| [(name, true), (name, false)]) {
            let loss = name.with(from_logits, 0.0);
            let units = if loss.is_binary() { 1 } else { 2 };
            assert_eq!(loss.check(Task::MultiClass, loss.natural_activation(), units, 2), Ok(()));
        }
    }

    #[test]
    fn images_with_several_classes_need_a_sigmoid_and_a_unit_per_class() {
        use Activation::{Linear, Sigmoid, Softmax};
        let (binary, categorical) = ("binary_crossentropy", "categorical_crossentropy");
        for (name, from_logits, activation, units, classes, fix) in [
            (binary, false, Sigmoid, 3, 3, ""),
            (binary, true, Linear, 3, 3, ""),
            (binary, false, Sigmoid, 2, 2, ""),
            (binary, false, Sigmoid, 1, 2, "set head.units = 2, or leave it out"),
            (binary, false, Softmax, 3, 3, "set head.activation = \"sigmoid\""),
            (categorical, false, Softmax, 3, 3, "and leave head.units and head.activation out"),
            (binary, false, Sigmoid, 1, 1, "add images of another class"),
        ] {
            let found = loss(name, from_logits).check(Task::MultiLabel, activation, units, classes);
            let message = found.err().map_or(String::new(), |mismatch| mismatch.to_string());
            assert!(message.ends_with(fix) && message.is_empty() == fix.is_empty(), "{name}, {units} units: {message}");
        }
    }

    #[test]
    fn unknown_words_in_a_loss_are_named() {
        for (text, word) in [
            (r#"{"name": "hinge"}"#, "hinge"),
            (r#"{"name": "binary_crossentropy", "logits": true}"#, "logits"),
            (r#"{"name": "sparse_categorical_crossentropy", "label_smoothing": 0.1}"#, "label_smoothing"),
        ] {
            let error = serde_json::from_str::<Loss>(text).expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
