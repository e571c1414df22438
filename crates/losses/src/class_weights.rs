/// A weight for each class that makes all classes count the same, `images / (classes * images of the class)`:
/// scikit-learn's `balanced`. A class without images has weight 0.
pub fn balanced(counts: &[usize]) -> Vec<f64> {
    let total = counts.iter().sum::<usize>() as f64;
    let weight = |&count: &usize| if count == 0 { 0.0 } else { total / (counts.len() * count) as f64 };
    counts.iter().map(weight).collect()
}

/// The weight of each row, for [`CrossEntropy::forward`](crate::CrossEntropy::forward): that of its class.
pub fn sample_weights(class_weights: &[f32], labels: &[u32]) -> Vec<f32> {
    labels.iter().map(|&label| class_weights.get(label as usize).copied().unwrap_or(1.0)).collect()
}
