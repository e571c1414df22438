//! Burn's network passes the specification of the operators. Wherever the network is cut, prefix and tail together give the same values
//! and gradients as the whole network, bit for bit.

use std::sync::Arc;

use burn_tensor::{Device, Tensor, TensorData};
use injerto_backbones::network::{Network, TrainingPass, Value, to_host};
use injerto_backbones::weights::Weights;
use injerto_graph::{Node, Split};
use injerto_reference::Pass;
use injerto_reference::conformance::{self, Case, Executor, Promises, Step, Trainer};

/// Burn's network on the CPU.
struct Burn;

/// The network of a case, and its images.
fn network(case: &Case) -> Result<(Network, Tensor<4>), String> {
    let (graph, device) = (Arc::new(case.graph.clone()), Device::flex());
    let mut weights = Weights::default();
    for (node, own) in graph.nodes().iter().zip(&case.parameters) {
        for (parameter, values) in node.parameters.iter().zip(own) {
            let name = format!("{}/{}", node.name(), parameter.name());
            weights.insert(name, parameter.shape.clone(), values.clone());
        }
    }
    let images = Value::from_host(case.input.clone(), case.batch, &graph.input_shape().0, &device);
    let Value::Image(images) = images else { return Err("the input is not an image".to_owned()) };
    let network = Network::new(graph, &weights, &device).map_err(|error| error.to_string())?;
    Ok((network, images))
}

impl Executor for Burn {
    fn name(&self) -> String {
        "Burn's network".to_owned()
    }

    fn refuses(&self, node: &Node) -> bool {
        !matches!(node.shape.0.len(), 1..=3)
    }

    fn promises(&self) -> Promises {
        Promises { any_cut: true, ..Promises::default() }
    }

    fn infer(&self, case: &Case, layers: &[usize]) -> Result<Vec<Vec<f32>>, String> {
        let (network, images) = network(case)?;
        Ok(network.outputs(images, layers).iter().map(Value::to_host).collect())
    }
}

impl Trainer for Burn {
    fn step(&self, case: &Case, split: &Split, pass: &Pass, dy: &[f32]) -> Result<Step, String> {
        let (network, images) = network(case)?;
        let boundary = network.prefix(split, images);
        if pass.seed.is_none() {
            let output = network.tail(split, boundary, None).to_host();
            return Ok(Step { output, ..Step::default() });
        }
        let leaves = network.leaves(split.tail.iter().copied().filter(|layer| pass.trains.contains(layer)));
        let mut training = TrainingPass {
            leaves: &leaves,
            random: &mut pass.random(),
            drawing: &pass.trains,
            updates_statistics: &pass.batch_statistics,
            statistics: Vec::new(),
        };
        let output = network.tail(split, boundary, Some(&mut training)).into_features();
        let statistics = training.statistics.iter().map(|(id, tensor)| (*id, network.to_values(*id, tensor))).collect();
        let mut step = Step { output: to_host(output.clone()), statistics, ..Step::default() };
        if !leaves.is_empty() {
            let dy = TensorData::new(dy.to_vec(), output.dims());
            let mut gradients = (output * Tensor::from_data(dy, &Device::flex())).sum().backward();
            for (id, leaf) in &leaves {
                if let Some(gradient) = leaf.gradient(&mut gradients) {
                    step.gradients.insert(*id, network.to_values(*id, &gradient));
                }
            }
        }
        Ok(step)
    }
}

#[test]
fn every_operator_is_computed_or_refused_by_name() {
    conformance::computes_every_operator(&Burn);
    conformance::trains_every_operator(&Burn);
}

#[test]
fn random_networks_compute_what_their_layers_do() {
    conformance::computes_random_networks(&Burn, 96);
}

#[test]
fn prefix_and_tail_are_the_network_wherever_it_is_cut() {
    conformance::trains_random_networks(&Burn, 96);
}
