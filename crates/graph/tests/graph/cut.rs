//! The cheapest place for the cut.

use injerto_graph::layers::{Conv2D, DepthwiseConv2D};
use injerto_graph::{
    Activation, Builder, Cut, CutOptions, FreezePlan, Graph, LayerId, LayerRef, Operator, Selection, Split,
};
use injerto_reference::strategy::{graphs, selection};
use proptest::prelude::*;

use crate::properties::check_split;

fn pointwise(filters: usize) -> Conv2D {
    Conv2D::new(filters, 1).same().use_bias(false)
}

/// Blocks like those of MobileNetV2 at 10×10: an expansion, a depthwise convolution, a projection, and a residual connection.
fn inverted_residuals() -> Graph {
    let mut net = Builder::new("blocks");
    let depthwise = || DepthwiseConv2D::new(3).same().use_bias(false);
    let input = net.input([10, 10, 3]);
    let mut x: LayerId = net.add("stem", pointwise(96), &[input]);
    for block in 1..=2 {
        let expanded = net.add(format!("block_{block}_expand"), pointwise(576), &[x]);
        let relu = net.add(
            format!("block_{block}_relu"),
            Operator::ReLU { max_value: Some(6.0), negative_slope: 0.0 },
            &[expanded],
        );
        let filtered = net.add(format!("block_{block}_depthwise"), depthwise(), &[relu]);
        let projected = net.add(format!("block_{block}_project"), pointwise(96), &[filtered]);
        x = net.add(format!("block_{block}_add"), Operator::Add {}, &[x, projected]);
    }
    net.finish().expect("holds together")
}

fn from(graph: &Graph, layer: &str) -> FreezePlan {
    let wish = Selection::FromLayer(LayerRef::Name(layer.to_owned()));
    FreezePlan::new(graph, &wish).expect("a layer")
}

fn names<'a>(graph: &'a Graph, layers: &[usize]) -> Vec<&'a str> {
    layers.iter().map(|&at| graph.nodes()[at].name()).collect()
}

#[test]
fn a_wide_block_is_computed_again() {
    let graph = inverted_residuals();
    let plan = from(&graph, "block_2_depthwise");
    let latest = Split::new(&graph, &plan);
    assert_eq!(names(&graph, &latest.boundary), ["block_1_add", "block_2_relu"]);
    let cut = Cut::new(&graph, &plan, CutOptions::default());
    assert_eq!(names(&graph, &cut.split.boundary), ["block_1_add"]);
    assert_eq!(names(&graph, &cut.recomputed), ["block_2_expand", "block_2_relu"]);
    assert_eq!((cut.bytes, cut.latest_bytes), (38_400, 268_800));
    assert_eq!(cut.multiply_adds, 100 * 576 * 96 + 100 * 576);
    assert_eq!(cut.split, Split::planned(&graph, &plan, CutOptions::default()));
    assert_eq!(cut.before.as_deref(), Some("block_2_expand"));
}

#[test]
fn the_weight_decides() {
    let graph = inverted_residuals();
    let plan = from(&graph, "block_2_depthwise");
    let boundary = |bytes_per_value, multiply_adds_per_byte| {
        let cut = Cut::new(&graph, &plan, CutOptions { bytes_per_value, multiply_adds_per_byte });
        names(&graph, &cut.split.boundary).join(" ")
    };
    // 230,400 bytes against 5,587,200 multiply-adds are 24.25 multiply-adds per byte, or twice as many for half precision.
    assert_eq!(boundary(4, 24.0), "block_1_add block_2_relu");
    assert_eq!(boundary(4, 24.5), "block_1_add");
    assert_eq!(boundary(2, 48.0), "block_1_add block_2_relu");
    assert_eq!(boundary(2, 49.0), "block_1_add");
    assert_eq!(boundary(4, 0.0), "block_1_add block_2_relu");
    // If only bytes count, the image itself is the smallest boundary.
    assert_eq!(boundary(4, 1e9), "input_layer");
}

#[test]
fn a_frozen_layer_draws_no_random_numbers() {
    // As in EfficientNet, each block ends with stochastic depth, and the head begins with dropout.
    let mut net = Builder::new("net");
    let input = net.input([8, 8, 3]);
    let stem = net.add("stem", pointwise(16), &[input]);
    let x = net.add("block_conv", pointwise(16), &[stem]);
    let x = net.add("block_drop", Operator::Dropout { rate: 0.2, per_sample: true }, &[x]);
    let x = net.add("block_add", Operator::Add {}, &[x, stem]);
    let x = net.add("pool", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
    let x = net.add("head_dropout", Operator::Dropout { rate: 0.5, per_sample: false }, &[x]);
    net.add("head", Operator::Dense { units: 2, use_bias: true, activation: Activation::Softmax }, &[x]);
    let graph = net.finish().expect("holds together");
    let boundary = |selection: Selection| {
        let backbone = graph.truncate(5).expect("a layer");
        let plan = FreezePlan::new(&backbone, &selection).expect("fits").extended(2);
        names(&graph, &Split::new(&graph, &plan).boundary).join(" ")
    };
    let pattern = |pattern: &str| Selection::Patterns(vec![pattern.to_owned()]);
    assert_eq!(boundary(Selection::None), "pool");
    assert_eq!(boundary(pattern("block_drop")), "stem block_conv");
    assert_eq!(boundary(pattern("block_conv")), "stem");
    assert_eq!(boundary(pattern("block_add")), "pool");
    assert_eq!(boundary(Selection::All), "input_layer");
}

/// The first layer of the tail, the bytes per image, and whether no layer is computed again.
fn summarised(cut: &Cut) -> (Option<&str>, u64, bool) {
    (cut.before.as_deref(), cut.bytes, cut.recomputed.is_empty())
}

#[test]
fn the_latest_cut_is_chosen_unless_another_is_cheaper() {
    let graph = inverted_residuals();
    let at_block = Cut::new(&graph, &from(&graph, "block_2_expand"), CutOptions::default());
    assert_eq!(summarised(&at_block), (Some("block_2_expand"), 38_400, true));
    let none = Cut::new(&graph, &FreezePlan::new(&graph, &Selection::None).expect("a plan"), CutOptions::default());
    assert_eq!(summarised(&none), (None, 38_400, true));
    assert_eq!(none.split.boundary, [graph.len() - 1]);
    let all = Cut::new(&graph, &FreezePlan::new(&graph, &Selection::All).expect("a plan"), CutOptions::default());
    assert_eq!(summarised(&all), (Some("stem"), 1_200, true));
}

/// Cost of a split in multiply-adds, as [`Cut`] states it.
fn cost(graph: &Graph, split: &Split, latest: &Split, options: CutOptions) -> f64 {
    let again = latest.prefix.iter().filter(|at| split.tail.contains(at));
    let work: u64 = again.map(|&at| graph.nodes()[at].multiply_adds()).sum();
    let bytes = split.boundary_values(graph) * options.bytes_per_value;
    bytes as f64 * options.multiply_adds_per_byte + work as f64
}

/// All splits whose prefix is contained in that of the latest split, found by trying all sets of layers.
fn every_split(graph: &Graph, latest: &Split) -> Vec<Split> {
    let free = &latest.prefix[1..];
    let mut all = Vec::new();
    for bits in 0_u32..1 << free.len() {
        let chosen = |at: usize| at == 0 || free.iter().position(|&f| f == at).is_some_and(|p| bits >> p & 1 == 1);
        let prefix: Vec<usize> = (0..graph.len()).filter(|&at| chosen(at)).collect();
        if prefix.iter().all(|&at| graph.nodes()[at].inputs.iter().all(|&input| chosen(input))) {
            let tail: Vec<usize> = (0..graph.len()).filter(|&at| !chosen(at)).collect();
            let read = |at: &usize| tail.iter().any(|&reader| graph.nodes()[reader].inputs.contains(at));
            let boundary = prefix.iter().copied().filter(read).collect();
            all.push(Split { prefix, tail, boundary });
        }
    }
    all
}

proptest! {
    #[test]
    fn no_cut_is_cheaper(graph in graphs(9), wish in any::<[u8; 3]>(), weight in 0_u8..40) {
        let plan = FreezePlan::new(&graph, &selection(&graph, wish)).expect("made from the graph");
        let options = CutOptions { multiply_adds_per_byte: f64::from(weight) / 8.0, ..CutOptions::default() };
        let (latest, cut) = (Split::new(&graph, &plan), Cut::new(&graph, &plan, options));
        check_split(&graph, &plan, &cut.split)?;
        prop_assert_eq!(cut.latest_bytes, 4 * latest.boundary_values(&graph) as u64);
        if latest.tail.is_empty() {
            prop_assert_eq!(cut.split, latest);
            return Ok(());
        }
        prop_assume!(latest.prefix.len() <= 13);
        let found = cost(&graph, &cut.split, &latest, options);
        for other in every_split(&graph, &latest) {
            let other_cost = cost(&graph, &other, &latest, options);
            prop_assert!(found <= other_cost, "{found} is more than {other_cost} of {other:?}");
            // Of splits with equal cost, the latest is chosen.
            prop_assert!(found < other_cost || other.prefix.len() <= cut.split.prefix.len(), "{other:?} is later");
        }
    }
}
