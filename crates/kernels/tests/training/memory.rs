//! Programs read and write only their own memory.

use injerto_graph::layers::{Conv2D, DepthwiseConv2D};
use injerto_graph::{Activation, Builder, Graph, Operator, Padding, Window};
use injerto_kernels::Isa;
use injerto_kernels::inference::Arithmetic;
use injerto_reference::conformance::{self, Case, Format, Trainer as _, uncut};

use super::{Training, everything};

/// Every kind of step that has kernels of its own, on images so small that Miri runs it.
pub fn every_kind_of_step() -> Graph {
    let mut net = Builder::new("small");
    let norm = || Operator::BatchNormalization { epsilon: 1e-3, momentum: 0.9, center: true, scale: true };
    let window = Window { pool_size: [2, 2], strides: [2, 2], padding: Padding::Same, count_include_pad: false };
    let x = net.input([14, 13, 2]);
    let x = net.add("stem", Conv2D::new(32, 3).same().relu(), &[x]);
    let x = net.add("stem_norm", norm(), &[x]);
    let x = net.add("square", Conv2D::new(32, 3).same(), &[x]);
    let x = net.add("square_norm", norm(), &[x]);
    let x = net.add("square_relu", Operator::ReLU { max_value: Some(6.0), negative_slope: 0.0 }, &[x]);
    let x = net.add("largest", Operator::MaxPooling2D(window.clone()), &[x]);
    let x = net.add("depthwise", DepthwiseConv2D::new(3).same(), &[x]);
    let x = net.add("grouped", Conv2D::new(20, 2).groups(2).strides(2), &[x]);
    let a = net.add("mean", Operator::AveragePooling2D(window), &[x]);
    let b = net.add("other", Conv2D::new(20, 2).strides(2).same(), &[x]);
    let x = net.add("sum", Operator::Add {}, &[a, b]);
    let x = net.add("drop", Operator::Dropout { rate: 0.2, per_sample: false }, &[x]);
    let x = net.add("pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
    net.add("dense", Operator::Dense { units: 3, use_bias: true, activation: Activation::Softmax }, &[x]);
    net.finish().expect("a graph")
}

/// A step of training of a whole network, on images so small that Miri runs it in minutes (`cargo xtask prove memory`).
#[test]
fn a_small_network_keeps_to_its_memory() {
    let mut net = Builder::new("small");
    let x = net.input([4, 4, 2]);
    let x = net.add("stem", Conv2D::new(3, 3).same().strides(2), &[x]);
    let norm = Operator::BatchNormalization { epsilon: 1e-3, momentum: 0.9, center: true, scale: true };
    let x = net.add("norm", norm, &[x]);
    let x = net.add("relu", Operator::ReLU { max_value: Some(6.0), negative_slope: 0.0 }, &[x]);
    let x = net.add("depthwise", DepthwiseConv2D::new(3).same(), &[x]);
    let x = net.add("pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
    net.add("dense", Operator::Dense { units: 2, use_bias: true, activation: Activation::Linear }, &[x]);
    let graph = net.finish().expect("a graph");
    let (pass, split) = (everything(&graph, &[2]), uncut(&graph));
    let case = Case::new(graph, 2, 3);
    let dy = [0.5, -0.25, 1.0, 0.125];
    let step = Training(Arithmetic::F32(Isa::Portable)).step(&case, &split, &pass, &dy).expect("it compiles");
    assert!(step.gradients.values().flatten().all(|value| value.is_finite()));
    assert!(step.gradients.values().flatten().any(|value| *value != 0.0));
}

/// Miri can run this test too, which takes much longer, and checks each access; without Miri, values are compared too.
#[test]
fn every_kind_of_step_keeps_to_its_memory() {
    let graph = every_kind_of_step();
    let pass = everything(&graph, &[2]);
    let (trainer, split) = (Training(Arithmetic::F32(Isa::Portable)), uncut(&graph));
    let dy = [0.5, -0.25, 1.0];
    let case = Case::new(graph, 1, 3);
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let step = pool(2).install(|| trainer.step(&case, &split, &pass, &dy)).expect("it compiles");
    assert!(step.gradients.values().flatten().all(|value| value.is_finite()));
    if !cfg!(miri) {
        let case = conformance::away_from_kinks(Format::F32, case.graph, 2, 3, &pass).expect("a case");
        conformance::check_step(&trainer, &case, &[split], &pass).unwrap_or_else(|error| panic!("{error}"));
    }
}
