//! Hostile networks: each network that a graph allows is compiled and runs, or is refused with an error. Nothing panics, and no access lies
//! outside of the allocated memory (AddressSanitizer finds such an access if the tests are built with it).

use std::borrow::Cow;

use injerto_graph::{Activation, Builder, Graph, LayerId, Operator, Padding, PerChannel, Window};
use injerto_kernels::inference::Arithmetic;
use injerto_kernels::{inference, training};
use proptest::collection::vec;
use proptest::prelude::*;

use injerto_reference::networks::Random;

/// The numbers in the options of layers. Most of them are small, so that many networks are valid.
const NUMBERS: [usize; 16] = [1, 2, 3, 1, 2, 3, 4, 5, 7, 16, 33, 0, 1 << 10, (1 << 20) - 3, 1 << 20, usize::MAX / 2];

const ACTIVATIONS: [Activation; 4] = [Activation::Linear, Activation::Relu6, Activation::Swish, Activation::Softmax];

/// A layer from a few bytes; its numbers may be anything.
fn operator([class, a, b, c, d, e, f, g]: [u8; 8]) -> Operator {
    let number = |at: u8| NUMBERS[usize::from(at) % NUMBERS.len()];
    let small = |at: u8| NUMBERS[usize::from(at) % 9];
    let padding = match f % 4 {
        0 => Padding::Valid,
        1 | 2 => Padding::Same,
        _ => Padding::Explicit([[small(g), number(f / 4)], [number(g / 16), small(f)]]),
    };
    let window = Window {
        pool_size: [number(a), number(b)],
        strides: [number(c), small(d)],
        padding,
        count_include_pad: g % 2 == 0,
    };
    let activation = ACTIVATIONS[usize::from(g) % ACTIVATIONS.len()];
    match class % 18 {
        0..=2 => Operator::Conv2D {
            filters: number(a),
            kernel_size: [number(b), small(c)],
            strides: [small(d), number(d / 16)],
            padding,
            dilation_rate: [number(e), number(e / 16)],
            groups: 1 + usize::from(g) % 3,
            use_bias: g % 2 == 0,
            activation,
        },
        3 | 4 => Operator::DepthwiseConv2D {
            kernel_size: [small(a), number(b)],
            strides: [number(c), small(d)],
            padding,
            dilation_rate: [number(e), number(e / 16)],
            depth_multiplier: small(g),
            use_bias: g % 2 == 0,
            activation,
        },
        5 => Operator::MaxPooling2D(window),
        6 => Operator::AveragePooling2D(window),
        7 => Operator::ZeroPadding2D { padding: [[small(a), number(b)], [number(c), small(d)]] },
        8 => Operator::Concatenate {},
        9 => Operator::Add {},
        10 => Operator::Multiply {},
        11 => Operator::Dense { units: number(a), use_bias: b % 2 == 0, activation },
        12 => Operator::BatchNormalization {
            epsilon: f64::from(a) / 10.0,
            momentum: 0.9,
            center: b % 2 == 0,
            scale: c % 2 == 0,
        },
        13 => Operator::ReLU {
            max_value: [None, Some(6.0), Some(0.0), Some(-1.0)][usize::from(a) % 4],
            negative_slope: 0.0,
        },
        14 => Operator::Rescaling { scale: PerChannel::One(f64::from(a)), offset: PerChannel::One(-1.0) },
        15 => Operator::GlobalMaxPooling2D { keepdims: a % 2 == 0 },
        16 => Operator::GlobalAveragePooling2D { keepdims: a % 2 == 0 },
        _ => Operator::Dropout { rate: f64::from(a % 8) / 4.0, per_sample: b % 2 == 0 },
    }
}

/// The network that some bytes describe, if it is valid.
fn network(input: [u8; 3], layers: &[([u8; 8], [u8; 2])]) -> Option<Graph> {
    let number = |at: u8| NUMBERS[usize::from(at) % 12].max(1);
    let mut net = Builder::new("net");
    let mut made: Vec<LayerId> = vec![net.input(input.map(number))];
    let mut read = vec![false];
    for (at, (bytes, from)) in layers.iter().enumerate() {
        let operator = operator(*bytes);
        let two = matches!(operator, Operator::Concatenate {} | Operator::Add {} | Operator::Multiply {});
        let recent = |byte: u8| made.len() - 1 - usize::from(byte) % made.len().min(3);
        let inputs: Vec<usize> = from[..if two { 2 } else { 1 }].iter().map(|&byte| recent(byte)).collect();
        inputs.iter().for_each(|&input| read[input] = true);
        let ids: Vec<LayerId> = inputs.iter().map(|&input| made[input]).collect();
        made.push(net.add(at.to_string(), operator, &ids));
        read.push(false);
    }
    // Outputs that no layer reads are pooled and concatenated.
    let loose: Vec<LayerId> = (0..made.len()).filter(|&at| !read[at]).map(|at| made[at]).collect();
    let pool = |(at, &id): (usize, &LayerId)| {
        net.add(format!("end_{at}"), Operator::GlobalMaxPooling2D { keepdims: false }, &[id])
    };
    let ends: Vec<LayerId> = loose.iter().enumerate().map(pool).collect();
    if ends.len() > 1 {
        net.add("ends", Operator::Concatenate {}, &ends);
    }
    net.finish().ok()
}

/// Compiles a network for inference and for training, and runs it if that takes little memory and time.
fn use_it(graph: &Graph) {
    let values: usize = graph.nodes().iter().map(|node| node.shape.count()).sum();
    if graph.parameter_count() > 1 << 20 || values > 1 << 24 {
        return;
    }
    let mut random = Random::new(7);
    let mut draw = |parameter: &injerto_graph::Parameter| random.values(parameter.count(), -1.0, 1.0);
    let parameters: Vec<Vec<Vec<f32>>> =
        graph.nodes().iter().map(|node| node.parameters.iter().map(&mut draw).collect()).collect();
    let given = |layer: usize, place: usize| Cow::Borrowed(parameters[layer][place].as_slice());
    let all: Vec<usize> = (0..graph.len()).collect();
    let outputs = [graph.len() - 1, graph.len() / 2];
    let little = values <= 1 << 16 && graph.multiply_adds() <= 1 << 24;
    let pixels = vec![0.5; if little { 2 * graph.input_shape().count() } else { 0 }];
    for isa in inference::Isa::available() {
        let program = inference::Program::compile_with(
            Arithmetic::F32(isa),
            graph,
            &all,
            &outputs,
            &given,
            &inference::Input::default(),
        );
        let Ok(program) = program else { continue };
        if little && program.bytes_per_image() < 1 << 24 {
            assert_eq!(program.run(&pixels, 2).expect("a little memory").len(), 2);
        }
    }
    let program = training::Program::compile(graph, &all[1..], &[0], &|_| true, &[]);
    let mut program = program.expect("all layers are given");
    if little {
        for (layer, own) in parameters.iter().enumerate() {
            for (place, values) in own.iter().enumerate() {
                program.set((layer, place), values).expect("as long as the parameter");
            }
        }
        let output = program.forward_train(&[&pixels], 2, &mut || 1 << 31).expect("a little memory").to_vec();
        program.backward(&output);
    }
}

proptest! {
    // The variable PROPTEST_CASES sets a larger number.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2_000), ..ProptestConfig::default() })]

    #[test]
    fn what_a_graph_allows_is_compiled_and_runs(
        input in any::<[u8; 3]>(),
        layers in vec((any::<[u8; 8]>(), any::<[u8; 2]>()), 1..6),
    ) {
        if let Some(graph) = network(input, &layers) {
            use_it(&graph);
        }
    }
}

fn far(kernel_size: [usize; 2], dilation_rate: [usize; 2]) -> Operator {
    Operator::Conv2D {
        filters: 1,
        kernel_size,
        strides: [1, 1],
        padding: Padding::Same,
        dilation_rate,
        groups: 1,
        use_bias: false,
        activation: Activation::Linear,
    }
}

#[test]
fn zeros_that_two_layers_want_around_one_value_are_counted_together() {
    let mut net = Builder::new("net");
    let input = net.input([4, 4, 1]);
    // One layer needs a million zeros above and below, the other on the left and right: together, the halo has a million times a million zeros.
    let tall = net.add("tall", far([2, 1], [1 << 20, 1]), &[input]);
    let broad = net.add("broad", far([1, 2], [1, 1 << 20]), &[input]);
    net.add("sum", Operator::Add {}, &[tall, broad]);
    let graph = net.finish().expect("each is small");
    let given = |_, _| Cow::Owned(vec![1.0, 2.0]);
    let compiled = inference::Program::compile(&graph, &[0, 1, 2, 3], &[3], &given, &inference::Input::default());
    assert_eq!(compiled.expect_err("too large"), inference::Error::Size { layer: "input_layer".to_owned() });
}

#[test]
fn a_layer_as_wide_as_any() {
    let mut net = Builder::new("net");
    let input = net.input([1, 1, 1]);
    net.add("wide", Operator::Dense { units: 1 << 20, use_bias: false, activation: Activation::Linear }, &[input]);
    let graph = net.finish().expect("it is wide and no more");
    let kernel = Random::new(1).values(1 << 20, -1.0, 1.0);
    for isa in inference::Isa::available() {
        let given = |_, _| Cow::Borrowed(kernel.as_slice());
        let input = inference::Input::default();
        let program = inference::Program::compile_with(Arithmetic::F32(isa), &graph, &[0, 1], &[1], &given, &input)
            .expect("compiles");
        assert_eq!(program.run(&[1.0], 1).expect("runs"), std::slice::from_ref(&kernel));
    }
}
