/// One weight per class, `images / (classes * images of the class)`, so that all classes count the same. This is scikit-learn's
/// `balanced`. A class without images has weight 0.
pub fn balanced(counts: &[usize]) -> Vec<f64> {
    let total = counts.iter().sum::<usize>() as f64;
    let weight = |&count: &usize| if count == 0 { 0.0 } else { total / (counts.len() * count) as f64 };
    counts.iter().map(weight).collect()
}

/// The weight of each row, which is that of its class, for [`CrossEntropy::value`](crate::CrossEntropy::value).
pub fn sample_weights(class_weights: &[f32], labels: &[u32]) -> Vec<f32> {
    labels.iter().map(|&label| class_weights.get(label as usize).copied().unwrap_or(1.0)).collect()
}
