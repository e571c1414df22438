//! Compares programs with the specification (values, gradients, statistics), and tests that they are deterministic and learn.

mod bf16;
mod inputs;
mod memory;
mod rows;

use std::borrow::Cow;
use std::collections::BTreeMap;

use injerto_graph::layers::Conv2D;
use injerto_graph::{Activation, Builder, Graph, Node, Operator, Padding, ParameterId, Role, Split};
use injerto_kernels::Isa;
use injerto_kernels::inference::{self, Arithmetic, Input, Unit};
use injerto_kernels::training::Program;
use injerto_reference::Pass;
use injerto_reference::conformance::{self, Case, Executor, Format, Promises, Step, Trainer, uncut};
use injerto_reference::networks::Random;
use rand_chacha::rand_core::Rng;

/// A prefix compiled for inference and a tail for training, as a phase runs them, for one arithmetic of the tail.
struct Training(Arithmetic);

/// One for each instruction set and each unit that this machine has.
fn trainers() -> Vec<Training> {
    let units = Unit::available().into_iter().map(Arithmetic::Bf16);
    Isa::available().into_iter().map(Arithmetic::F32).chain(units).map(Training).collect()
}

impl Training {
    /// A program for `layers`, which take the values of `inputs`, with the case's parameters.
    fn compile(&self, case: &Case, layers: &[usize], inputs: &[usize], pass: &Pass) -> Result<Program, String> {
        let trains = |layer: usize| pass.trains.contains(&layer);
        let program = Program::compile_with(self.0, &case.graph, layers, inputs, &trains, &pass.batch_statistics);
        let mut program = program.map_err(|error| error.to_string())?;
        for id in program.parameters().collect::<Vec<_>>() {
            program.set(id, &case.parameters[id.layer()][id.place()]).map_err(|error| error.to_string())?;
        }
        Ok(program)
    }

    /// The values of the boundary, which the prefix computes.
    fn boundary(&self, case: &Case, split: &Split) -> Result<Vec<Vec<f32>>, String> {
        if split.boundary == [0] {
            return Ok(vec![case.input.clone()]);
        }
        let Arithmetic::F32(_) = self.0 else {
            // This prefix rounds the inputs of products, and no other values.
            return self.infer(case, &split.boundary);
        };
        let given = |layer: usize, place: usize| Cow::Borrowed(case.parameters[layer][place].as_slice());
        let (graph, prefix) = (&case.graph, &split.prefix);
        inference::Program::compile_with(self.0, graph, prefix, &split.boundary, &given, &Input::default())
            .and_then(|program| program.run(&case.input, case.batch))
            .map_err(|error| error.to_string())
    }
}

impl Executor for Training {
    fn name(&self) -> String {
        format!("training with {:?}", self.0)
    }

    fn format(&self) -> Format {
        match self.0 {
            Arithmetic::F32(_) => Format::F32,
            Arithmetic::Bf16(_) => Format::Bf16Products,
        }
    }

    fn promises(&self) -> Promises {
        Promises { any_threads: true, ..Promises::default() }
    }

    fn infer(&self, case: &Case, layers: &[usize]) -> Result<Vec<Vec<f32>>, String> {
        let output = |&layer: &usize| {
            if layer == 0 {
                return Ok(case.input.clone());
            }
            // The output of a program is that of its graph's last layer.
            let graph = case.graph.truncate(layer).map_err(|error| error.to_string())?;
            let place = |node: &Node| case.graph.position(node.name()).expect("a layer of the whole");
            let parameters = graph.nodes().iter().map(|node| case.parameters[place(node)].clone()).collect();
            let case = Case { graph, parameters, ..case.clone() };
            Ok(self.step(&case, &uncut(&case.graph), &Pass::inference(), &[])?.output)
        };
        layers.iter().map(output).collect()
    }
}

impl Trainer for Training {
    fn step(&self, case: &Case, split: &Split, pass: &Pass, dy: &[f32]) -> Result<Step, String> {
        let boundary = self.boundary(case, split)?;
        if split.tail.is_empty() {
            return Ok(Step { output: boundary[0].clone(), ..Step::default() });
        }
        let mut program = self.compile(case, &split.tail, &split.boundary, pass)?;
        let inputs: Vec<&[f32]> = boundary.iter().map(Vec::as_slice).collect();
        if pass.seed.is_none() {
            let output = program.forward(&inputs, case.batch).map_err(|error| error.to_string())?.to_vec();
            return Ok(Step { output, ..Step::default() });
        }
        let mut random = pass.random();
        let output = program.forward_train(&inputs, case.batch, &mut || random.next_u32());
        let output = output.map_err(|error| error.to_string())?.to_vec();
        program.backward(dy);
        let gradients = program.gradients().map(|(id, values)| (id, values.to_vec())).collect();
        let mut statistics = BTreeMap::new();
        for &layer in &pass.batch_statistics {
            for (place, parameter) in case.graph.nodes()[layer].parameters.iter().enumerate() {
                if matches!(parameter.role, Role::MovingMean | Role::MovingVariance) {
                    let id = ParameterId::new(layer, place);
                    statistics.insert(id, program.get(id).ok_or("a statistic is missing")?.to_vec());
                }
            }
        }
        Ok(Step { output, gradients, statistics })
    }
}

#[test]
fn every_operator_is_computed_or_refused_by_name() {
    for trainer in trainers() {
        conformance::computes_every_operator(&trainer);
        conformance::trains_every_operator(&trainer);
    }
}

#[test]
fn random_networks_train_as_their_layers_do_wherever_they_are_cut() {
    for trainer in trainers() {
        // Emulations are slow, and give the same results as their units.
        let emulated = matches!(trainer.0, Arithmetic::Bf16(unit) if unit.is_emulated());
        let [computed, trained] = if emulated { [10, 30] } else { [50, 200] };
        conformance::computes_random_networks(&trainer, computed);
        conformance::trains_random_networks(&trainer, trained);
    }
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

/// The network is so large that each of its sizes exceeds a tile, a panel and a block.
#[test]
fn training_twice_gives_the_same_bits() {
    trainers().iter().for_each(same_bits);
}

fn same_bits(trainer: &Training) {
    let case = Case::new(wide(), 4, 5);
    let pass = everything(&case.graph, &[2, 4]);
    let train = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut program = trainer.compile(&case, &uncut(&case.graph).tail, &[0], &pass).unwrap();
            let mut draws = Random::new(9);
            let mut bits = Vec::new();
            for _ in 0..3 {
                let output = program.forward_train(&[&case.input], 4, &mut || draws.bits()).unwrap().to_vec();
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

/// A sum is computed together with the layer before it only if it repeats no value. Here, the one pixel of a dense layer or a convolution is
/// added to every pixel of another value.
#[test]
fn a_layer_that_a_sum_repeats_is_computed_by_itself() {
    for operator in [Conv2D::new(3, 1).into(), Conv2D::new(3, 2).same().into(), dense(3)] {
        let mut net = Builder::new("repeated");
        let image = net.input([4, 5, 3]);
        let mean = net.add("mean", Operator::GlobalAveragePooling2D { keepdims: true }, &[image]);
        let small = net.add("small", operator, &[mean]);
        let sum = net.add("sum", Operator::Add {}, &[small, image]);
        let pooled = net.add("pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[sum]);
        net.add("dense", dense(2), &[pooled]);
        let graph = net.finish().expect("a graph");
        let (pass, split) = (everything(&graph, &[]), uncut(&graph));
        let case = Case::new(graph, 2, 3);
        for isa in Isa::available() {
            let check =
                conformance::check_step(&Training(Arithmetic::F32(isa)), &case, std::slice::from_ref(&split), &pass);
            check.unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// A dense layer without a function.
fn dense(units: usize) -> Operator {
    Operator::Dense { units, use_bias: true, activation: Activation::Linear }
}

/// A training pass in which every layer trains.
fn everything(graph: &Graph, batch_statistics: &[usize]) -> Pass {
    Pass { seed: Some(1), trains: (0..graph.len()).collect(), batch_statistics: batch_statistics.to_vec() }
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
    // Two convolutions are computed by Winograd's method, one of them with a normalisation folded in.
    let x = net.add("square", conv(64, 3, 1, 1, true, Activation::Relu), &[x]);
    let x = net.add("square_norm", norm(), &[x]);
    let x = net.add("narrow", conv(48, 3, 1, 1, false, Activation::Linear), &[x]);
    let x = net.add("narrow_norm", norm(), &[x]);
    let x = net.add("narrow_relu", Operator::ReLU { max_value: Some(6.0), negative_slope: 0.0 }, &[x]);
    let x = net.add("expand", conv(100, 1, 1, 1, false, Activation::Linear), &[x]);
    let x = net.add("expand_norm", norm(), &[x]);
    let x = net.add("expand_relu", Operator::ReLU { max_value: Some(6.0), negative_slope: 0.0 }, &[x]);
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
    let x = net.add("depthwise_relu", Operator::ReLU { max_value: Some(6.0), negative_slope: 0.0 }, &[x]);
    let x = net.add("small", conv(64, 3, 1, 1, true, Activation::Relu), &[x]);
    let x = net.add("small_norm", norm(), &[x]);
    let x = net.add("large", conv(70, 5, 2, 2, true, Activation::Swish), &[x]);
    let x = net.add("drop", Operator::Dropout { rate: 0.2, per_sample: false }, &[x]);
    let x = net.add("pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
    net.add("dense", Operator::Dense { units: 3, use_bias: true, activation: Activation::Softmax }, &[x]);
    net.finish().unwrap()
}

#[test]
fn wide_layers_agree_with_the_specification() {
    for trainer in trainers() {
        let case = Case::new(wide(), 2, 11);
        let case = if trainer.format() == Format::F32 { case } else { case.with_plain_scales() };
        let pass = everything(&case.graph, &[2, 4, 16]);
        let expected = case.evaluate_in(trainer.format(), &pass);
        let output = &expected.outputs[case.graph.len() - 1];
        let dy = Random::new(12).values(output.len(), -1.0, 1.0);
        let slopes = expected.backward(&dy.iter().map(|&dy| f64::from(dy)).collect::<Vec<_>>()).parameters;
        // A value near the middle between two numbers of bf16 may be rounded to either.
        let (of_output, of_gradient) = if trainer.format() == Format::F32 { (3e-4, 1e-3) } else { (2e-3, 1e-2) };
        let found = trainer.step(&case, &uncut(&case.graph), &pass, &dy).unwrap();
        for (found, expected) in found.output.iter().zip(output) {
            assert!((f64::from(*found) - expected).abs() <= of_output, "{}: {found} {expected}", trainer.name());
        }
        assert_eq!(found.gradients.keys().collect::<Vec<_>>(), slopes.keys().collect::<Vec<_>>());
        for (id, found) in &found.gradients {
            let expected = &slopes[id];
            // Gradients are compared as vectors: by chance, some of so many values lie at a kink of a function, and get the slope of its other
            // side.
            let length = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
            let off = length(&mut found.iter().zip(expected).map(|(&found, expected)| f64::from(found) - expected));
            let size = length(&mut expected.iter().copied());
            let name = case.graph.nodes()[id.layer()].name();
            assert!(
                off <= of_gradient * size.max(1e-3),
                "{}: gradient of {name} {id:?}: off by {off} of {size}",
                trainer.name()
            );
        }
    }
}

#[test]
fn a_tiny_batch_is_learnt() {
    let case = Case::new(wide(), 6, 3);
    let pass = everything(&case.graph, &[2, 4, 16]);
    let mut program = Training(Arithmetic::f32()).compile(&case, &uncut(&case.graph).tail, &[0], &pass).unwrap();
    let mut draws = Random::new(2);
    let mut losses = Vec::new();
    let mut moments = vec![Vec::new(); program.gradients().count()];
    for _ in 0..60 {
        let output = program.forward_train(&[&case.input], 6, &mut || draws.bits()).unwrap().to_vec();
        // The loss is the cross-entropy; sample i is of class i modulo 3.
        let truth = |at: usize| at % 3 == at / 3 % 3;
        losses.push((0..18).filter(|&at| truth(at)).map(|at| -output[at].ln()).sum::<f32>() / 6.0);
        let slope: Vec<f32> = (0..18).map(|at| if truth(at) { -1.0 / (6.0 * output[at]) } else { 0.0 }).collect();
        program.backward(&slope);
        // The optimiser is Adam.
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
    let conv = |kernel: usize| Conv2D::new(16, kernel).same();
    let norm = || Operator::BatchNormalization { epsilon: 1e-3, momentum: 0.9, center: true, scale: true };
    let mut net = Builder::new("tail");
    let x = net.input([8, 8, 16]);
    let x = net.add("frozen", conv(3), &[x]);
    let x = net.add("frozen_norm", norm(), &[x]);
    let x = net.add("trained", conv(1), &[x]);
    // The statistics of this layer change in every step, but no kernel depends on them.
    let x = net.add("moving_norm", norm(), &[x]);
    net.add("pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
    let case = Case::new(net.finish().expect("a graph"), 2, 3);
    let layers = uncut(&case.graph).tail;
    let pass = Pass { seed: Some(1), trains: (3..6).collect(), batch_statistics: vec![4] };
    let mut program = Training(Arithmetic::f32()).compile(&case, &layers, &[0], &pass).expect("a program");
    for step in 1..=5 {
        program.forward_train(&[&case.input], 2, &mut || 0).expect("memory");
        program.backward(&[0.1; 32]);
        program.trained_mut().for_each(|(_, values, _)| values[0] += 0.01);
        assert_eq!(program.packings(), 1 + step);
    }
    // Only the kernel that is set is packed again.
    program.set(ParameterId::new(1, 0), &vec![0.5; 3 * 3 * 16 * 16]).expect("its length");
    program.forward(&[&case.input], 2).expect("memory");
    assert_eq!(program.packings(), 1 + 5 + 2, "the frozen kernel, and the trained one after its last step");
    program.forward(&[&case.input], 2).expect("memory");
    assert_eq!(program.packings(), 8);
}
