/// The mean F1 over classes for the images in `rows`, which a bootstrap may contain repeatedly.
/// As in scikit-learn, classes that are neither the label nor the prediction of any image are left out. `None` without images.
pub fn macro_f1(classes: usize, labels: &[u32], predicted: &[u32], rows: &[usize]) -> Option<f64> {
    // For each class: images that are correctly predicted, images with this label, images with this prediction.
    let mut counts = vec![(0_usize, 0_usize, 0_usize); classes];
    for &row in rows {
        let (label, taken_for) = (labels[row] as usize, predicted[row] as usize);
        counts[label].1 += 1;
        counts[taken_for].2 += 1;
        counts[label].0 += usize::from(label == taken_for);
    }
    let occurring = counts.iter().filter(|(_, images, taken)| images + taken > 0);
    let scores: Vec<f64> =
        occurring.map(|&(right, images, taken)| 2.0 * right as f64 / (images + taken) as f64).collect();
    (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
}

/// The area under the ROC curve for the images in `rows`: the probability that an image of the class (`is`) scores
/// higher than another one, where equal scores count half (Mann and Whitney). `None` if all images or none are of the
/// class.
pub fn roc_auc(is: &[bool], scores: &[f64], rows: &[usize]) -> Option<f64> {
    let mut sorted: Vec<(f64, bool)> = rows.iter().map(|&row| (scores[row], is[row])).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins) = (0_usize, 0.0);
    for equal in sorted.chunk_by(|a, b| a.0 == b.0) {
        let of_class = equal.iter().filter(|(_, is)| *is).count();
        let others = equal.len() - of_class;
        wins += of_class as f64 * (below as f64 + others as f64 / 2.0);
        below += others;
    }
    let of_class = sorted.len() - below;
    (of_class > 0 && below > 0).then(|| wins / (of_class as f64 * below as f64))
}
