//! Questions to 2,000 images of 1,280 features, as pooled MobileNetV2 gives them.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use injerto_insight::folds::Folds;
use injerto_insight::more::LearningCurve;
use injerto_insight::neighbours::nearest_others;
use injerto_insight::picture::Picture;
use injerto_insight::probe::Probe;
use injerto_insight::{FeatureTable, Image, Matrix, Watch};

const IMAGES: usize = 2000;
const WIDTH: usize = 1280;

/// Noise in which one feature of eight follows the class.
fn table() -> FeatureTable {
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32
    };
    let mut value = |row: usize, column: usize| {
        uniform() + if column.is_multiple_of(8) && column / 8 % 2 == row % 2 { 0.1 } else { 0.0 }
    };
    let values = (0..IMAGES).flat_map(|row| (0..WIDTH).map(move |column| (row, column)));
    let values = values.map(|(row, column)| value(row, column)).collect();
    let images = (0..IMAGES).map(|row| Image::new(format!("{row}.jpg"), (row % 2) as u32)).collect();
    let features = Matrix::new(WIDTH, values).expect("whole rows of finite values");
    FeatureTable::new(features, images, vec!["cats".into(), "dogs".into()]).expect("an image per row")
}

fn insight(criterion: &mut Criterion) {
    let (table, watch) = (table(), Watch::none());
    let mut group = criterion.benchmark_group("insight");
    group.sample_size(10);
    group.bench_function("a probe, to the optimum", |b| {
        b.iter(|| Probe::fit(black_box(&table), 1e-3, watch).expect("two classes"));
    });
    group.bench_function("a probe, its strength chosen by five folds", |b| {
        b.iter(|| Probe::choose(black_box(&table), Folds::new(5, 1), watch).expect("two classes"));
    });
    group.bench_function("eight nearest of each image", |b| {
        b.iter(|| nearest_others(black_box(table.features()), 8, |_, _| true, watch).expect("nobody stops it"));
    });
    group.bench_function("a learning curve", |b| {
        b.iter(|| LearningCurve::measure(black_box(&table), Folds::new(5, 1), 1e-3, watch).expect("two classes"));
    });
    let pixels: Vec<u8> = (0..300 * 200 * 3).map(|at| (at * at % 251) as u8).collect();
    let picture = Picture::new(300, 200, &pixels).expect("as many values as pixels");
    group.bench_function("two pictures laid on each other", |b| b.iter(|| black_box(&picture).agreement(&picture)));
    group.finish();
}

criterion_group!(benches, insight);
criterion_main!(benches);
