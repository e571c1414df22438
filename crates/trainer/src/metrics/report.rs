use serde::{Deserialize, Serialize};

use super::Predictions;

/// All metrics of the predictions, as `summary.json` has them under `metrics`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Number of images.
    pub images: usize,
    /// Mean loss, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Share of images whose class is predicted right.
    pub accuracy: f64,
    /// Share of images whose class is among the five most probable classes, if there are more than five classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_5: Option<f64>,
    /// Metrics of each class.
    pub per_class: Vec<ClassReport>,
    /// Mean over the classes that occur, each counted once. A class occurs if it is the true or the predicted class of an image, as in
    /// scikit-learn, whose `labels` are by default those "in `y_true` and `y_pred`" (`precision_recall_fscore_support`).
    #[serde(rename = "macro")]
    pub macro_mean: Mean,
    /// Mean over classes, each weighted by its number of images.
    #[serde(rename = "weighted")]
    pub weighted_mean: Mean,
    /// F1 of the macro mean.
    pub macro_f1: f64,
    /// Number of images by true class (rows) and predicted class (columns).
    pub confusion: Vec<Vec<usize>>,
    /// Area under the ROC curve; see [`Predictions::roc_auc`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roc_auc: Option<f64>,
    /// Expected calibration error over [`Report::BINS`] bins; see [`Predictions::calibration_error`].
    pub ece: f64,
}

/// One class of a [`Report`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// Name of the class.
    pub class: String,
    /// Share of the images with this predicted class that are of this class; 0 if there are none.
    pub precision: f64,
    /// Share of the images of this class that are predicted as such; 0 if there are none.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Number of images of this class.
    pub support: usize,
}

/// A mean over classes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Mean {
    /// Mean of precisions.
    pub precision: f64,
    /// Mean of recalls.
    pub recall: f64,
    /// Mean of F1.
    pub f1: f64,
}

impl Report {
    /// Number of bins of the calibration error.
    pub const BINS: usize = 15;

    /// Computes the report of `predictions`; `classes` are the names. It is `None` without images.
    ///
    /// # Panics
    /// If the number of names is not that of the classes.
    pub fn new(predictions: &Predictions, classes: &[String]) -> Option<Self> {
        assert_eq!(predictions.classes(), classes.len(), "a name for each class");
        if predictions.is_empty() {
            return None;
        }
        let confusion = predictions.confusion();
        let per_class: Vec<ClassReport> = (0..classes.len())
            .map(|at| {
                let support: usize = confusion[at].iter().sum();
                let taken: usize = confusion.iter().map(|row| row[at]).sum();
                let right = confusion[at][at] as f64;
                let share = |of: usize| if of == 0 { 0.0 } else { right / of as f64 };
                // F1 is 2PR / (P + R), which equals 2 right / (support + taken).
                let f1 = if support + taken == 0 { 0.0 } else { 2.0 * right / (support + taken) as f64 };
                ClassReport { class: classes[at].clone(), precision: share(taken), recall: share(support), f1, support }
            })
            .collect();
        let occurs = |at: usize| {
            confusion.iter().enumerate().any(|(is, row)| row[at] > 0 || is == at && row.iter().any(|&n| n > 0))
        };
        let occurring: Vec<usize> = (0..classes.len()).filter(|&at| occurs(at)).collect();
        let mean = |weight: fn(&ClassReport) -> f64| {
            let per_class = || occurring.iter().map(|&at| &per_class[at]);
            let total: f64 = per_class().map(weight).sum();
            let of = |figure: fn(&ClassReport) -> f64| {
                per_class().map(|class| weight(class) * figure(class)).sum::<f64>() / total
            };
            Mean { precision: of(|class| class.precision), recall: of(|class| class.recall), f1: of(|class| class.f1) }
        };
        let macro_mean = mean(|_| 1.0);
        let weighted_mean = mean(|class| class.support as f64);
        Some(Self {
            images: predictions.len(),
            loss: None,
            accuracy: predictions.accuracy(),
            top_5: (classes.len() > 5).then(|| predictions.top_k(5)),
            macro_f1: macro_mean.f1,
            per_class,
            macro_mean,
            weighted_mean,
            confusion,
            roc_auc: predictions.roc_auc(),
            ece: predictions.calibration_error(Self::BINS),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[track_caller]
    fn close(ours: f64, theirs: &Value, tolerance: f64, what: &str) {
        let theirs = theirs.as_f64().expect("a number");
        assert!((ours - theirs).abs() < tolerance, "{what}: {ours} is not {theirs}");
    }

    #[test]
    fn every_metric_is_that_of_scikit_learn() {
        let golden: Value = serde_json::from_str(include_str!("../../tests/golden/metrics.json")).expect("JSON");
        for case in golden["cases"].as_array().expect("a list") {
            let name = case["name"].as_str().expect("a name");
            let rows: Vec<Vec<f32>> = serde_json::from_value(case["probabilities"].clone()).expect("rows");
            let labels: Vec<u32> = serde_json::from_value(case["labels"].clone()).expect("labels");
            let classes = rows[0].len();
            let first_largest = |row: &Vec<f32>| (0..classes).rev().max_by(|&a, &b| row[a].total_cmp(&row[b]));
            let predicted: Vec<u32> = rows.iter().filter_map(first_largest).map(|class| class as u32).collect();
            let mut predictions = Predictions::new(classes);
            // The rows are added in two batches.
            let half = rows.len() / 2;
            predictions.push(&rows[..half].concat(), &predicted[..half], &labels[..half]);
            predictions.push(&rows[half..].concat(), &predicted[half..], &labels[half..]);
            let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
            let report = Report::new(&predictions, &names).expect("there are images");
            close(report.accuracy, &case["accuracy"], 1e-12, name);
            assert_eq!(serde_json::to_value(&report.confusion).expect("plain data"), case["confusion"], "{name}");
            for (at, class) in report.per_class.iter().enumerate() {
                close(class.precision, &case["precision"][at], 1e-12, name);
                close(class.recall, &case["recall"][at], 1e-12, name);
                close(class.f1, &case["f1"][at], 1e-12, name);
                assert_eq!(serde_json::json!(class.support), case["support"][at], "{name}");
            }
            for (mean, key) in [(report.macro_mean, "macro"), (report.weighted_mean, "weighted")] {
                close(mean.precision, &case[key]["precision"], 1e-12, name);
                close(mean.recall, &case[key]["recall"], 1e-12, name);
                close(mean.f1, &case[key]["f1"], 1e-12, name);
            }
            for k in [1, 2, 3, 5] {
                if let Some(theirs) = case.get(format!("top_{k}")) {
                    close(predictions.top_k(k), theirs, 1e-12, name);
                }
            }
            assert_eq!(report.top_5.is_some(), classes > 5);
            assert_eq!(report.roc_auc.is_none(), case["roc_auc"].is_null(), "{name}");
            if let Some(area) = report.roc_auc {
                close(area, &case["roc_auc"], 1e-12, name);
            }
            // The probabilities were rounded to decimals.
            close(report.ece, &case["ece"], 1e-7, name);
        }
    }

    #[test]
    fn classes_that_do_not_occur_are_left_out_of_the_mean() {
        // Images of two of four classes are all predicted right.
        let mut predictions = Predictions::new(4);
        predictions.push(&[0.9, 0.1, 0.0, 0.0, 0.0, 0.2, 0.8, 0.0], &[0, 2], &[0, 2]);
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let report = Report::new(&predictions, &names).expect("there are images");
        assert_eq!((report.accuracy, report.macro_f1, report.macro_mean.recall), (1.0, 1.0, 1.0));
        // One more image is predicted as a class that no image has, so this class occurs.
        predictions.push(&[0.1, 0.9, 0.0, 0.0], &[1], &[0]);
        let report = Report::new(&predictions, &names).expect("there are images");
        assert!((report.macro_f1 - (2.0 / 3.0 + 0.0 + 1.0) / 3.0).abs() < 1e-12, "{report:?}");
    }

    #[test]
    fn there_is_no_report_without_images() {
        assert_eq!(Report::new(&Predictions::new(2), &["a".to_owned(), "b".to_owned()]), None);
        assert_eq!((Predictions::new(2).accuracy(), Predictions::new(2).calibration_error(15)), (0.0, 0.0));
    }
}
