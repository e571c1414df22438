//! Measures grafting a head on a network of MobileNetV2's size.

mod networks;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use injerto_graph::Activation;
use injerto_heads::{Head, Hidden, Pooling};

fn heads(criterion: &mut Criterion) {
    let backbone = networks::mobilenet_v2(160);
    let plain = Head {
        pooling: Pooling::Avg,
        batch_norm: false,
        dense: vec![],
        dropout: 0.0,
        units: 1,
        activation: Activation::Sigmoid,
    };
    let dense = vec![Hidden { units: 256, activation: Activation::Relu }; 3];
    let deep = Head { dense, dropout: 0.5, units: 10, activation: Activation::Softmax, ..plain.clone() };
    for (name, head) in [("one unit", plain), ("three hidden layers", deep)] {
        criterion.bench_function(name, |b| b.iter(|| head.graft(black_box(&backbone)).expect("fits")));
    }
}

criterion_group!(benches, heads);
criterion_main!(benches);
