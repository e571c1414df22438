//! Wherever a network is cut, prefix and tail together are the network: values and gradients, bit for bit.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use injerto_backbones::network::{Network, ParameterTensor, TrainingPass};
use injerto_backbones::weights::Weights;
use injerto_graph::{Cut, CutOptions, FreezePlan, Graph, ParameterId, Split};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::strategy::{graphs, selection};

/// Everything behind the input in the tail.
fn uncut(graph: &Graph) -> Split {
    Split { prefix: vec![0], tail: (1..graph.len()).collect(), crossing: vec![0] }
}

/// Three images of a sine.
fn images(graph: &Graph) -> Tensor<4> {
    let [h, w, c] = graph.input_shape().image().expect("an image");
    let values = (0..3 * h * w * c).map(|i| (0.37 * i as f32).sin()).collect();
    Tensor::from_data(TensorData::new(values, [3, c, h, w]), &Device::flex())
}

fn bits(tensor: &ParameterTensor) -> Vec<u32> {
    let values: Vec<f32> = match tensor {
        ParameterTensor::Vector(tensor) => tensor.to_data().iter::<f32>().collect(),
        ParameterTensor::Matrix(tensor) => tensor.to_data().iter::<f32>().collect(),
        ParameterTensor::Kernel(tensor) => tensor.to_data().iter::<f32>().collect(),
    };
    values.into_iter().map(f32::to_bits).collect()
}

/// Output and gradients of a training step on `network` cut by `split`, the bits of every number.
fn step(network: &Network, plan: &FreezePlan, split: &Split) -> (Vec<u32>, BTreeMap<ParameterId, Vec<u32>>) {
    let leaves = network.leaves(split.tail.iter().copied().filter(|&layer| plan.trains(layer)));
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let crossing = network.prefix(split, images(network.graph()));
    let drawing: Vec<usize> = (0..network.graph().len()).filter(|&layer| plan.draws(network.graph(), layer)).collect();
    let mut pass =
        TrainingPass { leaves: &leaves, random: &mut random, drawing: &drawing, moving: &[], statistics: Vec::new() };
    let output = network.tail(split, crossing, Some(&mut pass)).into_features();
    let values = output.to_data().iter::<f32>().map(f32::to_bits).collect();
    let mut found = BTreeMap::new();
    if !leaves.is_empty() {
        // A loss that tells the outputs apart.
        let weights = Tensor::<2>::from_data([[1.0, -2.0], [0.5, 3.0], [-1.5, 0.25]], &Device::flex());
        let mut gradients = (output * weights).sum().backward();
        for (id, leaf) in &leaves {
            if let Some(gradient) = leaf.gradient(&mut gradients) {
                found.insert(*id, bits(&gradient));
            }
        }
    }
    (values, found)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn prefix_and_tail_are_the_network(graph in graphs(14), wish in any::<[u8; 3]>(), weight in 0_u8..60) {
        let plan = FreezePlan::new(&graph, &selection(&graph, wish)).expect("made from the graph");
        let graph = Arc::new(graph);
        let network = Network::new(graph.clone(), &Weights::initialise(&graph, 3), &Device::flex()).expect("fits");
        let whole = step(&network, &plan, &uncut(&graph));
        let options = CutOptions { multiply_adds_per_byte: f64::from(weight) / 4.0, ..CutOptions::default() };
        let cut = Cut::new(&graph, &plan, options);
        // What trains is in the tail, whichever way it is cut.
        let trained = |at: &usize| plan.trains(*at) && graph.nodes()[*at].trainable_count() > 0;
        prop_assert!((0..graph.len()).filter(trained).all(|at| cut.split.tail.contains(&at)));
        for split in [Split::new(&graph, &plan), cut.split] {
            let parts = step(&network, &plan, &split);
            prop_assert_eq!(&parts.0, &whole.0, "outputs of {:?}", split);
            prop_assert_eq!(&parts.1, &whole.1, "gradients of {:?}", split);
        }
    }

    #[test]
    fn in_inference_too(graph in graphs(14), wish in any::<[u8; 3]>()) {
        let plan = FreezePlan::new(&graph, &selection(&graph, wish)).expect("made from the graph");
        let graph = Arc::new(graph);
        let network = Network::new(graph.clone(), &Weights::initialise(&graph, 4), &Device::flex()).expect("fits");
        let split = Split::planned(&graph, &plan, CutOptions::default());
        let parts = network.tail(&split, network.prefix(&split, images(&graph)), None);
        let whole = network.forward(images(&graph));
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
        prop_assert_eq!(bits(parts.to_host()), bits(whole.to_host()));
    }
}
