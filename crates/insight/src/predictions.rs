//! What a classifier says of images whose labels are known.

use crate::stats::{Bootstrap, Estimate, macro_f1, roc_auc};
use crate::{InsightError, Result};

/// What a classifier says of images whose labels are known: `[images, classes]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    classes: usize,
    labels: Vec<u32>,
    probabilities: Vec<f64>,
}

impl Predictions {
    /// `probabilities` row by row, one row per label.
    ///
    /// # Errors
    /// Numbers of values that do not fit, values outside 0 to 1, labels above the classes.
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

    /// The most probable class of each image; of equals the first.
    pub fn predicted(&self) -> Vec<u32> {
        self.rows().map(|(_, row)| largest(row) as u32).collect()
    }

    /// Whether the most probable class is the label, image by image.
    pub fn right(&self) -> Vec<bool> {
        self.rows().map(|(label, row)| largest(row) == label as usize).collect()
    }

    /// Share of images whose most probable class is the label.
    pub fn accuracy(&self) -> Estimate {
        Estimate::share(self.right().into_iter().filter(|right| *right).count(), self.len())
    }

    /// Mean cross-entropy, in nats; a probability counts as at least 1e-15, as in scikit-learn.
    pub fn log_loss(&self) -> f64 {
        let loss = |(label, row): (u32, &[f64])| -row[label as usize].max(1e-15).ln();
        self.rows().map(loss).sum::<f64>() / self.len().max(1) as f64
    }

    /// Mean F1 over the classes, with the bootstrap's interval.
    pub fn macro_f1(&self, bootstrap: Bootstrap) -> Option<Estimate> {
        let predicted = self.predicted();
        self.estimate(bootstrap, |rows| macro_f1(self.classes, &self.labels, &predicted, rows))
    }

    /// Area under the ROC curve: the second class's where there are two; otherwise the mean of each class against the
    /// rest. With the bootstrap's interval.
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

    /// A statistic of all images, with the bootstrap's interval. It is given the numbers of images.
    pub fn estimate(
        &self,
        bootstrap: Bootstrap,
        statistic: impl Fn(&[usize]) -> Option<f64> + Sync,
    ) -> Option<Estimate> {
        let value = statistic(&(0..self.len()).collect::<Vec<_>>())?;
        Some(Estimate { value, interval: bootstrap.interval(self.len(), statistic)?, n: self.len() })
    }
}

/// Index of the largest value; of equals the first.
pub(crate) fn largest(row: &[f64]) -> usize {
    let better = |best: usize, at: usize| if row[at] > row[best] { at } else { best };
    (1..row.len()).fold(0, better)
}
