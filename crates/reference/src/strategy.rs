//! Random networks that hold together, and random wishes about which of their layers train.

use injerto_graph::layers::{
    BatchNormalization, Conv2D, Dense, DepthwiseConv2D, DotProductAttention, Dropout, GlobalAveragePooling2D,
    GlobalMaxPooling2D, GlobalResponseNormalization, GroupNormalization, LayerNormalization, PositionEmbedding,
    PrependTokens, ReLU, Rescaling, SeparableConv2D, ZeroPadding2D,
};
use injerto_graph::{Activation, Builder, Graph, LayerId, LayerRef, Operator, Padding, Resample, Selection, Window};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Networks of up to `layers` random layers or small blocks (residuals, squeeze and excitation) with branches, and whatever it
/// takes to join their loose ends; at the end a dense layer with two outputs. Values have one or three axes.
pub fn graphs(layers: usize) -> impl Strategy<Value = Graph> {
    let channels = prop_oneof![4 => 1_usize..7, 1 => select(vec![17_usize, 33, 39])];
    ([2_usize..10, 2..10], channels, vec(choice(), 1..=layers))
        .prop_map(|([height, width], channels, choices)| grow([height, width, channels], &choices))
}

/// Every form in which a user can say what trains, made from a graph's own names and length.
pub fn selection(graph: &Graph, [form, a, b]: [u8; 3]) -> Selection {
    let n = graph.len();
    let at = usize::from(a) % n;
    let name = |at: usize| graph.nodes()[at].name().to_owned();
    match form % 8 {
        0 => Selection::None,
        1 => Selection::All,
        2 => Selection::FromLayer(LayerRef::Index(at)),
        3 => Selection::FromLayer(LayerRef::Name(name(at))),
        4 => Selection::Patterns(vec![name(at), name(usize::from(b) % n)]),
        5 => Selection::Patterns(vec![format!("{}*", &name(at)[..1])]),
        6 => Selection::Last(usize::from(b) % (n + 3)),
        _ => Selection::Fraction(f64::from(a) / 255.0),
    }
}

/// Padding of a window of an image, not larger than a small window.
pub fn padding() -> impl Strategy<Value = Padding> + Clone {
    prop_oneof![
        Just(Padding::Valid),
        Just(Padding::Same),
        [[0_usize..3, 0..3], [0..3, 0..3]].prop_map(Padding::Explicit),
    ]
}

/// Layers that follow one another from a value seen before; the last may read other values too.
#[derive(Debug, Clone)]
struct Choice {
    operators: Vec<Operator>,
    /// Which value the first reads.
    from: usize,
    /// Which others the last reads, if it joins several. 0 is the value that the first reads.
    others: Vec<usize>,
}

fn choice() -> impl Strategy<Value = Choice> {
    // Mostly the newest value, so that chains grow long enough to be fused.
    let from = || prop_oneof![3 => Just(usize::MAX), 1 => any::<usize>()];
    let one = (operator(), from(), vec(any::<usize>(), 1..3)).prop_map(|(operator, from, others)| Choice {
        operators: vec![operator],
        from,
        others,
    });
    let block = (block(), from()).prop_map(|(operators, from)| Choice { operators, from, others: vec![0] });
    prop_oneof![8 => one, 1 => block]
}

/// A residual, or squeeze and excitation, whose last layer joins what went in; or the beginning of a transformer.
fn block() -> impl Strategy<Value = Vec<Operator>> {
    let scaled = |activation| Operator::Activation { activation };
    let residual = any::<bool>().prop_map(|normalised| {
        let depthwise: Operator = DepthwiseConv2D::new(3).same().use_bias(!normalised).into();
        let norm: Option<Operator> = normalised.then(|| BatchNormalization::new().epsilon(0.1).into());
        [Some(depthwise), norm, Some(Operator::Add {})].into_iter().flatten().collect()
    });
    let squeeze = any::<bool>().prop_map(move |largest| {
        let pool: Operator = match largest {
            true => GlobalMaxPooling2D::new().keepdims(true).into(),
            false => GlobalAveragePooling2D::new().keepdims(true).into(),
        };
        vec![pool, DepthwiseConv2D::new(1).into(), scaled(Activation::Sigmoid), Operator::Multiply {}]
    });
    let transformer = (1_usize..4, 1_usize..4, [1_usize..5, 1..5]).prop_map(|(heads, width, from)| {
        // As many tokens as its input has pixels: see `grow`.
        let tokens = Operator::Reshape { target_shape: vec![0, 0] };
        let positions = PositionEmbedding::new().resample(Resample { from, to: [0, 0] });
        let joint = Dense::new(3 * heads * width);
        vec![
            tokens,
            PrependTokens::new().into(),
            positions.into(),
            joint.into(),
            DotProductAttention::new(heads).into(),
        ]
    });
    prop_oneof![residual, squeeze, transformer]
}

fn operator() -> impl Strategy<Value = Operator> {
    let side = 1_usize..5;
    let sizes = ([side.clone(), side.clone()], [1_usize..4, 1..4], padding(), [1_usize..3, 1..3]);
    let activation = || prop_oneof![1 => Just(Activation::Linear), 1 => select(Activation::ALL.to_vec())];
    let filters = prop_oneof![3 => 1_usize..6, 1 => 6_usize..70];
    let convolution = (sizes.clone(), filters, 1_usize..4, any::<bool>(), activation()).prop_map(
        |((kernel, strides, padding, dilation), filters, groups, use_bias, activation)| {
            let layer = Conv2D::new(filters * groups, kernel).strides(strides).padding(padding).dilation_rate(dilation);
            layer.groups(groups).use_bias(use_bias).activation(activation).into()
        },
    );
    let pointwise =
        (1_usize..9, any::<bool>()).prop_map(|(filters, use_bias)| Conv2D::new(filters, 1).use_bias(use_bias).into());
    let depthwise = (sizes, 1_usize..3, any::<bool>(), activation()).prop_map(
        |((kernel, strides, padding, dilation), multiplier, use_bias, activation)| {
            let layer = DepthwiseConv2D::new(kernel).strides(strides).padding(padding).dilation_rate(dilation);
            layer.depth_multiplier(multiplier).use_bias(use_bias).activation(activation).into()
        },
    );
    let window = ([side.clone(), side], [1_usize..4, 1..4], 0..3_u8, any::<bool>(), any::<bool>()).prop_map(
        |(pool_size, strides, padding, count_include_pad, largest)| {
            let padding = match padding {
                0 => Padding::Valid,
                1 => Padding::Same,
                // At most half a window, so that each holds a part of the image.
                _ => Padding::Explicit(pool_size.map(|side: usize| [side / 2, (side - 1) / 2])),
            };
            match largest {
                true => Operator::MaxPooling2D(Window { pool_size, strides, padding, count_include_pad: false }),
                false => Operator::AveragePooling2D(Window { pool_size, strides, padding, count_include_pad }),
            }
        },
    );
    let norm = (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(center, scale, small)| {
        let layer = BatchNormalization::new().epsilon(if small { 0.03 } else { 0.1 }).momentum(0.9);
        layer.center(center).scale(scale).into()
    });
    let separable = (1_usize..20, 1_usize..3, 1_usize..3, any::<bool>(), activation()).prop_map(
        |(filters, strides, multiplier, use_bias, activation)| {
            let layer = SeparableConv2D::new(filters, 3).strides(strides).same().depth_multiplier(multiplier);
            layer.use_bias(use_bias).activation(activation).into()
        },
    );
    prop_oneof![
        1 => separable,
        // Those of its input's channels that there are: see `grow`.
        1 => vec(0_usize..12, 1..9).prop_map(|indices| Operator::Take { indices }),
        4 => convolution,
        1 => pointwise,
        3 => depthwise,
        3 => norm,
        2 => (proptest::option::of(0.5_f64..6.0), select(vec![0.0, 0.0, 0.2]))
            .prop_map(|(most, slope)| ReLU::new().max_value(most).negative_slope(slope).into()),
        2 => select(Activation::ALL.to_vec()).prop_map(Operator::from),
        2 => window,
        2 => [[0_usize..3, 0..3], [0..3, 0..3]].prop_map(|padding| ZeroPadding2D::new(padding).into()),
        2 => Just(Operator::Add {}),
        2 => Just(Operator::Concatenate {}),
        2 => Just(Operator::Multiply {}),
        2 => (1_usize..40, any::<bool>(), activation())
            .prop_map(|(units, use_bias, activation)| Dense::new(units).use_bias(use_bias).activation(activation).into()),
        1 => any::<bool>().prop_map(|keepdims| GlobalAveragePooling2D::new().keepdims(keepdims).into()),
        1 => any::<bool>().prop_map(|keepdims| GlobalMaxPooling2D::new().keepdims(keepdims).into()),
        1 => Just(Operator::Softmax {}),
        1 => Just(Operator::Flatten {}),
        // As many values as its input has: see `grow`.
        1 => Just(Operator::Reshape { target_shape: Vec::new() }),
        1 => Just(Operator::Normalization {}),
        1 => (0.0_f64..0.6, any::<bool>()).prop_map(|(rate, whole)| Dropout::new(rate).per_sample(whole).into()),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(center, scale)| {
            LayerNormalization::new().epsilon(0.1).center(center).scale(scale).into()
        }),
        1 => (1_usize..4).prop_map(|groups| GroupNormalization::new().epsilon(0.1).groups(groups).into()),
        1 => Just(GlobalResponseNormalization::new().epsilon(0.1).into()),
        1 => Just(Operator::LayerScale {}),
        1 => Just(PositionEmbedding::new().into()),
        1 => (1_usize..3).prop_map(|count| PrependTokens::new().count(count).into()),
        1 => (0_usize..3, 0_usize..3).prop_map(|(before, after)| Operator::Cropping1D { cropping: [before, after] }),
        1 => (-2.0_f64..2.0).prop_map(|scale| Rescaling::new(scale).offset(0.5).into()),
    ]
}

/// Grows a graph choice by choice; one that does not fit what it reads is left out.
fn grow(shape: [usize; 3], choices: &[Choice]) -> Graph {
    let mut layers: Vec<(Operator, Vec<usize>)> = vec![(Operator::InputLayer { shape: shape.to_vec() }, Vec::new())];
    let mut graph = build(&layers).expect("an image and a dense layer");
    for choice in choices {
        let before = layers.len();
        let from = if choice.from == usize::MAX { before - 1 } else { choice.from % before };
        let mut grid = [1, 1];
        for (at, operator) in choice.operators.iter().enumerate() {
            let mut inputs = vec![if at == 0 { from } else { layers.len() - 1 }];
            if matches!(operator, Operator::Add {} | Operator::Concatenate {} | Operator::Multiply {}) {
                inputs.extend(choice.others.iter().map(|&other| if other == 0 { from } else { other % before }));
            }
            let read = graph.nodes().get(inputs[0]).map(|node| node.shape.clone());
            let operator = match (operator, read) {
                (Operator::Reshape { target_shape }, Some(read)) if target_shape.len() == 2 => {
                    let channels = read.channels();
                    grid = read.image().map_or([1, read.count() / channels], |[height, width, _]| [height, width]);
                    Operator::Reshape { target_shape: vec![read.count() / channels, channels] }
                }
                (Operator::Reshape { .. }, read) => {
                    let count = read.map_or(1, |shape| shape.count());
                    Operator::Reshape { target_shape: vec![1, count, 1] }
                }
                (Operator::PositionEmbedding { resample: Some(Resample { from, .. }) }, _) => {
                    Operator::PositionEmbedding { resample: Some(Resample { from: *from, to: grid }) }
                }
                (Operator::Take { indices }, Some(read)) => {
                    let channels = read.channels();
                    Operator::Take { indices: indices.iter().map(|index| index % channels).collect() }
                }
                (other, _) => other.clone(),
            };
            layers.push((operator, inputs));
        }
        match build(&layers) {
            Some(grown) => graph = grown,
            None => layers.truncate(before),
        }
    }
    graph
}

/// The graph of some layers, if they hold together: what nobody reads is pooled, joined, and read by a dense layer.
fn build(layers: &[(Operator, Vec<usize>)]) -> Option<Graph> {
    let mut net = Builder::new("random");
    let mut ids: Vec<LayerId> = Vec::new();
    let mut read = vec![false; layers.len()];
    for (at, (operator, inputs)) in layers.iter().enumerate() {
        inputs.iter().for_each(|&input| read[input] = true);
        let inputs: Vec<LayerId> = inputs.iter().map(|&input| ids[input]).collect();
        let name = format!("{}_{at}", operator.class().to_lowercase());
        ids.push(net.add(name, operator.clone(), &inputs));
    }
    let mut ends: Vec<LayerId> = ids.iter().zip(&read).filter(|(_, read)| !**read).map(|(&id, _)| id).collect();
    for (at, end) in ends.iter_mut().enumerate() {
        *end = net.add(format!("end_{at}"), Operator::Flatten {}, &[*end]);
    }
    let last = match ends[..] {
        [only] => only,
        _ => net.add("ends", Operator::Concatenate {}, &ends),
    };
    net.add("output", Dense::new(2).activation(Activation::Sigmoid), &[last]);
    net.finish().ok().filter(|graph| graph.parameter_count() < 200_000 && graph.multiply_adds() < 4_000_000)
}
