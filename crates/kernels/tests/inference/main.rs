//! Compiled programs against the specification of the operators, with every instruction set that this machine has.

mod hostile;

use std::borrow::Cow;

use injerto_graph::{Activation, Builder, Graph, Operator, Padding, Preprocessing, Window};
use injerto_kernels::inference::{Arithmetic, Error, Input, Isa, Program, Unit};
use injerto_reference::conformance::{self, Case, Executor, Format, Promises};
use injerto_reference::networks::{self, Random};
use injerto_reference::strategy::padding;
use injerto_reference::{Pass, evaluate};
use proptest::prelude::*;

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

/// One for all instructions and units that this machine has.
fn executors() -> impl Iterator<Item = Inference> {
    let emulated = Unit::available().into_iter().filter(|unit| unit.is_emulated());
    fast_executors().chain(emulated.map(|unit| Inference(Arithmetic::Bf16(unit))))
}

/// Those that compute whole networks in little time: without emulations.
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

/// Every output of every image is the specification's within `tolerance` (of the largest value), and the same bits in every
/// batch and with every number of threads.
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn convolutions_of_any_window_and_padding(
        shape in [5_usize..12, 5..12, 1..50],
        kernel in [1_usize..6, 1..6],
        strides in [1_usize..4, 1..4],
        padding in padding(),
        filters in 1_usize..120,
        seed in 0_u64..1_000_000,
    ) {
        let mut net = Builder::new("one");
        let x = net.input(shape);
        let x = net.add("conv", conv(filters, kernel, strides, padding), &[x]);
        let x = net.add("norm", norm(), &[x]);
        net.add("relu", Operator::ReLU { max_value: None, negative_slope: 0.0 }, &[x]);
        let graph = net.finish().unwrap();
        check(&graph, &[3], seed);
    }

    #[test]
    fn depthwise_convolutions_of_any_window_and_padding(
        shape in [5_usize..20, 5..20, 1..50],
        kernel in prop_oneof![Just([3_usize, 3]), Just([5, 5]), [1_usize..6, 1..6]],
        strides in [1_usize..3, 1..3],
        padding in padding(),
        multiplier in prop_oneof![4 => Just(1_usize), 1 => 2_usize..4],
        seed in 0_u64..1_000_000,
    ) {
        let mut net = Builder::new("one");
        let x = net.input(shape);
        let x = net.add("depthwise", depthwise(kernel, strides, padding, multiplier), &[x]);
        let x = net.add("norm", norm(), &[x]);
        net.add("relu", Operator::ReLU { max_value: Some(6.0), negative_slope: 0.0 }, &[x]);
        let graph = net.finish().unwrap();
        check(&graph, &[3], seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn square_convolutions_of_many_channels(
        shape in [7_usize..14, 7..14, 16..70],
        side in prop_oneof![2 => Just(3_usize), 1 => Just(5)],
        padding in padding(),
        filters in 45_usize..110,
        sum in any::<bool>(),
        activation in proptest::sample::select(Activation::ALL[..10].to_vec()),
        seed in 0_u64..1_000_000,
    ) {
        let mut net = Builder::new("square");
        let x = net.input(shape);
        let mut x = net.add("conv", conv(filters, [side, side], [1, 1], padding), &[x]);
        if sum {
            let y = net.add("other", conv(filters, [side, side], [1, 1], Padding::Same), &[x]);
            x = net.add("sum", Operator::Add {}, &[x, y]);
        }
        net.add("end", Operator::Activation { activation }, &[x]);
        let graph = net.finish().unwrap();
        check(&graph, &[graph.len() - 1], seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    /// Some have channels enough for Winograd's algorithm, and some of them an odd length.
    #[test]
    fn lines_of_seven_taps(
        shape in [8_usize..14, 8..14, 40_usize..70],
        vertical in any::<bool>(),
        whole in any::<bool>(),
        padding in prop_oneof![Just(Padding::Same), Just(Padding::around(3))],
        filters in 45_usize..110,
        activation in proptest::sample::select(Activation::ALL[..10].to_vec()),
        seed in 0_u64..1_000_000,
    ) {
        let shape = [shape[0], shape[1], if whole { 48 } else { shape[2] }];
        let kernel = if vertical { [7, 1] } else { [1, 7] };
        let mut net = Builder::new("line");
        let x = net.input(shape);
        let x = net.add("conv", conv(filters, kernel, [1, 1], padding), &[x]);
        let x = net.add("more", conv(64, [1, 1], [1, 1], Padding::Valid), &[x]);
        let x = net.add("line", conv(filters, kernel, [1, 1], Padding::Same), &[x]);
        let y = net.add("point", conv(filters, [1, 1], [1, 1], Padding::Valid), &[x]);
        let x = net.add("sum", Operator::Add {}, &[x, y]);
        net.add("end", Operator::Activation { activation }, &[x]);
        let graph = net.finish().unwrap();
        // Four layers in a row round, and each of them can round the other way after the one before it did.
        let tolerance = |format| if format == Format::F32 { 2e-5 } else { 1e-4 };
        check_within(tolerance, &graph, &[graph.len() - 1], seed);
    }

    /// Values this large stay in the cache strip by strip.
    #[test]
    fn large_values_run_in_strips(
        sides in [45_usize..60, 45..60],
        layers in proptest::collection::vec((0_usize..6, 1_usize..3, padding(), 17_usize..30, any::<bool>()), 2..5),
        seed in 0_u64..1_000_000,
    ) {
        let mut net = Builder::new("large");
        let mut x = net.input([sides[0], sides[1], 3]);
        x = net.add("first", conv(20, [3, 3], [1, 1], Padding::Same), &[x]);
        for (at, (kind, stride, padding, filters, relu)) in layers.into_iter().enumerate() {
            let window = Window { pool_size: [3, 3], strides: [stride, 1], padding: Padding::Same, count_include_pad: false };
            let operator = match kind {
                0 => conv(filters, [1, 1], [1, 1], Padding::Valid),
                1 => conv(filters, [3, 2], [stride, 1], padding),
                2 => conv(50 + filters, [3, 3], [1, 1], padding),
                3 => depthwise([3, 3], [stride, stride], padding, 1),
                4 => Operator::MaxPooling2D(window),
                _ => Operator::AveragePooling2D(window),
            };
            x = net.add(format!("layer_{at}"), operator, &[x]);
            if relu {
                x = net.add(format!("norm_{at}"), norm(), &[x]);
                x = net.add(format!("relu_{at}"), Operator::ReLU { max_value: Some(6.0), negative_slope: 0.0 }, &[x]);
            }
        }
        let graph = net.finish().unwrap();
        let parameters = networks::parameters(&graph, seed);
        let program = compile(Isa::detect(), &graph, &[graph.len() - 1], &parameters, &Input::default()).unwrap();
        let steps = program.profile(&vec![0.5; graph.input_shape().count()], 1).unwrap();
        prop_assert!(steps.iter().any(|step| step.name.contains(" + ")), "{steps:?}");
        check_within(|_| 1e-4, &graph, &[graph.len() - 1], seed);
    }
}

/// The points of minimal filtering are chosen so that it is nearly as exact as the definition.
#[test]
fn minimal_filtering_is_nearly_as_exact_as_the_definition() {
    for window in [[3, 3], [5, 5], [1, 7], [7, 1]] {
        let mut net = Builder::new("exact");
        let x = net.input([16, 16, 64]);
        net.add("conv", conv(64, window, [1, 1], Padding::Same), &[x]);
        check_within(
            |format| if format == Format::F32 { 3e-6 } else { 2e-5 },
            &net.finish().expect("a graph"),
            &[1],
            8,
        );
    }
}

/// A mean of few channels costs less than one of many; a function is not linear, and comes after both.
#[test]
fn a_pointwise_convolution_goes_before_a_mean_where_it_leaves_fewer_channels() {
    let first_step = |filters: usize, largest: bool, count_include_pad: bool, strides: [usize; 2], both: bool| {
        let mut net = Builder::new("branch");
        let x = net.input([9, 7, 40]);
        let stem = net.add("stem", conv(40, [1, 1], [1, 1], Padding::Valid), &[x]);
        let window = Window { pool_size: [3, 3], strides, padding: Padding::Same, count_include_pad };
        let operator = if largest { Operator::MaxPooling2D(window) } else { Operator::AveragePooling2D(window) };
        let pool = net.add("pool", operator, &[stem]);
        let x = net.add("conv", conv(filters, [1, 1], [1, 1], Padding::Valid), &[pool]);
        let x = net.add("norm", norm(), &[x]);
        let x = net.add("relu", Operator::ReLU { max_value: None, negative_slope: 0.0 }, &[x]);
        net.add("joined", Operator::Concatenate {}, &[x, if both { pool } else { x }]);
        let graph = net.finish().expect("a graph");
        check(&graph, &[graph.len() - 1], 4);
        let parameters = networks::parameters(&graph, 1);
        let program = compile(Isa::detect(), &graph, &[graph.len() - 1], &parameters, &Input::default()).unwrap();
        let steps = program.profile(&vec![0.5; graph.input_shape().count()], 1).unwrap();
        let mut names = steps.iter().flat_map(|step| step.name.split(" + ").map(str::to_owned).collect::<Vec<_>>());
        names.find(|name| ["pool", "conv"].contains(&name.as_str())).expect("both are steps")
    };
    assert_eq!(first_step(16, false, false, [1, 1], false), "conv");
    assert_eq!(first_step(50, false, false, [1, 1], false), "pool", "more channels");
    assert_eq!(first_step(16, true, false, [1, 1], false), "pool", "a maximum is not linear");
    assert_eq!(first_step(16, false, true, [1, 1], false), "pool", "zeros of the padding count");
    assert_eq!(first_step(16, false, false, [2, 2], false), "pool", "a mean at every second pixel leaves fewer pixels");
    assert_eq!(first_step(16, false, false, [1, 1], true), "pool", "somebody else reads the mean");
}

/// Every kind of step, on images so small that Miri runs it.
fn every_kind_of_step() -> Graph {
    let mut net = Builder::new("small");
    let relu6 = || Operator::ReLU { max_value: Some(6.0), negative_slope: 0.0 };
    let x = net.input([8, 8, 3]);
    let x = net.add("stem", conv(48, [1, 1], [1, 1], Padding::Same), &[x]);
    let x = net.add("stem_norm", norm(), &[x]);
    let entry = net.add("stem_relu", relu6(), &[x]);
    // Minimal filtering of a square and of a line, the latter with a sum at its end.
    let x = net.add("square", conv(48, [3, 3], [1, 1], Padding::Same), &[entry]);
    let x = net.add("square_end", Operator::Activation { activation: Activation::HardSwish }, &[x]);
    let x = net.add("line", conv(48, [1, 7], [1, 1], Padding::Same), &[x]);
    let x = net.add("sum", Operator::Add {}, &[x, entry]);
    let x = net.add("narrow", conv(10, [1, 1], [1, 1], Padding::Valid), &[x]);
    let narrow = net.add("narrow_swish", Operator::Activation { activation: Activation::Swish }, &[x]);
    let x = net.add("depthwise", depthwise([3, 3], [1, 1], Padding::Same, 1), &[narrow]);
    let a = net.add("depthwise_relu", relu6(), &[x]);
    let b = net.add("strided", depthwise([2, 3], [1, 1], Padding::Same, 2), &[narrow]);
    let gate = net.add("gate", Operator::GlobalAveragePooling2D { keepdims: true }, &[b]);
    let b = net.add("gated", Operator::Multiply {}, &[b, gate]);
    let x = net.add("joined", Operator::Concatenate {}, &[a, b]);
    let x = net.add("padding", Operator::ZeroPadding2D { padding: [[1, 0], [0, 1]] }, &[x]);
    let window = Window { pool_size: [3, 2], strides: [2, 2], padding: Padding::Same, count_include_pad: true };
    let x = net.add("pool", Operator::MaxPooling2D(window.clone()), &[x]);
    let grouped = Operator::Conv2D {
        filters: 10,
        kernel_size: [2, 2],
        strides: [2, 1],
        padding: Padding::Same,
        dilation_rate: [1, 1],
        groups: 2,
        use_bias: true,
        activation: Activation::Sigmoid,
    };
    let x = net.add("grouped", grouped, &[x]);
    let x = net.add("mean", Operator::AveragePooling2D(window), &[x]);
    let x = net.add("flat", Operator::Flatten {}, &[x]);
    net.add("dense", Operator::Dense { units: 3, use_bias: true, activation: Activation::Softmax }, &[x]);
    net.finish().expect("a graph")
}

/// A value that is large enough to be made in strips.
fn strips() -> Graph {
    let mut net = Builder::new("strips");
    let x = net.input([40, 32, 1]);
    let x = net.add("expand", conv(20, [1, 1], [1, 1], Padding::Valid), &[x]);
    let x = net.add("depthwise", depthwise([3, 3], [2, 2], Padding::Same, 1), &[x]);
    net.add("project", conv(3, [1, 1], [1, 1], Padding::Valid), &[x]);
    net.finish().expect("a graph")
}

/// A whole network, on images so small that Miri runs it in minutes (`cargo xtask prove memory`).
#[test]
fn a_small_network_keeps_to_its_memory() {
    let mut net = Builder::new("small");
    let x = net.input([4, 4, 2]);
    let x = net.add("stem", conv(3, [3, 3], [2, 2], Padding::Same), &[x]);
    let x = net.add("norm", norm(), &[x]);
    let x = net.add("relu", Operator::ReLU { max_value: Some(6.0), negative_slope: 0.0 }, &[x]);
    let x = net.add("depthwise", depthwise([3, 3], [1, 1], Padding::Same, 1), &[x]);
    let x = net.add("pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
    net.add("dense", Operator::Dense { units: 2, use_bias: true, activation: Activation::Softmax }, &[x]);
    let graph = net.finish().expect("a graph");
    let last = graph.len() - 1;
    let case = Case::new(graph, 1, 3);
    for (arithmetic, tolerance) in [
        (Arithmetic::F32(Isa::Portable), 1e-5),
        (Arithmetic::Bf16(Unit::EmulatedTiles), 4e-3),
        (Arithmetic::Bf16(Unit::EmulatedDots), 4e-3),
    ] {
        let outputs = Inference(arithmetic).infer(&case, &[last]).expect("it compiles");
        assert!((outputs[0].iter().sum::<f32>() - 1.0).abs() < tolerance, "{arithmetic:?}: {outputs:?}");
    }
}

/// Miri can run this test too, in much longer, and sees each address; here values are compared too.
#[test]
fn every_kind_of_step_keeps_to_its_memory() {
    // One image in two threads, each of which takes some rows; and an image for each thread.
    for (graph, batch) in [(every_kind_of_step(), 1), (strips(), 2)] {
        let last = graph.len() - 1;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
        let case = Case::new(graph, batch, 3);
        for arithmetic in [Arithmetic::F32(Isa::Portable), Arithmetic::Bf16(Unit::EmulatedTiles)] {
            let outputs = pool.install(|| Inference(arithmetic).infer(&case, &[last])).expect("it compiles");
            assert!(outputs[0].iter().all(|value| value.is_finite()));
        }
        if !cfg!(miri) {
            for executor in executors() {
                let check = conformance::check_values(&executor, &case, &[last], 2e-5);
                check.unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }
}

/// A kept feature is read again by other runs of this revision, so these bits change together with the revision.
#[test]
fn the_bits_of_a_prefix_are_those_of_this_revision() {
    let graph = every_kind_of_step();
    let case = Case::new(graph, 3, 5);
    let gated = case.graph.position("gated").expect("a layer");
    let hash = |arithmetic: Arithmetic| {
        let outputs = Inference(arithmetic).infer(&case, &[gated]).expect("it compiles");
        let step = |hash: u64, bits: u32| (hash ^ u64::from(bits)).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
        bits(&outputs).concat().into_iter().fold(1, step)
    };
    assert_eq!(injerto_kernels::REVISION, "kernels 4", "raise it, then write down the bits of the new revision");
    for isa in Isa::available() {
        // All instructions that multiply and add in one rounding put out the same.
        let fused = isa != Isa::Portable || cfg!(target_arch = "aarch64");
        let expected = if fused { FUSED } else { UNFUSED };
        assert_eq!(
            hash(Arithmetic::F32(isa)),
            expected,
            "{isa:?} puts out other bits: raise `injerto_kernels::REVISION`"
        );
    }
}

/// A unit and its emulation put out the same, so that what one machine keeps another one may read.
#[test]
fn the_bits_of_a_prefix_in_bf16_are_those_of_its_unit() {
    let case = Case::new(every_kind_of_step(), 3, 5);
    let gated = case.graph.position("gated").expect("a layer");
    let found = |unit: Unit| bits(&Inference(Arithmetic::Bf16(unit)).infer(&case, &[gated]).expect("it compiles"));
    for (unit, emulated) in [(Unit::Amx, Unit::EmulatedTiles), (Unit::Avx512Bf16, Unit::EmulatedDots)] {
        if Unit::available().contains(&unit) {
            assert_eq!(found(unit), found(emulated), "{unit:?}");
        }
    }
}

/// What [`the_bits_of_a_prefix_are_those_of_this_revision`] finds.
const FUSED: u64 = 6_306_592_562_259_343_078;
const UNFUSED: u64 = 8_818_724_936_631_843_013;

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
    // Also what crosses at layer 100, where a block's sum and its expansion are both wanted.
    // Of bf16 it would tell nothing: with random weights, what 53 layers round grows a thousandfold.
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
