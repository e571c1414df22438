use std::collections::BTreeMap;

use injerto_graph::{Graph, Node, Operator, Parameter, ParameterId, Role};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::layer::{Backward, Context, Operand};
use crate::operators::layer;
use crate::tensor::Tensor;

/// How a pass is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pass {
    /// In training, the seed of the numbers that dropout draws ([`Pass::random`]). `None` is inference.
    pub seed: Option<u64>,
    /// Layers that train: dropout among them drops in training.
    pub trains: Vec<usize>,
    /// Batch normalisations that use the batch's statistics in training, and move their own.
    pub batch_statistics: Vec<usize>,
}

impl Pass {
    /// Inference.
    pub fn inference() -> Self {
        Self::default()
    }

    /// The generator whose 32-bit numbers dropout draws, layer by layer, sample by sample, channel by channel.
    pub fn random(&self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.seed.unwrap_or_default())
    }

    /// Whether dropout of layer `at` drops.
    pub(crate) fn drops(&self, at: usize) -> bool {
        self.seed.is_some() && self.trains.contains(&at)
    }

    /// Whether the batch normalisation at `at` uses the batch's statistics.
    pub(crate) fn uses_batch(&self, at: usize) -> bool {
        self.seed.is_some() && self.batch_statistics.contains(&at)
    }
}

/// What a network computes for a batch.
pub struct Values {
    /// The output of each layer, `[batch, …]`, channels last.
    pub outputs: Vec<Vec<f64>>,
    /// Running statistics after the pass, of the batch normalisations that moved them.
    pub statistics: BTreeMap<ParameterId, Vec<f64>>,
    /// How near a value came to a point at which a slope changes (0 of a ReLU, two values of a pooling window that are nearly
    /// equal): where it is within rounding, single precision may take the slope of the other side.
    pub nearest_kink: f64,
    tensors: Vec<Tensor>,
    backward: Vec<Backward>,
    inputs: Vec<Vec<usize>>,
}

/// Gradients of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// The gradient of each parameter that has one, whether its layer trains or not.
    pub parameters: BTreeMap<ParameterId, Vec<f64>>,
    /// The gradient of the network's input.
    pub input: Vec<f64>,
}

/// Computes a network in double precision. `parameters` are in Keras's axes, by layer and place in the layer's list.
///
/// # Panics
/// If `input` is not as long as `batch` samples, or an output has not the shape that the graph says.
pub fn evaluate(graph: &Graph, parameters: &[Vec<Vec<f64>>], input: &[f64], batch: usize, pass: &Pass) -> Values {
    forward(graph, parameters, input, batch, pass, [|x| x; 2])
}

/// Computes a network in inference as an executor does that keeps values in bf16: what a layer puts out is rounded, and so are the kernels
/// that are multiplied with many values. What happens inside of a layer, sums above all, is in double precision.
///
/// # Panics
/// If `input` is not as long as `batch` samples.
pub fn evaluate_in_bf16(graph: &Graph, parameters: &[Vec<Vec<f64>>], input: &[f64], batch: usize) -> Values {
    let round = |(node, values): (&Node, &Vec<Vec<f64>>)| {
        let kernels =
            values.iter().zip(&node.parameters).map(|(values, parameter)| match multiplies(node, parameter) {
                true => values.iter().map(|&x| bf16(x)).collect(),
                false => values.clone(),
            });
        kernels.collect::<Vec<Vec<f64>>>()
    };
    let rounded: Vec<Vec<Vec<f64>>> = graph.nodes().iter().zip(parameters).map(round).collect();
    forward(graph, &rounded, input, batch, &Pass::inference(), [bf16, |x| x])
}

/// Computes a network as an executor does that multiplies matrices in bf16: both sides of a product are rounded, forward and back, and
/// everything else, sums above all, is in double precision.
///
/// # Panics
/// In the cases of [`evaluate`].
pub fn evaluate_with_bf16_products(
    graph: &Graph,
    parameters: &[Vec<Vec<f64>>],
    input: &[f64],
    batch: usize,
    pass: &Pass,
) -> Values {
    forward(graph, parameters, input, batch, pass, [|x| x, bf16])
}

/// Whether a parameter of this layer is one side of a product of matrices. The kernel of a layer each filter of which has a channel to itself
/// is not.
fn multiplies(node: &Node, parameter: &Parameter) -> bool {
    let kernel = matches!(parameter.role, Role::ConvolutionKernel | Role::DenseKernel);
    let alone = || match node.operator() {
        Operator::Conv2D { groups, filters, .. } => *groups > 1 && groups == filters && parameter.shape[2] == 1,
        _ => false,
    };
    kernel && !alone()
}

/// The number of bf16 next to `x`: 8 significant bits, and zero below 2 to the power of -126. Of two that are equally near, the even one.
pub fn bf16(x: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    if x.abs() < power_of_two(-126) {
        return 0.0_f64.copysign(x);
    }
    let exponent = (x.abs().to_bits() >> 52) as i32 - 1023;
    let unit = power_of_two(exponent - 7);
    let rounded = (x / unit).round_ties_even() * unit;
    match rounded.abs() < power_of_two(128) {
        true => rounded,
        false => f64::INFINITY.copysign(x),
    }
}

/// 2 to the power of `exponent`, from -1022 to 1023, exactly. Of `powi` Rust does not promise that, and Miri makes use of it.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(u64::from((1023 + exponent).cast_unsigned()) << 52)
}

/// A pass forward in which every layer's output goes through `round`, and both sides of each product of matrices through `operand`.
fn forward(
    graph: &Graph,
    parameters: &[Vec<Vec<f64>>],
    input: &[f64],
    batch: usize,
    pass: &Pass,
    [round, operand]: [Operand; 2],
) -> Values {
    let mut random = pass.random();
    let (mut statistics, mut nearest_kink) = (BTreeMap::new(), f64::INFINITY);
    let mut tensors: Vec<Tensor> = Vec::with_capacity(graph.len());
    let mut backward = Vec::with_capacity(graph.len());
    for (at, node) in graph.nodes().iter().enumerate() {
        let inputs: Vec<&Tensor> = node.inputs.iter().map(|&input| &tensors[input]).collect();
        let mut context = Context {
            node,
            parameters: &parameters[at],
            drops: pass.drops(at),
            uses_batch: pass.uses_batch(at),
            random: &mut random,
            operand,
            moved: Vec::new(),
            nearest_kink: &mut nearest_kink,
        };
        let (mut output, slopes) = match inputs.is_empty() {
            true => (Tensor::new(batch, &node.shape.0, input.to_vec()), Backward::constant()),
            false => layer(&inputs, &mut context),
        };
        assert_eq!(output.shape, node.shape.0, "layer '{}': shape inference and its values disagree", node.name());
        output.values.iter_mut().for_each(|x| *x = round(*x));
        statistics.extend(context.moved.into_iter().map(|(place, values)| (ParameterId::new(at, place), values)));
        tensors.push(output);
        backward.push(slopes);
    }
    Values {
        outputs: tensors.iter().map(|tensor| tensor.values.clone()).collect(),
        statistics,
        nearest_kink,
        tensors,
        backward,
        inputs: graph.nodes().iter().map(|node| node.inputs.clone()).collect(),
    }
}

impl Values {
    /// Gradients of `sum(output * dy)`, where the output is the last layer's.
    ///
    /// # Panics
    /// If `dy` is not as long as the output.
    pub fn backward(&self, dy: &[f64]) -> Gradients {
        let mut slopes: Vec<Option<Tensor>> = vec![None; self.tensors.len()];
        let last = self.tensors.len() - 1;
        slopes[last] = Some(Tensor::new(self.tensors[last].batch, &self.tensors[last].shape, dy.to_vec()));
        let (mut parameters, mut input) = (BTreeMap::new(), Vec::new());
        for at in (0..self.tensors.len()).rev() {
            let Some(dy) = slopes[at].take() else { continue };
            let (of_inputs, of_parameters) = self.backward[at].apply(&dy);
            parameters.extend(of_parameters.into_iter().map(|(place, values)| (ParameterId::new(at, place), values)));
            for (&to, dx) in self.inputs[at].iter().zip(of_inputs) {
                slopes[to] = Some(match slopes[to].take() {
                    Some(sum) => sum.with(&dx, |a, b| a + b),
                    None => dx,
                });
            }
            if at == 0 {
                input = dy.values;
            }
        }
        Gradients { parameters, input }
    }
}
