//! Compares compiled programs with the specification of the operators, with every instruction set that this machine has.

mod convolutions;
mod hostile;
mod steps;

use std::borrow::Cow;

use injerto_graph::{Activation, Builder, Graph, Operator, Padding, Preprocessing};
use injerto_kernels::inference::{Arithmetic, Error, Input, Isa, Program, Unit};
use injerto_reference::conformance::{self, Case, Executor, Format, Promises};
use injerto_reference::networks::{self, Random};
use injerto_reference::{Pass, evaluate};

const BATCH: usize = 5;

/// Programs for one arithmetic.
struct Inference(Arithmetic);

impl Executor for Inference {
    fn name(&self) -> String {
        format!("inference with {:?}", self.0)
    }

    fn format(&self) -> Format {
        match self.0 {
            Arithmetic::F32(_) => Format::F32,
            Arithmetic::Bf16(_) => Format::Bf16,
        }
    }

    fn promises(&self) -> Promises {
        Promises { any_batch: true, any_threads: true, any_cut: false }
    }

    fn infer(&self, case: &Case, layers: &[usize]) -> Result<Vec<Vec<f32>>, String> {
        let program = compile_with(self.0, &case.graph, layers, &case.parameters, &Input::default());
        let program = program.map_err(|error| error.to_string())?;
        let outputs = program.run(&case.input, case.batch).map_err(|error| error.to_string())?;
        let sizes: Vec<usize> = outputs.iter().map(|output| output.len() / case.batch).collect();
        assert_eq!(program.output_sizes(), sizes);
        Ok(outputs)
    }
}

/// One for each instruction set and each unit that this machine has, emulated units included.
fn executors() -> impl Iterator<Item = Inference> {
    let emulated = Unit::available().into_iter().filter(|unit| unit.is_emulated());
    fast_executors().chain(emulated.map(|unit| Inference(Arithmetic::Bf16(unit))))
}

/// Those that compute whole networks in little time, that is, without emulated units.
fn fast_executors() -> impl Iterator<Item = Inference> {
    let units = Unit::available().into_iter().filter(|unit| !unit.is_emulated());
    let all = Isa::available().into_iter().map(Arithmetic::F32).chain(units.map(Arithmetic::Bf16));
    all.map(Inference)
}

/// Compiles all layers in `f32`.
fn compile(
    isa: Isa,
    graph: &Graph,
    outputs: &[usize],
    parameters: &[Vec<Vec<f32>>],
    input: &Input,
) -> Result<Program, Error> {
    compile_with(Arithmetic::F32(isa), graph, outputs, parameters, input)
}

/// Compiles all layers.
fn compile_with(
    arithmetic: Arithmetic,
    graph: &Graph,
    outputs: &[usize],
    parameters: &[Vec<Vec<f32>>],
    input: &Input,
) -> Result<Program, Error> {
    let layers: Vec<usize> = (0..graph.len()).collect();
    let parameters = |layer: usize, place: usize| Cow::Borrowed(parameters[layer][place].as_slice());
    Program::compile_with(arithmetic, graph, &layers, outputs, &parameters, input)
}

/// Checks that every output of every image is the specification's within `tolerance` (relative to the largest value), and has the same bits in
/// every batch and with every number of threads.
fn check_within(tolerance: impl Fn(Format) -> f64, graph: &Graph, outputs: &[usize], seed: u64) {
    let case = Case::new(graph.clone(), BATCH, seed);
    for executor in fast_executors() {
        let check = conformance::check_values(&executor, &case, outputs, tolerance(executor.format()));
        check.unwrap_or_else(|error| panic!("{error}"));
    }
}

fn check(graph: &Graph, outputs: &[usize], seed: u64) {
    check_within(|_| 2e-5, graph, outputs, seed);
}

fn bits(outputs: &[Vec<f32>]) -> Vec<Vec<u32>> {
    outputs.iter().map(|output| output.iter().map(|x| x.to_bits()).collect()).collect()
}

#[test]
fn every_operator_is_computed_or_refused_by_name() {
    executors().for_each(|executor| conformance::computes_every_operator(&executor));
}

#[test]
fn random_networks_compute_what_their_layers_do() {
    executors().for_each(|executor| conformance::computes_random_networks(&executor, 100));
}

fn conv(filters: usize, kernel_size: [usize; 2], strides: [usize; 2], padding: Padding) -> Operator {
    Operator::Conv2D {
        filters,
        kernel_size,
        strides,
        padding,
        dilation_rate: [1, 1],
        groups: 1,
        use_bias: true,
        activation: Activation::Linear,
    }
}

fn depthwise(kernel_size: [usize; 2], strides: [usize; 2], padding: Padding, depth_multiplier: usize) -> Operator {
    Operator::DepthwiseConv2D {
        kernel_size,
        strides,
        padding,
        dilation_rate: [1, 1],
        depth_multiplier,
        use_bias: true,
        activation: Activation::Linear,
    }
}

fn norm() -> Operator {
    Operator::BatchNormalization { epsilon: 1e-3, momentum: 0.99, center: true, scale: true }
}

#[test]
fn a_program_serves_many_threads_at_once() {
    let graph = networks::mobilenet_v2(32);
    let parameters = networks::parameters(&graph, 4);
    let program = compile(Isa::detect(), &graph, &[graph.len() - 1], &parameters, &Input::default()).unwrap();
    let pixels = Random::new(9).values(6 * graph.input_shape().count(), -1.0, 1.0);
    let expected = bits(&program.run(&pixels, 6).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|_| assert_eq!(bits(&program.run(&pixels, 6).unwrap()), expected)));
        }
    });
}

#[test]
fn mobilenet_v2_as_a_whole() {
    let graph = networks::mobilenet_v2(32);
    assert_eq!(graph.len(), 154);
    assert_eq!(graph.parameter_count(), 2_257_984);
    // The outputs at layer 100 are compared too, where a block's sum and its expansion both cross the cut.
    // Programs in bf16 are left out: with random weights, the rounding errors of 53 layers grow a thousandfold.
    let case = Case::new(graph.clone(), BATCH, 7);
    for isa in Isa::available() {
        let executor = Inference(Arithmetic::F32(isa));
        let check = conformance::check_values(&executor, &case, &[graph.len() - 1, 98, 89], 1e-4);
        check.unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn inception_v3_as_a_whole() {
    let graph = networks::inception_v3(75);
    assert_eq!(graph.output_shape().0, [1, 1, 2048]);
    check_within(|_| 1e-4, &graph, &[graph.len() - 1], 3);
}

#[test]
fn pixels_are_prepared_first() {
    let mut net = Builder::new("prepared");
    let x = net.input([7, 5, 3]);
    net.add("conv", conv(20, [3, 3], [1, 1], Padding::Same), &[x]);
    let graph = net.finish().unwrap();
    let parameters = networks::parameters(&graph, 1);
    let pixels = Random::new(5).values(7 * 5 * 3, 0.0, 255.0);
    for preprocessing in [Preprocessing::imagenet(), Preprocessing::caffe(), Preprocessing::minus_one_to_one()] {
        let prepared: Vec<f64> = (0..pixels.len())
            .map(|i| {
                let c = i % 3;
                let from = if preprocessing == Preprocessing::caffe() { i - c + 2 - c } else { i };
                (f64::from(pixels[from]) * preprocessing.scale - preprocessing.mean[c]) / preprocessing.std[c]
            })
            .collect();
        let double = |values: &Vec<f32>| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
        let double: Vec<Vec<Vec<f64>>> = parameters.iter().map(|layer| layer.iter().map(double).collect()).collect();
        let expected = evaluate(&graph, &double, &prepared, 1, &Pass::inference()).outputs.pop().unwrap();
        for isa in Isa::available() {
            let program = compile(isa, &graph, &[1], &parameters, &Input::from(&preprocessing)).unwrap();
            let found = program.run(&pixels, 1).unwrap().pop().unwrap();
            let largest = expected.iter().fold(1.0_f64, |largest, x| largest.max(x.abs()));
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (f64::from(*found) - expected).abs() <= 2e-5 * largest,
                    "{isa:?}: {found}, expected {expected}"
                );
            }
        }
    }
}

#[test]
fn products_repeat_sides_of_one_on_any_axis() {
    let mut net = Builder::new("gates");
    let x = net.input([4, 6, 10]);
    let gate = net.add("gate", Operator::GlobalAveragePooling2D { keepdims: true }, &[x]);
    let column = net.add("column", conv(1, [4, 1], [1, 1], Padding::Valid), &[x]);
    let x = net.add("product", Operator::Multiply {}, &[x, gate, column]);
    let x = net.add("apart", Operator::Reshape { target_shape: vec![2, 2, 6, 10] }, &[x]);
    let y = net.add("other", Operator::Reshape { target_shape: vec![4, 1, 6, 10] }, &[x]);
    let y = net.add("dense", Operator::Dense { units: 5, use_bias: true, activation: Activation::Tanh }, &[y]);
    let y = net.add("fewer", Operator::Reshape { target_shape: vec![2, 60] }, &[y]);
    let x = net.add("flat", Operator::Reshape { target_shape: vec![2, 2, 60] }, &[x]);
    let y = net.add("rows", Operator::Reshape { target_shape: vec![2, 1, 60] }, &[y]);
    net.add("last", Operator::Multiply {}, &[x, y]);
    let graph = net.finish().unwrap();
    check(&graph, &[graph.len() - 1, 6], 11);
}

#[test]
fn what_is_missing_is_named() {
    let mut net = Builder::new("short");
    let x = net.input([8, 8, 3]);
    let x = net.add("conv", conv(4, [3, 3], [1, 1], Padding::Same), &[x]);
    net.add("norm", norm(), &[x]);
    let graph = net.finish().unwrap();
    let parameters = networks::parameters(&graph, 1);
    let given = |layer: usize, place: usize| Cow::Borrowed(parameters[layer][place].as_slice());
    let error = Program::compile(&graph, &[0, 2], &[2], &given, &Input::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer 'conv' is needed, but is not among the layers of 'short' that are to be compiled"
    );
    let short = |layer: usize, place: usize| Cow::Borrowed(&parameters[layer][place][1..]);
    let error = Program::compile(&graph, &[0, 1, 2], &[2], &short, &Input::default()).unwrap_err();
    assert!(matches!(error, Error::Parameter { expected: 108, found: 107, .. }), "{error}");
    let input = Input { scale: vec![1.0; 4], shift: vec![0.0; 4], reverse_channels: false };
    let error = Program::compile(&graph, &[0, 1, 2], &[2], &given, &input).unwrap_err();
    assert_eq!(error, Error::Input { expected: 3, found: 4 });
}
