//! Compiled programs against what layers compute by the book, for all vectors that this machine has.

mod hostile;
mod networks;
mod reference;

use std::borrow::Cow;

use injerto_graph::{Activation, Builder, Graph, LayerId, Operator, Padding, PerChannel, Preprocessing, Window};
use injerto_kernels::inference::{Error, Input, Isa, Program};
use networks::Random;
use proptest::prelude::*;

const BATCH: usize = 5;

/// Compiles all layers.
fn compile(isa: Isa, graph: &Graph, outputs: &[usize], parameters: &[Vec<Vec<f32>>], input: &Input) -> Program {
    let layers: Vec<usize> = (0..graph.len()).collect();
    let parameters = |layer: usize, place: usize| Cow::Borrowed(parameters[layer][place].as_slice());
    Program::compile_for(isa, graph, &layers, outputs, &parameters, input).unwrap()
}

/// Every output of every image is the reference's within `tolerance` (of the largest value), and the same bits in every
/// batch and with every number of threads.
fn check_within(tolerance: f64, graph: &Graph, outputs: &[usize], seed: u64) {
    let parameters = networks::parameters(graph, seed);
    let size = graph.input_shape().count();
    let pixels = Random::new(seed + 1).values(BATCH * size, -1.0, 1.0);
    let expected: Vec<Vec<reference::Tensor>> = pixels
        .chunks_exact(size)
        .map(|image| reference::evaluate(graph, &parameters, &image.iter().map(|&x| f64::from(x)).collect::<Vec<_>>()))
        .collect();
    for isa in Isa::available() {
        let program = compile(isa, graph, outputs, &parameters, &Input::default());
        let whole = in_threads(1, || program.run(&pixels, BATCH).unwrap());
        for (place, &output) in outputs.iter().enumerate() {
            let size = program.output_sizes()[place];
            for (image, expected) in expected.iter().enumerate() {
                let expected = &expected[output].values;
                let largest = expected.iter().fold(1.0_f64, |largest, x| largest.max(x.abs()));
                let found = &whole[place][image * size..(image + 1) * size];
                assert_eq!(found.len(), expected.len());
                for (i, (&found, expected)) in found.iter().zip(expected).enumerate() {
                    let off = (f64::from(found) - expected).abs();
                    assert!(
                        off <= tolerance * largest,
                        "{isa:?}, image {image}, layer {} '{}', value {i}: {found}, expected {expected}",
                        output,
                        graph.nodes()[output].name(),
                    );
                }
            }
        }
        for threads in [1, 2, 7] {
            in_threads(threads, || {
                assert_eq!(bits(&program.run(&pixels, BATCH).unwrap()), bits(&whole), "{isa:?} in {threads} threads");
                for image in 0..BATCH {
                    let alone = program.run(&pixels[image * size..(image + 1) * size], 1).unwrap();
                    for (alone, (whole, size)) in alone.iter().zip(whole.iter().zip(program.output_sizes())) {
                        let whole = &whole[image * size..(image + 1) * size];
                        assert!(
                            alone.iter().zip(whole).all(|(a, b)| a.to_bits() == b.to_bits()),
                            "{isa:?}: image {image} alone, {threads} threads"
                        );
                    }
                }
            });
        }
    }
}

fn check(graph: &Graph, outputs: &[usize], seed: u64) {
    check_within(2e-5, graph, outputs, seed);
}

fn bits(outputs: &[Vec<f32>]) -> Vec<Vec<u32>> {
    outputs.iter().map(|output| output.iter().map(|x| x.to_bits()).collect()).collect()
}

fn in_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

const ACTIVATIONS: [Activation; 8] = [
    Activation::Linear,
    Activation::Relu,
    Activation::Relu6,
    Activation::Swish,
    Activation::HardSwish,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Softmax,
];

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

fn padding() -> impl Strategy<Value = Padding> + Clone {
    prop_oneof![
        Just(Padding::Valid),
        Just(Padding::Same),
        [[0_usize..3, 0..3], [0..3, 0..3]].prop_map(Padding::Explicit),
    ]
}

/// Grows a graph layer by layer: each choice takes a layer seen before and adds what fits it.
fn grow(shape: [usize; 3], choices: &[Choice]) -> Graph {
    let mut layers: Vec<(Operator, Vec<usize>)> = vec![(Operator::InputLayer { shape: shape.to_vec() }, Vec::new())];
    let build = |layers: &[(Operator, Vec<usize>)], close: bool| {
        let mut net = Builder::new("grown");
        let mut ids: Vec<LayerId> = Vec::new();
        let mut used = vec![false; layers.len()];
        for (at, (operator, inputs)) in layers.iter().enumerate() {
            inputs.iter().for_each(|&input| used[input] = true);
            let inputs: Vec<LayerId> = inputs.iter().map(|&input| ids[input]).collect();
            ids.push(net.add(format!("layer_{at}"), operator.clone(), &inputs));
        }
        // What nobody reads is flattened and joined at the end.
        let loose: Vec<LayerId> = ids.iter().zip(&used).filter(|(_, used)| !**used).map(|(&id, _)| id).collect();
        if close && loose.len() > 1 {
            let flat: Vec<LayerId> = loose
                .iter()
                .enumerate()
                .map(|(i, &id)| net.add(format!("flat_{i}"), Operator::Flatten {}, &[id]))
                .collect();
            net.add("joined", Operator::Concatenate {}, &flat);
        }
        net.finish()
    };
    for choice in choices {
        let from = choice.from % layers.len();
        let at = |index: usize| choice.others[index] % layers.len();
        let more: Vec<usize> = match choice.operator {
            Operator::Add {} | Operator::Concatenate {} | Operator::Multiply {} => vec![from, at(0)],
            _ => vec![from],
        };
        layers.push((choice.operator.clone(), more));
        // A layer that does not fit its input (or an unused one, which is closed at the end) is left out.
        if build(&layers, true).is_err() {
            layers.pop();
        }
    }
    build(&layers, true).unwrap()
}

#[derive(Debug, Clone)]
struct Choice {
    operator: Operator,
    from: usize,
    others: [usize; 1],
}

fn operator() -> impl Strategy<Value = Operator> {
    let side = 1_usize..4;
    let sizes = ([side.clone(), side.clone()], [1_usize..3, 1..3], padding(), [1_usize..3, 1..3]);
    let activation = || proptest::sample::select(ACTIVATIONS.to_vec());
    let convolution = (sizes.clone(), 1_usize..70, 1_usize..4, any::<bool>(), activation()).prop_map(
        |((kernel_size, strides, padding, dilation_rate), filters, groups, use_bias, activation)| Operator::Conv2D {
            filters: filters * groups,
            kernel_size,
            strides,
            padding,
            dilation_rate,
            groups,
            use_bias,
            activation,
        },
    );
    let depthwise = (sizes.clone(), 1_usize..3, any::<bool>(), activation()).prop_map(
        |((kernel_size, strides, padding, dilation_rate), depth_multiplier, use_bias, activation)| {
            Operator::DepthwiseConv2D {
                kernel_size,
                strides,
                padding,
                dilation_rate,
                depth_multiplier,
                use_bias,
                activation,
            }
        },
    );
    let window = ([side.clone(), side], [1_usize..3, 1..3], any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(pool_size, strides, same, count_include_pad, largest)| {
            let padding = if same { Padding::Same } else { Padding::Valid };
            let window = Window { pool_size, strides, padding, count_include_pad };
            if largest { Operator::MaxPooling2D(window) } else { Operator::AveragePooling2D(window) }
        },
    );
    prop_oneof![
        4 => convolution,
        3 => depthwise,
        3 => (any::<bool>(), any::<bool>())
            .prop_map(|(center, scale)| Operator::BatchNormalization { epsilon: 1e-3, momentum: 0.9, center, scale }),
        2 => proptest::option::of(0.5_f64..6.0).prop_map(|max_value| Operator::ReLU { max_value }),
        2 => activation().prop_map(|activation| Operator::Activation { activation }),
        2 => window,
        2 => [[0_usize..3, 0..3], [0..3, 0..3]].prop_map(|padding| Operator::ZeroPadding2D { padding }),
        2 => Just(Operator::Add {}),
        2 => Just(Operator::Concatenate {}),
        2 => Just(Operator::Multiply {}),
        1 => (1_usize..40, any::<bool>(), activation())
            .prop_map(|(units, use_bias, activation)| Operator::Dense { units, use_bias, activation }),
        1 => any::<bool>().prop_map(|keepdims| Operator::GlobalAveragePooling2D { keepdims }),
        1 => any::<bool>().prop_map(|keepdims| Operator::GlobalMaxPooling2D { keepdims }),
        1 => Just(Operator::Softmax {}),
        1 => Just(Operator::Flatten {}),
        1 => Just(Operator::Normalization {}),
        1 => Just(Operator::Dropout { rate: 0.3, per_sample: false }),
        1 => (-2.0_f64..2.0).prop_map(|x| Operator::Rescaling { scale: PerChannel::One(x), offset: PerChannel::One(0.5) }),
    ]
}

fn choice() -> impl Strategy<Value = Choice> {
    // Mostly the newest layer, so that chains grow long enough to be fused.
    let from = prop_oneof![3 => Just(usize::MAX), 1 => any::<usize>()];
    (operator(), from, any::<usize>()).prop_map(|(operator, from, other)| Choice { operator, from, others: [other] })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn random_graphs_compute_what_their_layers_do(
        shape in [1_usize..10, 1..10, 1..40],
        choices in proptest::collection::vec(choice(), 1..9),
        seed in 0_u64..1_000_000,
        also in any::<usize>(),
    ) {
        let graph = grow(shape, &choices);
        // Sums of products grow with depth; f32 with them.
        check_within(1e-4, &graph, &[graph.len() - 1, also % graph.len()], seed);
    }

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
        net.add("relu", Operator::ReLU { max_value: None }, &[x]);
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
        net.add("relu", Operator::ReLU { max_value: Some(6.0) }, &[x]);
        let graph = net.finish().unwrap();
        check(&graph, &[3], seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn square_convolutions_of_many_channels(
        shape in [7_usize..14, 7..14, 45..70],
        padding in padding(),
        filters in 45_usize..110,
        sum in any::<bool>(),
        activation in proptest::sample::select(ACTIVATIONS[..7].to_vec()),
        seed in 0_u64..1_000_000,
    ) {
        let mut net = Builder::new("square");
        let x = net.input(shape);
        let mut x = net.add("conv", conv(filters, [3, 3], [1, 1], padding), &[x]);
        if sum {
            let y = net.add("other", conv(filters, [3, 3], [1, 1], Padding::Same), &[x]);
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
        activation in proptest::sample::select(ACTIVATIONS[..7].to_vec()),
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
        check(&graph, &[graph.len() - 1], seed);
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
                x = net.add(format!("relu_{at}"), Operator::ReLU { max_value: Some(6.0) }, &[x]);
            }
        }
        let graph = net.finish().unwrap();
        let parameters = networks::parameters(&graph, seed);
        let program = compile(Isa::detect(), &graph, &[graph.len() - 1], &parameters, &Input::default());
        let steps = program.profile(&vec![0.5; graph.input_shape().count()], 1).unwrap();
        prop_assert!(steps.iter().any(|step| step.name.contains(" + ")), "{steps:?}");
        check_within(1e-4, &graph, &[graph.len() - 1], seed);
    }
}

#[test]
fn a_program_serves_many_threads_at_once() {
    let graph = networks::mobilenet_v2(32);
    let parameters = networks::parameters(&graph, 4);
    let program = compile(Isa::detect(), &graph, &[graph.len() - 1], &parameters, &Input::default());
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
    check_within(1e-4, &graph, &[graph.len() - 1, 98, 89], 7);
}

#[test]
fn inception_v3_as_a_whole() {
    let graph = networks::inception_v3(75);
    assert_eq!(graph.output_shape().0, [1, 1, 2048]);
    check_within(1e-4, &graph, &[graph.len() - 1], 3);
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
                (f64::from(pixels[from]) * preprocessing.scale - preprocessing.mean[c]) / preprocessing.deviation[c]
            })
            .collect();
        let expected = reference::evaluate(&graph, &parameters, &prepared).pop().unwrap();
        for isa in Isa::available() {
            let program = compile(isa, &graph, &[1], &parameters, &Input::from(&preprocessing));
            let found = program.run(&pixels, 1).unwrap().pop().unwrap();
            let largest = expected.values.iter().fold(1.0_f64, |largest, x| largest.max(x.abs()));
            for (found, expected) in found.iter().zip(&expected.values) {
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
    assert!(matches!(error, Error::Parameter { expected: 4, found: 3, .. }), "{error}");
    let input = Input { scale: vec![1.0; 4], shift: vec![0.0; 4], reverse_channels: false };
    let error = Program::compile(&graph, &[0, 1, 2], &[2], &given, &input).unwrap_err();
    assert_eq!(error, Error::Input { expected: 3, found: 4 });
}
