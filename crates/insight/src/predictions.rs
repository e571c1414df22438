//! Predictions of a classifier for images whose labels are known.

use crate::stats::{Bootstrap, Estimate, macro_f1, roc_auc};
use crate::{InsightError, Result};

/// The probabilities that a classifier gives to images whose labels are known, `[images, classes]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    classes: usize,
    labels: Vec<u32>,
    probabilities: Vec<f64>,
}

impl Predictions {
    /// Predictions from `probabilities`, row by row, with one row per label.
    ///
    /// # Errors
    /// [`InsightError::Count`] for a wrong number of probabilities, [`InsightError::Probabilities`] for a probability that is not between 0 and 1,
    /// or a label that is not below the number of classes.
    pub fn new(classes: usize, labels: Vec<u32>, probabilities: Vec<f64>) -> Result<Self> {
        let expected = labels.len() * classes;
        if probabilities.len() != expected {
            return Err(InsightError::Count { what: "probabilities", found: probabilities.len(), expected });
        }
        let is_bad = |(label, row): (&u32, &[f64])| {
            *label as usize >= classes || row.iter().any(|p| !(-1e-6..=1.0 + 1e-6).contains(p))
        };
        match labels.iter().zip(probabilities.chunks_exact(classes.max(1))).position(is_bad) {
            Some(row) => Err(InsightError::Probabilities { row, classes }),
            None => Ok(Self { classes, labels, probabilities }),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Label of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Probabilities of an image.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.probabilities[row * self.classes..][..self.classes]
    }

    /// Each label with its row of probabilities.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (u32, &[f64])> {
        self.labels.iter().copied().zip(self.probabilities.chunks_exact(self.classes.max(1)))
    }

    /// The most probable class of each image; of equally probable classes, the first one.
    pub fn predicted(&self) -> Vec<u32> {
        self.rows().map(|(_, row)| largest(row) as u32).collect()
    }

    /// For each image, whether the most probable class is the label.
    pub fn right(&self) -> Vec<bool> {
        self.rows().map(|(label, row)| largest(row) == label as usize).collect()
    }

    /// Share of images whose most probable class is the label.
    pub fn accuracy(&self) -> Estimate {
        Estimate::share(self.right().into_iter().filter(|right| *right).count(), self.len())
    }

    /// Mean cross-entropy in nats. As in scikit-learn, a probability below 1e-15 counts as 1e-15.
    pub fn log_loss(&self) -> f64 {
        let loss = |(label, row): (u32, &[f64])| -row[label as usize].max(1e-15).ln();
        self.rows().map(loss).sum::<f64>() / self.len().max(1) as f64
    }

    /// Mean F1 over the classes, with the bootstrap's interval; `None` without images.
    pub fn macro_f1(&self, bootstrap: Bootstrap) -> Option<Estimate> {
        let predicted = self.predicted();
        self.estimate(bootstrap, |rows| macro_f1(self.classes, &self.labels, &predicted, rows))
    }

    /// Area under the ROC curve, with the bootstrap's interval: that of the second class if there are two classes, and otherwise the mean
    /// of the areas of each class against the rest. `None` if all images have one label.
    pub fn roc_auc(&self, bootstrap: Bootstrap) -> Option<Estimate> {
        let classes = if self.classes == 2 { 1..2 } else { 0..self.classes };
        let of = |class: usize| -> (Vec<bool>, Vec<f64>) {
            self.rows().map(|(label, row)| (label as usize == class, row[class])).unzip()
        };
        let sides: Vec<_> = classes.map(of).collect();
        self.estimate(bootstrap, |rows| {
            let areas: Vec<f64> = sides.iter().filter_map(|(is, scores)| roc_auc(is, scores, rows)).collect();
            (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64)
        })
    }

    /// A statistic of all images, with the bootstrap's interval. The function `statistic` gets the rows of images, some of them repeatedly.
    pub fn estimate(
        &self,
        bootstrap: Bootstrap,
        statistic: impl Fn(&[usize]) -> Option<f64> + Sync,
    ) -> Option<Estimate> {
        let value = statistic(&(0..self.len()).collect::<Vec<_>>())?;
        Some(Estimate { value, interval: bootstrap.interval(self.len(), statistic)?, n: self.len() })
    }
}

/// Index of the largest value; of equal values, the first one.
pub(crate) fn largest(row: &[f64]) -> usize {
    let better = |best: usize, at: usize| if row[at] > row[best] { at } else { best };
    (1..row.len()).fold(0, better)
}
