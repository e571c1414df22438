//! Converts tensors between the axes of a file and Keras's axes.

use std::collections::BTreeMap;

use injerto_graph::{Graph, Layout, Operator, Role};

/// The dense kernels whose input is a flattened image, with the shape of that image.
pub(super) fn flattened(graph: &Graph) -> BTreeMap<String, [usize; 3]> {
    let mut found = BTreeMap::new();
    for node in graph.nodes().iter().filter(|node| matches!(node.operator(), Operator::Dense { .. })) {
        let flatten = &graph.nodes()[node.inputs[0]];
        if matches!(flatten.operator(), Operator::Flatten {}) {
            let image = graph.nodes()[flatten.inputs[0]].shape.image();
            found.extend(image.map(|image| (format!("{}/kernel", node.name()), image)));
        }
    }
    found
}

/// Reorders the rows of a dense kernel from PyTorch's order of a flattened image (channel by channel) to Keras's (pixel by pixel).
pub(super) fn channels_last([h, w, c]: [usize; 3], kernel: &[f32]) -> Vec<f32> {
    let units = kernel.len() / (h * w * c);
    let rows = (0..h * w).flat_map(|pixel| (0..c).map(move |channel| channel * h * w + pixel));
    rows.flat_map(|row| &kernel[row * units..(row + 1) * units]).copied().collect()
}

/// Shape of a parameter in a file of this layout.
pub(super) fn file_shape(role: Role, shape: &[usize], layout: Layout) -> Vec<usize> {
    match (layout, role, shape) {
        (Layout::Torch, Role::ConvolutionKernel, &[h, w, input, output]) => vec![output, input, h, w],
        (Layout::Torch, Role::DepthwiseKernel, &[h, w, channels, multiplier]) => vec![channels * multiplier, 1, h, w],
        (Layout::Torch, Role::DenseKernel, &[input, output]) => vec![output, input],
        // PyTorch's learned tokens have an axis for the batch.
        (Layout::Torch, Role::Embedding, _) => [&[1], shape].concat(),
        _ => shape.to_vec(),
    }
}

/// Converts values from a file of this layout to Keras's axes.
pub(super) fn to_keras(role: Role, shape: &[usize], layout: Layout, data: Vec<f32>) -> Vec<f32> {
    // If outputs come first and the field comes last, a kernel is a matrix [rows, columns] that must be transposed.
    let (rows, columns) = match (layout, role, shape) {
        // [out, in, field] -> [field, in, out] takes two transpositions, which are done in one pass below.
        (Layout::Torch, Role::ConvolutionKernel, &[h, w, input, output]) => {
            let (field, mut keras) = (h * w, vec![0.0; data.len()]);
            for (o, kernels) in data.chunks_exact(input * field).enumerate() {
                for (i, window) in kernels.chunks_exact(field).enumerate() {
                    window.iter().enumerate().for_each(|(f, &x)| keras[(f * input + i) * output + o] = x);
                }
            }
            return keras;
        }
        // [channels * multiplier, field] -> [field, channels * multiplier].
        (Layout::Torch, Role::DepthwiseKernel, &[h, w, channels, multiplier]) => (channels * multiplier, h * w),
        (Layout::Torch, Role::DenseKernel, &[input, output]) => (output, input),
        _ => return data,
    };
    (0..columns).flat_map(|c| (0..rows).map(move |r| (r, c))).map(|(r, c)| data[r * columns + c]).collect()
}
