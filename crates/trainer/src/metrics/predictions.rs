/// Predictions of a network for images whose classes are known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Predictions {
    classes: usize,
    /// Probabilities, with one row per image and one column per class.
    probabilities: Vec<f32>,
    predicted: Vec<u32>,
    labels: Vec<u32>,
}

impl Predictions {
    /// No predictions yet.
    pub fn new(classes: usize) -> Self {
        Self { classes, ..Self::default() }
    }

    /// Adds a batch: a row of probabilities, the predicted class and the true class of each image.
    ///
    /// # Panics
    /// If the three have different numbers of images.
    pub fn push(&mut self, probabilities: &[f32], predicted: &[u32], labels: &[u32]) {
        assert_eq!((probabilities.len(), predicted.len()), (labels.len() * self.classes, labels.len()), "of one batch");
        self.probabilities.extend_from_slice(probabilities);
        self.predicted.extend_from_slice(predicted);
        self.labels.extend_from_slice(labels);
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

    /// Probabilities, predicted class and true class of each image.
    pub fn rows(&self) -> impl Iterator<Item = (&[f32], u32, u32)> {
        let rows = self.probabilities.chunks_exact(self.classes.max(1));
        rows.zip(&self.predicted).zip(&self.labels).map(|((row, &predicted), &label)| (row, predicted, label))
    }

    /// Share of images whose class is predicted right; 0 without images.
    pub fn accuracy(&self) -> f64 {
        self.share(|(_, predicted, label)| predicted == label)
    }

    /// Share of images whose class is among the `k` most probable classes. Of equally probable classes, the one with the lower index counts
    /// as more probable, so the most probable class is the predicted one.
    pub fn top_k(&self, k: usize) -> f64 {
        self.share(|(row, _, label)| {
            let (at, own) = (label as usize, row[label as usize]);
            let before = |(class, &p): (usize, &f32)| p > own || (p == own && class < at);
            row.iter().enumerate().filter(|&other| before(other)).count() < k
        })
    }

    /// Number of images by true class (rows) and predicted class (columns).
    pub fn confusion(&self) -> Vec<Vec<usize>> {
        let mut matrix = vec![vec![0; self.classes]; self.classes];
        self.rows().for_each(|(_, predicted, label)| matrix[label as usize][predicted as usize] += 1);
        matrix
    }

    /// Area under the ROC curve: the probability that an image of a class gets a higher score for this class than an image of another
    /// class, where a tie counts one half. For two classes it is the area of the second class; for more classes it is the mean over
    /// all classes, each against the rest. A class with no images, or with all images, has no area and is left out of the mean.
    pub fn roc_auc(&self) -> Option<f64> {
        let classes = if self.classes == 2 { 1..2 } else { 0..self.classes };
        let areas: Vec<f64> = classes.filter_map(|class| self.roc_auc_of(class)).collect();
        (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64)
    }

    /// The area of one class against all others.
    pub fn roc_auc_of(&self, class: usize) -> Option<f64> {
        let mut scores: Vec<(f32, bool)> =
            self.rows().map(|(row, _, label)| (row[class], label as usize == class)).collect();
        scores.sort_by(|a, b| a.0.total_cmp(&b.0));
        let own = scores.iter().filter(|(_, own)| *own).count();
        let others = scores.len() - own;
        if own == 0 || others == 0 {
            return None;
        }
        // Each won pair counts two, so that a tie counts a whole number.
        let (mut below, mut won) = (0, 0_u64);
        for tied in scores.chunk_by(|a, b| a.0 == b.0) {
            let here = tied.iter().filter(|(_, own)| *own).count();
            won += (here * (2 * below + tied.len() - here)) as u64;
            below += tied.len() - here;
        }
        Some(won as f64 / (2 * own * others) as f64)
    }

    /// Expected calibration error. The confidence of an image is the probability of its most probable class. Confidences fall into `bins`
    /// equally wide bins, `(0, 1/bins]` and so on. The error is the mean difference between the accuracy and the mean confidence of a
    /// bin, weighted by its number of images. It is 0 without images.
    pub fn calibration_error(&self, bins: usize) -> f64 {
        let mut sums = vec![(0_usize, 0.0_f64, 0_usize); bins];
        for (row, predicted, label) in self.rows() {
            let confidence = f64::from(row.iter().copied().fold(0.0, f32::max));
            let bin = ((confidence * bins as f64).ceil() as usize).clamp(1, bins) - 1;
            let (right, confidences, count) = &mut sums[bin];
            (*right, *confidences, *count) =
                (*right + usize::from(predicted == label), *confidences + confidence, *count + 1);
        }
        let gaps = sums.iter().map(|&(right, confidences, _)| (right as f64 - confidences).abs());
        gaps.sum::<f64>() / self.len().max(1) as f64
    }

    fn share(&self, holds: impl Fn((&[f32], u32, u32)) -> bool) -> f64 {
        self.rows().filter(|&row| holds(row)).count() as f64 / self.len().max(1) as f64
    }
}
