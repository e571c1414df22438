//! `cargo xtask bench kernels` measures whole networks that are compiled for inference, in images per second.

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use injerto_graph::Graph;
use injerto_kernels::inference::{Input, Program};
use injerto_reference::networks;

fn inference(c: &mut Criterion) {
    let mut group = c.benchmark_group("inference");
    group.sample_size(10);
    let mut network = |name: &str, graph: &Graph, batch: usize| {
        let parameters = networks::parameters(graph, 1);
        let given = |layer: usize, place: usize| Cow::Borrowed(parameters[layer][place].as_slice());
        let layers: Vec<usize> = (0..graph.len()).collect();
        let program = Program::compile(graph, &layers, &[graph.len() - 1], &given, &Input::default())
            .expect("all layers and parameters are given");
        let pixels = networks::Random::new(2).values(batch * graph.input_shape().count(), 0.0, 1.0);
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(name, |b| b.iter(|| program.run(black_box(&pixels), batch).expect("there is memory")));
    };
    network("MobileNetV2 at 160, batch 32", &networks::mobilenet_v2(160), 32);
    network("MobileNetV2 at 160, one image", &networks::mobilenet_v2(160), 1);
    network("InceptionV3 at 224, batch 8", &networks::inception_v3(224), 8);
}

criterion_group!(benches, inference);
criterion_main!(benches);
