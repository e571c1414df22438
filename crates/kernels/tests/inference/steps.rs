//! A network with every kind of step: it keeps to its memory, and its bits are those of the revision.

use injerto_graph::{Activation, Builder, Graph, Operator, Padding, Window};
use injerto_kernels::inference::{Arithmetic, Isa, Unit};
use injerto_reference::conformance::{self, Case, Executor as _};

use super::{Inference, bits, conv, depthwise, executors, norm};

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
