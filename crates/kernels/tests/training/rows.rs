//! Rows that no layer reads are not computed, and the rows that are read stay the same.

use injerto_graph::layers::{Dense, DotProductAttention, Dropout, LayerNormalization, PrependTokens};
use injerto_graph::{Activation, Builder, Graph, LayerId, Operator};
use injerto_reference::conformance::{Case, Executor as _, Format, check_step, uncut};

use super::{everything, trainers};

const TOKENS: usize = 21;
const WIDTH: usize = 12;

/// Two blocks of a transformer, each with a clip at its end and, if `drops`, with dropout; `read` adds the layers that read its tokens. The
/// last attention takes queries, keys and values from one layer if `joint`, and otherwise from three.
fn transformer(joint: bool, drops: bool, read: impl FnOnce(&mut Builder, LayerId) -> LayerId) -> Graph {
    let mut net = Builder::new("transformer");
    let x = net.input([4, 5, WIDTH]);
    let x = net.add("tokens", Operator::Reshape { target_shape: vec![TOKENS - 1, WIDTH] }, &[x]);
    let mut x = net.add("class", PrependTokens::new(), &[x]);
    for block in 0..2 {
        let entry = x;
        let mut add = |name: &str, operator: Operator, inputs: &[LayerId]| {
            net.add(format!("block_{block}_{name}"), operator, inputs)
        };
        let normal = add("norm", LayerNormalization::new().epsilon(0.1).into(), &[x]);
        let parts = match joint || block == 0 {
            true => vec![add("qkv", Dense::new(3 * WIDTH).into(), &[normal])],
            false => ["q", "k", "v"].map(|name| add(name, Dense::new(WIDTH).into(), &[normal])).to_vec(),
        };
        x = add("attention", DotProductAttention::new(3).into(), &parts);
        x = add("project", Dense::new(WIDTH).into(), &[x]);
        x = add("scale", Operator::LayerScale {}, &[x]);
        let middle = add("sum", Operator::Add {}, &[entry, x]);
        x = add("wide", Dense::new(2 * WIDTH).activation(Activation::Gelu).into(), &[middle]);
        if drops {
            x = add("drop", Dropout::new(0.25).into(), &[x]);
        }
        x = add("narrow", Dense::new(WIDTH).into(), &[x]);
        x = add("add", Operator::Add {}, &[x, middle]);
        x = add("clip", Operator::ReLU { max_value: Some(3.0), negative_slope: 0.0 }, &[x]);
    }
    x = net.add("last_norm", LayerNormalization::new().epsilon(0.1), &[x]);
    x = read(&mut net, x);
    x = net.add("flat", Operator::Flatten {}, &[x]);
    net.add("output", Dense::new(2), &[x]);
    net.finish().expect("a transformer holds together")
}

fn crop(net: &mut Builder, name: &str, before: usize, after: usize, x: LayerId) -> LayerId {
    net.add(name, Operator::Cropping1D { cropping: [before, after] }, &[x])
}

fn check(graph: &Graph) {
    for trainer in trainers() {
        let case = Case::new(graph.clone(), 2, 17);
        let case = if trainer.format() == Format::F32 { case } else { case.with_plain_scales() };
        let pass = everything(&case.graph, &[]);
        check_step(&trainer, &case, &[uncut(&case.graph)], &pass).expect("the specification's values and gradients");
    }
}

#[test]
fn a_transformer_trains_as_specified_whichever_of_its_tokens_are_read() {
    for (joint, drops) in [(true, false), (true, true), (false, false)] {
        check(&transformer(joint, drops, |net, x| crop(net, "class_token", 0, TOKENS - 1, x)));
        check(&transformer(joint, drops, |net, x| crop(net, "patches", 1, 0, x)));
        // First two parts, between which no layer reads the tokens; then a part of a part.
        check(&transformer(joint, drops, |net, x| {
            let parts = [crop(net, "class_token", 0, TOKENS - 1, x), crop(net, "other_token", 9, TOKENS - 10, x)];
            net.add("both", Operator::Concatenate {}, &parts)
        }));
        check(&transformer(joint, drops, |net, x| {
            let x = crop(net, "some", 3, 4, x);
            let x = net.add("some_relu", Operator::ReLU { max_value: None, negative_slope: 0.1 }, &[x]);
            crop(net, "fewer", 2, 5, x)
        }));
    }
}

#[test]
fn tokens_that_nothing_reads_take_no_memory() {
    let bytes = |graph: &Graph| {
        let layers: Vec<usize> = (1..graph.len()).collect();
        let trains = |layer: usize| graph.nodes()[layer].name().starts_with("block_1");
        let program = injerto_kernels::training::Program::compile(graph, &layers, &[0], &trains, &[]);
        program.expect("it compiles").buffer_bytes(1)
    };
    let all = bytes(&transformer(true, false, |_, x| x));
    let one = bytes(&transformer(true, false, |net, x| crop(net, "class_token", 0, TOKENS - 1, x)));
    assert!(3 * one < 2 * all, "{one} bytes for one token, {all} for all");
}
