//! Measures questions to plugins, reading weights, and the forward pass of MobileNetV2 at 96×96 on Burn's `flex`.

mod networks;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use burn_tensor::{Device, Tensor};
use criterion::Criterion;
use injerto_backbones::network::Network;
use injerto_backbones::plugin::{Catalog, Probe, SearchPath, answer_if_asked};
use injerto_backbones::weights::Weights;

fn main() {
    // To ask a plugin, this program starts itself as a child process.
    answer_if_asked();
    let mut criterion = Criterion::default().configure_from_args();
    plugins(&mut criterion);
    forward(&mut criterion);
    criterion.final_summary();
}

/// Cost of the first question about a backbone: a search of the folder, and a child process.
fn plugins(criterion: &mut Criterion) {
    let program = std::env::current_exe().expect("this program");
    let folder = program.ancestors().nth(2).expect("target/PROFILE").to_owned();
    let probe = || Probe { program: program.clone(), arguments: Vec::new(), timeout: Duration::from_secs(20) };
    let scan = || Catalog::scan(SearchPath::of([folder.clone()]), probe());
    let Ok(found) = scan().find("mobilenet_v2") else {
        eprintln!(
            "skipped: no plugins in {}; `cargo build --release -p injerto-plugin-mobilenet_v2`",
            folder.display()
        );
        return;
    };
    criterion.bench_function("scan and find", |b| b.iter(|| scan().find("mobilenet_v2").expect("found above")));
    let catalog = scan();
    let nothing = serde_json::Map::new();
    criterion.bench_function("describe", |b| b.iter(|| catalog.describe(&found, &nothing).expect("describes")));
}

fn forward(criterion: &mut Criterion) {
    let graph = Arc::new(networks::mobilenet_v2(96));
    let weights = Weights::initialise(&graph, 1).expect("a little memory");
    let folder = tempfile::tempdir().expect("a folder");
    let path: &Path = &folder.path().join("weights.safetensors");
    weights.save(path, &Default::default(), Default::default()).expect("written");
    let device = Device::flex();
    let mut group = criterion.benchmark_group("mobilenet_v2@96");
    group.sample_size(10);
    group.bench_function("read safetensors", |b| b.iter(|| Weights::load_own(path, &graph, &[]).expect("ours")));
    group.bench_function("to the device", |b| b.iter(|| Network::new(graph.clone(), &weights, &device).expect("fits")));
    let network = Network::new(graph.clone(), &weights, &device).expect("fits");
    let images = Tensor::<4>::ones([8, 3, 96, 96], &device);
    group.bench_function("forward, batch 8", |b| {
        b.iter(|| network.forward(black_box(images.clone())).to_host());
    });
    group.finish();
}
