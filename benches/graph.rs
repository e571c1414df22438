//! Measures the work on a description before any tensor exists, for a network of MobileNetV2's size.

mod networks;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use injerto_graph::summary::Summary;
use injerto_graph::{Cut, CutOptions, FreezePlan, Graph, GraphSpec, LayerRef, Selection, Split};

fn graph(criterion: &mut Criterion) {
    let graph = networks::mobilenet_v2(160);
    let layer = LayerRef::Name("block_11_expand_relu".to_owned());
    let plan = FreezePlan::new(&graph, &Selection::FromLayer(layer)).expect("a layer");
    let spec = GraphSpec::from(graph.clone());
    let json = serde_json::to_string(&graph).expect("plain data");
    criterion.bench_function("shape inference", |b| b.iter(|| Graph::new(black_box(spec.clone())).expect("holds")));
    criterion
        .bench_function("read json", |b| b.iter(|| serde_json::from_str::<Graph>(black_box(&json)).expect("ours")));
    criterion.bench_function("summary", |b| b.iter(|| Summary::new(black_box(&graph), &plan)));
    criterion.bench_function("latest split", |b| b.iter(|| Split::new(black_box(&graph), &plan)));
    criterion.bench_function("cheapest cut", |b| b.iter(|| Cut::new(black_box(&graph), &plan, CutOptions::default())));
}

criterion_group!(benches, graph);
criterion_main!(benches);
