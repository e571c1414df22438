//! Measures one step of an optimiser, with about as many values as MobileNetV2 has from layer 100 on, and the report of an epoch.
//!
//!     cargo xtask bench trainer

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use injerto_recipe::OptimizerConfig;
use injerto_trainer::metrics::{Predictions, Report};
use injerto_trainer::optimizer::{Optimizer, Trained, Update};

/// Sizes of large and small parameters, with 1.85 million values in all.
const SIZES: [usize; 6] = [960 * 320, 320 * 1280, 160 * 960, 960 * 160, 576 * 1440, 1280];

/// Deterministic numbers without a noticeable pattern.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

fn optimizers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("optimizer step");
    group.throughput(Throughput::Elements(SIZES.iter().sum::<usize>() as u64));
    for (name, config) in [
        ("adam", r#"{"name": "adam"}"#),
        ("adam, clipped globally", r#"{"name": "adam", "global_clipnorm": 1.0}"#),
        ("adamw with an average", r#"{"name": "adamw", "ema_momentum": 0.99}"#),
        ("sgd with momentum", r#"{"name": "sgd", "momentum": 0.9}"#),
        ("rmsprop", r#"{"name": "rmsprop"}"#),
    ] {
        let config: OptimizerConfig = serde_json::from_str(config).expect("an optimiser");
        let named = |at| Trained { name: format!("layer_{at}/kernel"), multiplier: 1.0 };
        let mut optimizer = Optimizer::new(config, (0..SIZES.len()).map(named).collect());
        let mut values = SIZES.map(numbers);
        let gradients = SIZES.map(numbers);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let parameters = values.iter_mut().zip(&gradients);
                let updates = parameters.map(|(values, gradient)| Some(Update { values, gradient }));
                let size = optimizer.step_size();
                optimizer.step(size, &mut updates.collect::<Vec<_>>());
            });
        });
    }
}

fn metrics(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("metrics");
    for (classes, images) in [(2, 1_000), (1_000, 500)] {
        let mut predictions = Predictions::new(classes);
        let labels: Vec<u32> = (0..images).map(|image| (image % classes) as u32).collect();
        let rows = numbers(images * classes);
        let probabilities: Vec<f32> = rows.iter().map(|x| (x + 0.5) / classes as f32).collect();
        predictions.push(&probabilities, &labels, &labels);
        let names: Vec<String> = (0..classes).map(|class| format!("class {class}")).collect();
        group.bench_function(format!("report of {images} images, {classes} classes"), |bencher| {
            bencher.iter(|| Report::new(black_box(&predictions), &names));
        });
    }
}

criterion_group!(benches, optimizers, metrics);
criterion_main!(benches);
