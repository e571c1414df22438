use injerto_insight::calibration::{
    ClassThreshold, Operation, Reliability, Temperature, alone_at, class_thresholds, coverage,
};
use injerto_insight::predictions::Predictions;
use injerto_trainer::metrics::Report;
use serde::{Deserialize, Serialize};

use crate::{ExperimentError, RunFolder};

/// Content of `calibration.json`: how well the probabilities of the best epoch are calibrated on the validation images, and what can be
/// decided with them.
///
/// The epoch was chosen on the same images, so the figures hold for these images; their intervals say how far they can be trusted for
/// others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Number of validation images.
    pub images: usize,
    /// The fitted temperature; `None` where the probabilities of an image do not add up to 1.
    pub temperature: Option<Temperature>,
    /// Whether logits are divided by it, because it gains more than chance would. The fields after `reliability` are then about these
    /// predictions.
    pub applied: bool,
    /// Accuracy by confidence, for the network's own probabilities.
    pub reliability: Reliability,
    /// The same at the temperature; `None` if it is not applied.
    pub calibrated: Option<Reliability>,
    /// Accuracy over coverage: the share of right answers if only the surest images are answered. At most [`Calibration::POINTS`] points.
    pub coverage: Vec<Operation>,
    /// Where the model answers most images with these shares of right answers.
    pub alone: Vec<Alone>,
    /// Share of right answers that `classes` are about.
    pub class_precision: f64,
    /// The probability from which on each class is believed.
    pub classes: Vec<ClassPrecision>,
}

/// Where a model answers most images with a wanted share of right answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alone {
    /// The wanted share.
    pub accuracy: f64,
    /// Where it is reached; `None` if no confidence reaches it.
    pub at: Option<Operation>,
}

/// The probability from which on a class is believed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassPrecision {
    /// Name of the class.
    pub class: String,
    /// Where the wanted precision is reached; `None` if no probability reaches it.
    pub at: Option<ClassThreshold>,
}

/// By how much the probabilities of an image may miss 1 in sum.
const SUM: f64 = 1e-3;

impl Calibration {
    /// Name of its file in a run's folder.
    pub const FILE: &str = RunFolder::CALIBRATION;
    /// Upper limit of the points of [`Calibration::coverage`].
    pub const POINTS: usize = 200;
    /// Shares of right answers of [`Calibration::alone`].
    const WANTED: [f64; 3] = [0.9, 0.95, Self::SURE];
    /// The share of right answers at which a model may answer alone.
    pub(super) const SURE: f64 = 0.99;

    /// Of the network's own `predictions` for validation images.
    ///
    /// # Errors
    /// No images.
    pub fn of(predictions: &Predictions, classes: &[String]) -> Result<Self, ExperimentError> {
        let sums_to_one = |(_, row): (u32, &[f64])| (row.iter().sum::<f64>() - 1.0).abs() < SUM;
        let temperature = match predictions.rows().all(sums_to_one) {
            true => Some(Temperature::fit(predictions)?),
            false => None,
        };
        let reliability = Reliability::of(predictions, Report::BINS);
        let helping = temperature.filter(Temperature::helps);
        let scaled = helping.map(|temperature| temperature.apply(predictions));
        let said = scaled.as_ref().unwrap_or(predictions);
        let alone = Self::WANTED.map(|accuracy| Alone { accuracy, at: alone_at(said, accuracy) });
        let thresholds = class_thresholds(said, Self::SURE);
        let class = |(class, at): (&String, Option<ClassThreshold>)| ClassPrecision { class: class.clone(), at };
        Ok(Self {
            images: predictions.len(),
            temperature,
            applied: helping.is_some(),
            reliability,
            calibrated: scaled.as_ref().map(|scaled| Reliability::of(scaled, Report::BINS)),
            coverage: thinned(coverage(said)),
            alone: alone.to_vec(),
            class_precision: Self::SURE,
            classes: classes.iter().zip(thresholds).map(class).collect(),
        })
    }

    /// The temperature, if predictions are divided by it.
    pub fn applied_temperature(&self) -> Option<Temperature> {
        self.temperature.filter(|_| self.applied)
    }

    /// Where the model may answer alone: most images, with 99 % of the answers right.
    pub fn sure(&self) -> Option<Operation> {
        self.alone.iter().find(|alone| alone.accuracy >= Self::SURE).and_then(|alone| alone.at)
    }
}

/// At most [`Calibration::POINTS`] points of a curve, evenly spaced, with its last.
fn thinned(curve: Vec<Operation>) -> Vec<Operation> {
    let (all, few) = (curve.len(), Calibration::POINTS);
    if all <= few { curve } else { (1..=few).map(|at| curve[at * all / few - 1]).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of two classes: `confident` in the first class, of which every tenth is of the second.
    fn predictions(confident: f64, images: usize) -> Predictions {
        let labels = (0..images).map(|at| u32::from(at % 10 == 0)).collect();
        // Confidences differ a little, so that the curve has many points.
        let row = |at: usize| {
            let p = confident - at as f64 * 1e-7;
            [p, 1.0 - p]
        };
        Predictions::new(2, labels, (0..images).flat_map(row).collect()).expect("probabilities")
    }

    fn calibration(confident: f64) -> Calibration {
        Calibration::of(&predictions(confident, 1000), &["cats".to_owned(), "dogs".to_owned()]).expect("images")
    }

    #[test]
    fn a_temperature_is_applied_where_it_helps() {
        let sure = calibration(0.999);
        let temperature = sure.applied_temperature().expect("it is far too sure");
        assert!(temperature.value > 2.0 && temperature.loss_after < temperature.loss_before, "{temperature:?}");
        assert!(sure.calibrated.expect("it is applied").ece < 0.01 && sure.reliability.ece > 0.09);
        let honest = calibration(0.9);
        assert!(!honest.applied && honest.calibrated.is_none() && honest.applied_temperature().is_none(), "{honest:?}");
    }

    #[test]
    fn the_curve_is_short_and_ends_with_all_images() {
        let found = calibration(0.9);
        assert_eq!(found.coverage.len(), Calibration::POINTS);
        let last = found.coverage.last().expect("not empty");
        assert_eq!((last.coverage, last.accuracy.value, last.accuracy.n), (1.0, 0.9, 1000));
        assert_eq!(found.alone[0].at.expect("nine in ten are right").coverage, 1.0);
        assert_eq!(
            found.classes[1],
            ClassPrecision { class: "dogs".to_owned(), at: None },
            "nothing is taken for a dog"
        );
    }

    #[test]
    fn probabilities_that_are_independent_of_each_other_are_left_alone() {
        let several = Predictions::new(2, vec![0, 1], vec![0.9, 0.8, 0.7, 0.6]).expect("probabilities");
        let found = Calibration::of(&several, &["a".to_owned(), "b".to_owned()]).expect("images");
        assert!(found.temperature.is_none() && !found.applied);
    }
}
