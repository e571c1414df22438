//! A network with every kind of step accesses only its own memory, and its results have the bits of the revision.

use std::borrow::Cow;

use injerto_graph::{Activation, Builder, Graph, Operator, Padding, Window};
use injerto_kernels::inference::{Arithmetic, Isa, Program, Unit};
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
    // Both are computed by minimal filtering; the line has a sum in its epilogue.
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

/// A network with a value that is large enough for strips.
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

/// Miri can run this test too, which takes much longer, and checks each access; without Miri, values are compared too.
#[test]
fn every_kind_of_step_keeps_to_its_memory() {
    // One image is divided over two threads, each of which computes some rows; of two images, each thread computes one.
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

/// Other runs of the same revision read kept features again, so if these bits change, the revision must change too.
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
        // All instruction sets that multiply and add with one rounding give the same bits.
        let fused = isa != Isa::Portable || cfg!(target_arch = "aarch64");
        let expected = if fused { FUSED } else { UNFUSED };
        assert_eq!(
            hash(Arithmetic::F32(isa)),
            expected,
            "the results of {isa:?} have other bits: raise `injerto_kernels::REVISION`"
        );
    }
}

/// The tail takes the output of one layer, of which it has two readers, and puts out what the whole network does.
#[test]
fn a_tail_goes_on_where_a_prefix_ends() {
    let case = Case::new(every_kind_of_step(), 3, 6);
    let (cut, last) = (case.graph.position("narrow_swish").expect("a layer"), case.graph.len() - 1);
    let tail: Vec<usize> = (cut + 1..=last).collect();
    let parameters = |layer: usize, place: usize| Cow::Borrowed(case.parameters[layer][place].as_slice());
    for isa in Isa::available() {
        let arithmetic = Arithmetic::F32(isa);
        let both = Inference(arithmetic).infer(&case, &[cut, last]).expect("it compiles");
        let program = Program::compile_after(arithmetic, &case.graph, cut, &tail, &[last], &parameters);
        let found = program.expect("it compiles").run(&both[0], case.batch).expect("there is memory");
        for (found, expected) in found[0].iter().zip(&both[1]) {
            assert!((found - expected).abs() < 1e-5, "{isa:?}: {found} for {expected}");
        }
    }
    let early = case.graph.position("sum").expect("a layer");
    let error = Program::compile_after(Arithmetic::f32(), &case.graph, cut, &tail, &[early], &parameters);
    assert!(error.is_err(), "a layer before the cut is no part of the tail");
}

/// A unit and its emulation give the same bits, so one machine may read the features that another one has kept.
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

/// Hashes of the bits that [`the_bits_of_a_prefix_are_those_of_this_revision`] computes, with and without a fused multiply-add.
const FUSED: u64 = 6_306_592_562_259_343_078;
const UNFUSED: u64 = 8_818_724_936_631_843_013;
