//! Convolutions with windows of any size: by themselves, in strips, and by minimal filtering.

use injerto_graph::{Activation, Builder, Operator, Padding, Window};
use injerto_kernels::inference::{Input, Isa};
use injerto_reference::conformance::Format;
use injerto_reference::networks;
use injerto_reference::strategy::padding;
use proptest::prelude::*;

use super::{check, check_within, compile, conv, depthwise, norm};

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

    /// Some have enough channels for minimal filtering, and some of these have an odd length.
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
        // Four layers round one after the other, and a difference in one can make the next one round the other way.
        let tolerance = |format| if format == Format::F32 { 2e-5 } else { 1e-4 };
        check_within(tolerance, &graph, &[graph.len() - 1], seed);
    }

    /// Values this large are computed in strips.
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

/// A mean of few channels costs less than one of many. The activation is not linear, so it stays after both.
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
    assert_eq!(first_step(16, false, false, [1, 1], true), "pool", "another layer reads the mean");
}
