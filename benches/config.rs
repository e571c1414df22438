//! Measures reading an experiment: from text to a checked configuration, and from a file full of mistakes to its diagnostics.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use injerto_config::Config;

fn config(criterion: &mut Criterion) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/cats_vs_dogs/feature_extraction.toml");
    let wrong = ["data.batch_sise=16".to_owned(), "device=\"gpu\"".to_owned(), "phases.0.epochs=\"ten\"".to_owned()];
    Config::load(&path, &[]).expect("a configuration that ships");
    criterion.bench_function("load", |b| b.iter(|| Config::load(black_box(&path), &[]).expect("checked above")));
    criterion.bench_function("diagnose", |b| {
        b.iter(|| Config::load(black_box(&path), &wrong).expect_err("three mistakes").to_string());
    });
}

criterion_group!(benches, config);
criterion_main!(benches);
