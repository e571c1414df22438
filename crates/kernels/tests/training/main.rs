//! Programs against a plain reference in double precision: values, gradients, statistics, determinism, learning.

mod random;
mod reference;

use injerto_graph::{Activation, Builder, Graph, Operator, Padding, Role};
use injerto_kernels::training::Program;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use random::Random;
use reference::{Parameters, Pass};

const BATCH: usize = 3;

/// Draws values for all parameters.
fn parameters(graph: &Graph, random: &mut Random) -> Parameters {
    let mut all = Parameters::new();
    for (layer, node) in graph.nodes().iter().enumerate() {
        for (place, parameter) in node.parameters.iter().enumerate() {
            let fan: usize = parameter.shape.iter().rev().skip(1).product::<usize>().max(1);
            let mut value = || match parameter.role {
                Role::Gamma => 1.0 + 0.3 * random.value(),
                Role::MovingVariance | Role::Variance => 0.7 + 0.3 * random.value(),
                Role::ConvolutionKernel | Role::DepthwiseKernel | Role::DenseKernel => {
                    random.value() * 1.5 / (fan as f64).sqrt()
                }
                _ => 0.3 * random.value(),
            };
            // As precise as the program has them.
            all.insert((layer, place), (0..parameter.count()).map(|_| f64::from(value() as f32)).collect());
        }
    }
    all
}

fn singles(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

/// A program for everything behind the input, with those parameters.
fn program(graph: &Graph, parameters: &Parameters, trains: &dyn Fn(usize) -> bool, statistics: &[usize]) -> Program {
    let layers: Vec<usize> = (1..graph.len()).collect();
    let mut program = Program::compile(graph, &layers, &[0], trains, statistics).unwrap();
    for (id, values) in parameters {
        program.set(*id, &singles(values)).unwrap();
    }
    program
}

/// Whether two numbers agree, for sums whose terms are about as large as `size`.
fn close(a: f64, b: f64, size: f64) -> bool {
    (a - b).abs() <= 3e-4 * size.max(1.0).max(b.abs())
}

fn check(seed: u64) -> Result<(), TestCaseError> {
    let graph = random::network(seed);
    let mut random = Random::new(seed ^ 77);
    let mut parameters = parameters(&graph, &mut random);
    let input: Vec<f64> = (0..BATCH * graph.input_shape().count()).map(|_| f64::from(random.value() as f32)).collect();
    let normalisations: Vec<usize> = (0..graph.len())
        .filter(|&at| matches!(graph.nodes()[at].operator(), Operator::BatchNormalization { .. }))
        .filter(|_| random.below(2) == 0)
        .collect();
    // One layer in four is frozen; the first trains.
    let frozen: Vec<bool> = (0..graph.len()).map(|at| at > 1 && random.below(4) == 0).collect();
    let bits: Vec<u32> = (0..20_000).map(|_| random.bits()).collect();
    let bit = |at: usize| bits[at % bits.len()];
    let trains = |at: usize| !frozen[at];
    let training = Pass { bits: Some(&bit), trains: &trains, batch_statistics: &normalisations };
    let inference = Pass { bits: None, trains: &trains, batch_statistics: &normalisations };
    let mut program = program(&graph, &parameters, &trains, &normalisations);

    let inputs = singles(&input);
    let found = program.forward(&[&inputs], BATCH).unwrap().to_vec();
    let (outputs, _) = reference::run(&graph, &parameters, &input, BATCH, &inference);
    for (found, expected) in found.iter().zip(outputs.last().unwrap()) {
        prop_assert!(close(f64::from(*found), *expected, 1.0), "inference {found} {expected}");
    }

    let mut drawn = 0;
    let mut draw = || {
        drawn += 1;
        bit(drawn - 1)
    };
    let found = program.forward_train(&[&inputs], BATCH, &mut draw).unwrap().to_vec();
    let (outputs, moved) = reference::run(&graph, &parameters, &input, BATCH, &training);
    for (found, expected) in found.iter().zip(outputs.last().unwrap()) {
        prop_assert!(close(f64::from(*found), *expected, 1.0), "training {found} {expected}");
    }
    for (id, expected) in &moved {
        for (found, expected) in program.get(*id).unwrap().iter().zip(expected) {
            prop_assert!(close(f64::from(*found), *expected, 1.0), "statistics {id:?} {found} {expected}");
        }
    }

    let weights: Vec<f64> = (0..found.len()).map(|_| f64::from(random.value() as f32)).collect();
    program.backward(&singles(&weights));
    let loss = |parameters: &Parameters| {
        let (outputs, _) = reference::run(&graph, parameters, &input, BATCH, &training);
        outputs.last().unwrap().iter().zip(&weights).map(|(y, weight)| y * weight).sum::<f64>()
    };
    let gradients: Vec<_> =
        program.gradients().map(|(id, values)| ((id.layer(), id.place()), values.to_vec())).collect();
    let expected: Vec<_> = parameters
        .keys()
        .copied()
        .filter(|&(layer, place)| trains(layer) && graph.nodes()[layer].parameters[place].trainable())
        .collect();
    prop_assert_eq!(gradients.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected);
    for (id, found) in gradients {
        let size = f64::from(found.iter().fold(0.0_f32, |most, value| most.max(value.abs())));
        for _ in 0..6 {
            let at = random.below(found.len());
            let old = parameters[&id][at];
            let mut at_value = |value: f64| {
                parameters.get_mut(&id).unwrap()[at] = value;
                loss(&parameters)
            };
            let step = 1e-6;
            let slope = (at_value(old + step) - at_value(old - step)) / (2.0 * step);
            at_value(old);
            let name = graph.nodes()[id.0].name();
            prop_assert!(
                close(f64::from(found[at]), slope, size),
                "gradient of {name} {id:?} at {at}: {} instead of {slope}\n{}",
                found[at],
                listing(&graph)
            );
        }
    }
    Ok(())
}

fn listing(graph: &Graph) -> String {
    let line =
        |(at, node): (usize, &injerto_graph::Node)| format!("{at} {:?} {:?} {}\n", node.layer, node.inputs, node.shape);
    graph.nodes().iter().enumerate().map(line).collect()
}

#[test]
fn random_networks_agree_with_the_reference() {
    // Always the same cases: a value that lies on a kink by chance would differ on both sides of it.
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config { cases: 200, ..Config::default() }, random);
    runner.run(&any::<u64>(), check).unwrap();
}

#[test]
fn a_frozen_dropout_is_the_identity_and_draws_nothing() {
    let mut net = Builder::new("net");
    let mut x = net.input([2, 2, 3]);
    for (name, per_sample) in [("dropout", false), ("depth", true)] {
        x = net.add(name, Operator::Dropout { rate: 0.5, per_sample }, &[x]);
    }
    let graph = net.finish().unwrap();
    let input: Vec<f32> = (1..=12).map(|value| value as f32).collect();
    let drawn = |trains: &dyn Fn(usize) -> bool| {
        let mut program = Program::compile(&graph, &[1, 2], &[0], trains, &[]).unwrap();
        let mut drawn = 0;
        let mut draw = || {
            drawn += 1;
            u32::MAX
        };
        let output = program.forward_train(&[&input], 1, &mut draw).unwrap().to_vec();
        (drawn, output[0])
    };
    assert_eq!(drawn(&|_| false), (0, 1.0));
    assert_eq!(drawn(&|layer| layer == 1), (12, 2.0));
    assert_eq!(drawn(&|layer| layer == 2), (1, 2.0));
    assert_eq!(drawn(&|_| true), (13, 4.0));
}

/// Another way through the same code: a network whose every size is beyond a tile, a panel and a block.
#[test]
fn training_twice_gives_the_same_bits() {
    let graph = wide();
    let mut random = Random::new(5);
    let parameters = parameters(&graph, &mut random);
    let input: Vec<f32> = (0..4 * graph.input_shape().count()).map(|_| random.value() as f32).collect();
    let train = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut program = program(&graph, &parameters, &|_| true, &[2, 4]);
            let mut draws = Random::new(9);
            let mut bits = Vec::new();
            for _ in 0..3 {
                let output = program.forward_train(&[&input], 4, &mut || draws.bits()).unwrap().to_vec();
                bits.extend(output.iter().map(|value| value.to_bits()));
                program.backward(&output);
                for (_, values, gradient) in program.trained_mut() {
                    bits.extend(gradient.iter().map(|value| value.to_bits()));
                    values.iter_mut().zip(gradient).for_each(|(value, gradient)| *value -= 0.01 * *gradient);
                }
            }
            bits
        })
    };
    let once = train(1);
    assert!(once == train(1) && once == train(2) && once == train(5));
}

/// Convolutions of every kind on sizes that do not divide into tiles.
fn wide() -> Graph {
    let mut net = Builder::new("wide");
    let conv = |filters, kernel: usize, stride: usize, groups, use_bias, activation| Operator::Conv2D {
        filters,
        kernel_size: [kernel, kernel],
        strides: [stride, stride],
        padding: Padding::Same,
        dilation_rate: [1, 1],
        groups,
        use_bias,
        activation,
    };
    let norm = || Operator::BatchNormalization { epsilon: 1e-3, momentum: 0.9, center: true, scale: true };
    let x = net.input([19, 23, 3]);
    let x = net.add("stem", conv(48, 3, 1, 1, true, Activation::Relu), &[x]);
    let x = net.add("stem_norm", norm(), &[x]);
    // Two for Winograd's method, with and without something folded in.
    let x = net.add("square", conv(64, 3, 1, 1, true, Activation::Relu), &[x]);
    let x = net.add("square_norm", norm(), &[x]);
    let x = net.add("narrow", conv(48, 3, 1, 1, false, Activation::Linear), &[x]);
    let x = net.add("narrow_norm", norm(), &[x]);
    let x = net.add("narrow_relu", Operator::ReLU { max_value: Some(6.0) }, &[x]);
    let x = net.add("expand", conv(100, 1, 1, 1, false, Activation::Linear), &[x]);
    let x = net.add("expand_norm", norm(), &[x]);
    let x = net.add("expand_relu", Operator::ReLU { max_value: Some(6.0) }, &[x]);
    let depthwise = Operator::DepthwiseConv2D {
        kernel_size: [3, 3],
        strides: [2, 2],
        padding: Padding::Same,
        dilation_rate: [1, 1],
        depth_multiplier: 1,
        use_bias: false,
        activation: Activation::Linear,
    };
    let x = net.add("depthwise", depthwise, &[x]);
    let x = net.add("depthwise_norm", norm(), &[x]);
    let x = net.add("depthwise_relu", Operator::ReLU { max_value: Some(6.0) }, &[x]);
    let x = net.add("small", conv(64, 3, 1, 1, true, Activation::Relu), &[x]);
    let x = net.add("small_norm", norm(), &[x]);
    let x = net.add("large", conv(70, 5, 2, 2, true, Activation::Swish), &[x]);
    let x = net.add("drop", Operator::Dropout { rate: 0.2, per_sample: false }, &[x]);
    let x = net.add("pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
    net.add("dense", Operator::Dense { units: 3, use_bias: true, activation: Activation::Softmax }, &[x]);
    net.finish().unwrap()
}

#[test]
fn wide_layers_agree_with_the_reference() {
    let graph = wide();
    let mut random = Random::new(11);
    let mut parameters = parameters(&graph, &mut random);
    let (batch, statistics) = (2, [2, 4, 16]);
    let input: Vec<f64> = (0..batch * graph.input_shape().count()).map(|_| f64::from(random.value() as f32)).collect();
    let training = Pass { bits: Some(&|_| u32::MAX), trains: &|_| true, batch_statistics: &statistics };
    let mut program = program(&graph, &parameters, &|_| true, &statistics);
    let found = program.forward_train(&[&singles(&input)], batch, &mut || u32::MAX).unwrap().to_vec();
    let (outputs, _) = reference::run(&graph, &parameters, &input, batch, &training);
    for (found, expected) in found.iter().zip(outputs.last().unwrap()) {
        assert!(close(f64::from(*found), *expected, 1.0), "{found} {expected}");
    }
    let weights: Vec<f64> = (0..found.len()).map(|_| f64::from(random.value() as f32)).collect();
    program.backward(&singles(&weights));
    let gradients: Vec<_> =
        program.gradients().map(|(id, values)| ((id.layer(), id.place()), values.to_vec())).collect();
    for (id, found) in gradients {
        let size = found.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        // Along a random direction, so that every value of the gradient takes part.
        let direction: Vec<f64> = found.iter().map(|_| random.value()).collect();
        let old = parameters[&id].clone();
        let mut loss = |step: f64| {
            let moved = old.iter().zip(&direction).map(|(old, direction)| old + step * direction).collect();
            parameters.insert(id, moved);
            let (outputs, _) = reference::run(&graph, &parameters, &input, batch, &training);
            outputs.last().unwrap().iter().zip(&weights).map(|(y, weight)| y * weight).sum::<f64>()
        };
        let slope = (loss(1e-6) - loss(-1e-6)) / 2e-6;
        loss(0.0);
        let along: f64 = found.iter().zip(&direction).map(|(found, direction)| f64::from(*found) * direction).sum();
        let size = f64::from(size) * (found.len() as f64).sqrt();
        let name = graph.nodes()[id.0].name();
        assert!((along - slope).abs() <= 1e-3 * size, "gradient of {name} {id:?}: {along} instead of {slope}, {size}");
    }
}

#[test]
fn a_tiny_batch_is_learnt() {
    let graph = wide();
    let mut random = Random::new(3);
    let parameters = parameters(&graph, &mut random);
    let input: Vec<f32> = (0..6 * graph.input_shape().count()).map(|_| random.value() as f32).collect();
    let mut program = program(&graph, &parameters, &|_| true, &[2, 4, 16]);
    let mut draws = Random::new(2);
    let mut losses = Vec::new();
    let mut moments = vec![Vec::new(); program.gradients().count()];
    for _ in 0..60 {
        let output = program.forward_train(&[&input], 6, &mut || draws.bits()).unwrap().to_vec();
        // Cross-entropy; sample i is of class i modulo 3.
        let truth = |at: usize| at % 3 == at / 3 % 3;
        losses.push((0..18).filter(|&at| truth(at)).map(|at| -output[at].ln()).sum::<f32>() / 6.0);
        let slope: Vec<f32> = (0..18).map(|at| if truth(at) { -1.0 / (6.0 * output[at]) } else { 0.0 }).collect();
        program.backward(&slope);
        // Adam.
        for ((_, values, gradient), moments) in program.trained_mut().zip(&mut moments) {
            moments.resize(values.len(), (0.0_f32, 0.0_f32));
            for ((value, gradient), (first, second)) in values.iter_mut().zip(gradient).zip(moments) {
                *first = 0.9 * *first + 0.1 * *gradient;
                *second = 0.99 * *second + 0.01 * *gradient * *gradient;
                *value -= 0.01 * *first / (second.sqrt() + 1e-6);
            }
        }
    }
    assert!(losses[59] < 0.1 * losses[0], "from {} to {}", losses[0], losses[59]);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let graph = wide();
    let all: Vec<usize> = (1..graph.len()).collect();
    let error = Program::compile(&graph, &all[2..], &[0], &|_| true, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer 'square' takes the output of 'stem_norm', which is neither in the tail nor one of its inputs"
    );
    let mut program = Program::compile(&graph, &all[2..], &[2], &|_| true, &[]).unwrap();
    assert_eq!(program.set((3, 0), &[1.0]).unwrap_err().to_string(), "'square/kernel' has 27648 values, not 1");
    assert_eq!(program.set((0, 0), &[1.0]).unwrap_err().to_string(), "layer 0 of the tail has no parameter 0");
}

#[test]
fn a_frozen_kernel_is_packed_once_and_one_that_trains_in_every_step() {
    let conv = |kernel: usize| Operator::Conv2D {
        filters: 16,
        kernel_size: [kernel, kernel],
        strides: [1, 1],
        padding: Padding::Same,
        dilation_rate: [1, 1],
        groups: 1,
        use_bias: true,
        activation: Activation::Linear,
    };
    let norm = || Operator::BatchNormalization { epsilon: 1e-3, momentum: 0.9, center: true, scale: true };
    let mut net = Builder::new("tail");
    let x = net.input([8, 8, 16]);
    let x = net.add("frozen", conv(3), &[x]);
    let x = net.add("frozen_norm", norm(), &[x]);
    let x = net.add("trained", conv(1), &[x]);
    // The statistics of this one move in every step, and no kernel is made of them.
    let x = net.add("moving_norm", norm(), &[x]);
    net.add("pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
    let graph = net.finish().unwrap();
    let mut random = Random::new(3);
    let parameters = parameters(&graph, &mut random);
    let mut program = program(&graph, &parameters, &|layer| layer >= 3, &[4]);
    let input: Vec<f32> = (0..2 * 8 * 8 * 16).map(|_| random.value() as f32).collect();
    for step in 1..=5 {
        program.forward_train(&[&input], 2, &mut || 0).unwrap();
        program.backward(&[0.1; 32]);
        program.trained_mut().for_each(|(_, values, _)| values[0] += 0.01);
        assert_eq!(program.packings(), 1 + step);
    }
    // A kernel that is set is packed anew, and only that.
    program.set((1, 0), &vec![0.5; 3 * 3 * 16 * 16]).unwrap();
    program.forward(&[&input], 2).unwrap();
    assert_eq!(program.packings(), 1 + 5 + 2, "the frozen kernel, and the trained one after its last step");
    program.forward(&[&input], 2).unwrap();
    assert_eq!(program.packings(), 8);
}
