//! Measures grafting a head on a network of MobileNetV2's size.

mod networks;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use injerto_graph::Activation;
use injerto_heads::{Body, Head, Hidden};

fn heads(criterion: &mut Criterion) {
    let backbone = networks::mobilenet_v2(160);
    let plain = Head { body: Body::default(), units: 1, activation: Activation::Sigmoid };
    let body = Body { dense: vec![Hidden::relu(256); 3], dropout: 0.5, ..Body::default() };
    let deep = Head { body, units: 10, activation: Activation::Softmax };
    for (name, head) in [("one unit", plain), ("three hidden layers", deep)] {
        criterion.bench_function(name, |b| b.iter(|| head.graft(black_box(&backbone)).expect("fits")));
    }
}

criterion_group!(benches, heads);
criterion_main!(benches);
