//! Images per second of whole networks on a device, forward only:
//! `cargo run --release -p injerto-cli --features wgpu --example device -- wgpu NETWORK [BATCH [SECONDS [PRECISION]]]`.
//!
//! NETWORK is `mobilenet_v2` (160×160), `inception_v3` or `vit_small` (224×224), PRECISION is `f32`, `f16` or `bf16`. The images are on the device;
//! the time begins before the first layer of a batch and ends when the outputs of the last batch have come back. The first batch,
//! for which Burn tunes and compiles its kernels unless they have been kept, is timed by itself. The outputs of its first images are
//! compared with those that Burn computes on the processor in `f32`. The output is one row of a table.

#![allow(clippy::disallowed_macros, reason = "an example prints its result")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use burn_tensor::{Device, FloatDType};
use injerto_backbones::network::{Network, to_input};
use injerto_backbones::weights::Weights;
use injerto_experiment::{card, device};
use injerto_graph::{Graph, Preprocessing};
use injerto_reference::networks;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize, default: &'static str| arguments.get(at).map_or(default, String::as_str);
    let on = match argument(0, "wgpu") {
        "flex" => injerto_config::Device::Flex,
        "wgpu" => injerto_config::Device::Wgpu,
        "cuda" => injerto_config::Device::Cuda,
        other => bail!("no device '{other}': take wgpu, cuda or flex"),
    };
    let (graph, side) = match argument(1, "mobilenet_v2") {
        "mobilenet_v2" => (networks::mobilenet_v2(160), 160),
        "inception_v3" => (networks::inception_v3(224), 224),
        "vit_small" => (networks::vit_small(224), 224),
        other => bail!("no network '{other}': take mobilenet_v2, inception_v3 or vit_small"),
    };
    let batch: usize = argument(2, "32").parse().context("BATCH is a number")?;
    let seconds: f64 = argument(3, "3").parse().context("SECONDS is a number")?;
    let precision = argument(4, "f32");
    let wanted = match precision {
        "f32" => FloatDType::F32,
        "f16" => FloatDType::F16,
        "bf16" => FloatDType::BF16,
        other => bail!("no precision '{other}': take f32, f16 or bf16"),
    };
    let device = device(on)?;
    let row = format!("| forward, {} {side}×{side}, batch {batch} | {} {precision} |", graph.name(), on.name());
    if !device.supports_dtype(wanted) {
        println!("{row} not supported by {} | |", card(&device).unwrap_or_default());
        return Ok(());
    }
    let weights = weights(&graph);
    let graph = Arc::new(graph);
    let everything: Vec<usize> = (1..graph.len()).collect();
    let last = graph.len() - 1;
    let network = Network::new(Arc::clone(&graph), &weights, &device)?.for_inference(&everything, &[last], wanted);
    let pixels = networks::Random::new(2).values(batch * side * side * 3, 0.0, 255.0);
    let input = to_input(&pixels, [batch, side, side], &Preprocessing::minus_one_to_one(), &device);
    let began = Instant::now();
    let values = network.forward(input.clone()).to_host();
    let first = began.elapsed().as_secs_f64();
    let few = batch.min(2);
    let on_processor = Network::new(graph, &weights, &Device::flex())?;
    let input_of_few = to_input(
        &pixels[..few * side * side * 3],
        [few, side, side],
        &Preprocessing::minus_one_to_one(),
        on_processor.device(),
    );
    let error = largest_difference(&values, &on_processor.forward(input_of_few).to_host());
    // A few batches more: what is used for the first time while the device is busy is not timed either.
    for _ in 0..5 {
        network.forward(input.clone()).to_host();
    }
    let mut rates = Vec::new();
    let start = Instant::now();
    while rates.len() < 3 || start.elapsed() < Duration::from_secs_f64(seconds) {
        let began = Instant::now();
        let mut last = None;
        for _ in 0..10 {
            last = Some(network.forward(input.clone()));
        }
        last.map(|values| values.to_host());
        rates.push(10.0 * batch as f64 / began.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    println!(
        "{row} {:.0} images/s | first batch {first:.1} s, outputs differ by {error:.0e} |",
        rates[rates.len() / 2]
    );
    Ok(())
}

/// The largest difference between `expected` and the values that `found` begins with, relative to the largest value. It is not a number
/// if a value is not.
fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    let worse = |most: f32, value: f32| if most.is_nan() || value.is_nan() { f32::NAN } else { most.max(value.abs()) };
    let difference = found.iter().zip(expected).map(|(a, b)| a - b).fold(0.0, worse);
    difference / expected.iter().copied().fold(0.0, worse)
}

/// Random weights that keep values near one.
fn weights(graph: &Graph) -> Weights {
    let mut weights = Weights::default();
    for (node, own) in graph.nodes().iter().zip(networks::parameters(graph, 1)) {
        for (parameter, values) in node.parameters.iter().zip(own) {
            weights.insert(format!("{}/{}", node.name(), parameter.name()), parameter.shape.clone(), values);
        }
    }
    weights
}
