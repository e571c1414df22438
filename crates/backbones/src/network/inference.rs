//! A network rewritten for inference.

use std::sync::Arc;

use burn_tensor::{FloatDType, Tensor};
use injerto_graph::{Activation, Graph, GraphSpec, Operator, Role};

use super::forward::normalising;
use super::{Network, ParameterTensor};

impl Network {
    /// The same network for inference of `layers`, of which the outputs of `wanted` are asked for.
    ///
    /// A batch normalisation that is all that reads a convolution or a dense layer becomes part of that layer's kernel and bias:
    /// `kernel * scale` and `bias * scale + shift`, where `scale = gamma / sqrt(variance + epsilon)` and `shift = beta - mean * scale`
    /// (Jacob et al., 2018, section 3.2). Layers keep their positions, and such a normalisation passes its input on. Kernels are then
    /// rounded to `format`, which values between layers have, too; the outputs are `f32`.
    pub fn for_inference(&self, layers: &[usize], wanted: &[usize], format: FloatDType) -> Self {
        let nodes = self.graph.nodes();
        let mut readers = vec![0; nodes.len()];
        nodes.iter().flat_map(|node| &node.inputs).for_each(|&input| readers[input] += 1);
        let mut spec = GraphSpec::from(Graph::clone(&self.graph));
        let mut parameters = self.parameters.clone();
        for &at in layers {
            let Operator::BatchNormalization { epsilon, .. } = nodes[at].operator() else { continue };
            let before = nodes[at].inputs[0];
            let is_alone = readers[before] == 1 && layers.contains(&before) && !wanted.contains(&before);
            let Some(with_bias) = linear(nodes[before].operator()).filter(|_| is_alone) else { continue };
            let vector = |role: Role| {
                let place = nodes[at].parameters.iter().position(|parameter| parameter.role == role)?;
                Some(self.parameters[at][place].vector())
            };
            let has_bias = nodes[before].parameters.iter().any(|parameter| parameter.role == Role::Bias);
            let stored = |role| vector(role).expect("a batch normalisation has statistics");
            let statistics = [stored(Role::MovingMean), stored(Role::MovingVariance)];
            let by = normalising(statistics, [vector(Role::Gamma), vector(Role::Beta)], *epsilon);
            parameters[before] = scaled(std::mem::take(&mut parameters[before]), has_bias, by);
            parameters[at].clear();
            spec.layers[before].operator = with_bias;
            spec.layers[at].operator = Operator::Activation { activation: Activation::Linear };
        }
        let graph = Graph::new(spec).expect("a bias is less than the parameters of a normalisation");
        for &at in layers {
            // Scale and shift of a normalisation are computed from these, in single precision.
            let is_statistic = matches!(
                graph.nodes()[at].operator(),
                Operator::BatchNormalization { .. } | Operator::Normalization {}
            );
            if !is_statistic {
                parameters[at] = parameters[at].drain(..).map(|own| own.cast(format)).collect();
            }
        }
        Self { graph: Arc::new(graph), parameters, device: self.device.clone(), format }
    }
}

/// The same operator with a bias, if its output is linear in its kernel; otherwise `None`.
fn linear(operator: &Operator) -> Option<Operator> {
    let mut operator = operator.clone();
    match &mut operator {
        Operator::Conv2D { use_bias, activation, .. }
        | Operator::DepthwiseConv2D { use_bias, activation, .. }
        | Operator::SeparableConv2D { use_bias, activation, .. }
        | Operator::Dense { use_bias, activation, .. }
            if *activation == Activation::Linear =>
        {
            *use_bias = true;
        }
        _ => return None,
    }
    Some(operator)
}

/// The parameters of a layer whose output is multiplied by a scale and shifted: its kernels, of which the last one makes the output, and
/// its bias.
fn scaled(
    mut own: Vec<ParameterTensor>,
    has_bias: bool,
    (scale, shift): (Tensor<1>, Tensor<1>),
) -> Vec<ParameterTensor> {
    let bias = match own.pop_if(|_| has_bias) {
        Some(bias) => bias.vector() * scale.clone() + shift,
        None => shift,
    };
    let [outputs] = scale.dims();
    let kernel = match own.pop().expect("a kernel comes before the bias") {
        ParameterTensor::Kernel(kernel) => ParameterTensor::Kernel(kernel * scale.reshape([outputs, 1, 1, 1])),
        ParameterTensor::Matrix(matrix) => ParameterTensor::Matrix(matrix * scale.reshape([1, outputs])),
        ParameterTensor::Vector(_) => unreachable!("shape inference gives a kernel here"),
    };
    own.extend([kernel, ParameterTensor::Vector(bias)]);
    own
}

#[cfg(test)]
mod tests {
    use burn_tensor::{Device, TensorData};
    use injerto_graph::layers::{
        BatchNormalization, Conv2D, Dense, DepthwiseConv2D, GlobalAveragePooling2D, SeparableConv2D,
    };
    use injerto_graph::{Builder, Node};

    use injerto_graph::Split;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::super::{TrainingPass, Value, to_host};
    use super::*;
    use crate::weights::Weights;

    /// Every layer that a normalisation can become part of; one with an activation between them, and one with two readers.
    fn network() -> Network {
        let mut net = Builder::new("net");
        net.input([8, 8, 3]);
        net.then("conv", Conv2D::new(4, 3).same().use_bias(false));
        net.then("conv_bn", BatchNormalization::new());
        net.then("conv_relu", Activation::Relu);
        net.then("depthwise", DepthwiseConv2D::new(3).depth_multiplier(2));
        net.then("depthwise_bn", BatchNormalization::new().scale(false));
        net.then("separable", SeparableConv2D::new(6, 3).use_bias(false));
        let normal = net.then("separable_bn", BatchNormalization::new().center(false));
        let active = net.then("active", Conv2D::new(6, 1).relu());
        let shared = net.add("shared", Conv2D::new(6, 1), &[active]);
        let shared_bn = net.add("shared_bn", BatchNormalization::new(), &[shared]);
        let active_bn = net.add("active_bn", BatchNormalization::new(), &[active]);
        net.add("sum", Operator::Add {}, &[normal, shared, shared_bn, active_bn]);
        net.then("pool", GlobalAveragePooling2D::new());
        net.then("dense", Dense::new(5));
        net.then("dense_bn", BatchNormalization::new());
        let graph = net.finish().expect("a graph");
        let mut weights = Weights::default();
        for (layer, node) in graph.nodes().iter().enumerate() {
            for (place, parameter) in node.parameters.iter().enumerate() {
                let value = |i: usize| {
                    let wave = (0.731 * i as f32 + 1.37 * layer as f32 + 0.4 * place as f32).sin();
                    if parameter.role == Role::MovingVariance { 0.3 + wave * wave } else { wave }
                };
                let name = format!("{}/{}", node.name(), parameter.name());
                weights.insert(name, parameter.shape.clone(), (0..parameter.count()).map(value).collect());
            }
        }
        Network::new(Arc::new(graph), &weights, &Device::flex()).expect("it fits")
    }

    fn images() -> Tensor<4> {
        let values: Vec<f32> = (0..2 * 3 * 64).map(|i| (0.37 * i as f32).cos()).collect();
        Tensor::from_data(TensorData::new(values, [2, 3, 8, 8]), &Device::flex())
    }

    /// The largest difference, relative to the largest value.
    fn difference(found: &[f32], expected: &[f32]) -> f32 {
        assert_eq!(found.len(), expected.len());
        let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0_f32, |most, value| most.max(value.abs()));
        let between = largest(&mut found.iter().zip(expected).map(|(a, b)| a - b));
        between / largest(&mut expected.iter().copied())
    }

    #[test]
    fn normalisations_become_part_of_what_they_follow() {
        let network = network();
        let everything: Vec<usize> = (1..network.graph().len()).collect();
        let last = network.graph().len() - 1;
        let folded = network.for_inference(&everything, &[last], FloatDType::F32);
        let left: Vec<&str> =
            folded.graph().nodes().iter().filter(|node| is_normalisation(node)).map(Node::name).collect();
        assert_eq!(left, ["shared_bn", "active_bn"]);
        let (found, expected) = (folded.forward(images()).to_host(), network.forward(images()).to_host());
        assert!(difference(&found, &expected) < 1e-5, "{found:?}, {expected:?}");
        let half = network.for_inference(&everything, &[last], FloatDType::F16).forward(images()).to_host();
        let rounding = difference(&half, &expected);
        assert!(rounding > 1e-6 && rounding < 2e-2, "{rounding}");
    }

    #[test]
    fn outputs_that_are_asked_for_stay() {
        let network = network();
        let at = |name: &str| network.graph().position(name).expect("a layer");
        let (conv, separable) = (at("conv"), at("separable"));
        let upto: Vec<usize> = (1..=at("separable_bn")).collect();
        // The last one's normalisation is not among the layers.
        for (layers, wanted) in [(&upto[..], [conv, separable]), (&upto[..upto.len() - 1], [conv, separable])] {
            let folded = network.for_inference(layers, &wanted, FloatDType::F32);
            for (found, expected) in folded.outputs(images(), &wanted).iter().zip(network.outputs(images(), &wanted)) {
                assert!(difference(&found.to_host(), &expected.to_host()) < 1e-5);
            }
        }
    }

    #[test]
    fn samples_of_zeros_change_neither_outputs_nor_gradients() {
        let network = network();
        let split = Split { prefix: vec![0], boundary: vec![0], tail: (1..network.graph().len()).collect() };
        let step = |samples: usize| {
            let everything: Vec<usize> = split.tail.clone();
            let leaves = network.leaves(everything);
            let mut random = ChaCha8Rng::seed_from_u64(1);
            let mut pass = TrainingPass {
                leaves: &leaves,
                random: &mut random,
                drawing: &[],
                updates_statistics: &[],
                statistics: Vec::new(),
            };
            let boundary = vec![Value::Image(images()).filled(samples)];
            let outputs = network.tail(&split, boundary, Some(&mut pass)).first(2).into_features();
            let mut gradients = outputs.clone().powi_scalar(2).mean().backward();
            let found = leaves.values().map(|leaf| to_host(leaf.gradient(&mut gradients).expect("a gradient").flat()));
            (to_host(outputs.inner()), found.collect::<Vec<_>>())
        };
        let (alone, filled) = (step(2), step(5));
        assert!(difference(&filled.0, &alone.0) < 1e-6);
        assert!(filled.1.iter().zip(&alone.1).all(|(filled, alone)| difference(filled, alone) < 1e-5));
    }

    fn is_normalisation(node: &Node) -> bool {
        matches!(node.operator(), Operator::BatchNormalization { .. })
    }
}
