//! Measures time and memory of each question for a number of random images: `cargo run -p injerto-insight --example scale -- 20000`.

use std::time::Instant;

use injerto_insight::folds::Folds;
use injerto_insight::leaks::{self, Limits};
use injerto_insight::more::LearningCurve;
use injerto_insight::neighbours::Neighbourhood;
use injerto_insight::probe::{CrossValidation, Strengths};
use injerto_insight::{FeatureTable, Image, Matrix, Watch, labels};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// The number of features, as in MobileNetV2, and of classes, as in the dataset of flowers.
const WIDTH: usize = 1280;
const CLASSES: usize = 5;

fn main() -> injerto_insight::Result<()> {
    let images: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5_000);
    let table = drawn(images)?;
    report("features", Instant::now(), cpu_seconds());
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let around = Neighbourhood::of(&table, Watch::none())?;
    report("neighbours", began, cpu);
    let (began, cpu) = (Instant::now(), cpu_seconds());
    leaks::find(&table, &around, Limits::default(), |_| None, Watch::none())?;
    report("copies", began, cpu);
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let found = CrossValidation::run(&table, Folds::new(5, 1), &Strengths::default(), Watch::none())?;
    report("probe", began, cpu);
    let (began, cpu) = (Instant::now(), cpu_seconds());
    labels::find(&table, &around, &found.predictions)?;
    report("labels", began, cpu);
    let (began, cpu) = (Instant::now(), cpu_seconds());
    LearningCurve::measure(&table, Folds::new(5, 1), found.strength, Watch::none())?;
    report("more photos", began, cpu);
    Ok(())
}

/// A table of overlapping classes, whose features are not negative, like those after a ReLU.
fn drawn(images: usize) -> injerto_insight::Result<FeatureTable> {
    let mut generator = ChaCha8Rng::seed_from_u64(1);
    let mut random = || (generator.next_u32() >> 8) as f32 / (1 << 24) as f32;
    let centres: Vec<f32> = (0..CLASSES * WIDTH).map(|_| random()).collect();
    let mut values = Vec::with_capacity(images * WIDTH);
    for image in 0..images {
        let centre = &centres[image % CLASSES * WIDTH..][..WIDTH];
        values.extend(centre.iter().map(|centre| (0.06 * centre + 1.5 * random() - 0.5).max(0.0)));
    }
    let images = (0..images).map(|image| Image::new(format!("{image}.jpg"), (image % CLASSES) as u32)).collect();
    let classes = (0..CLASSES).map(|class| class.to_string()).collect();
    FeatureTable::new(Matrix::new(WIDTH, values)?, images, classes)
}

fn report(what: &str, began: Instant, cpu: f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: ?");
    println!(
        "{what:>12}  {:>8.1} s, {:>8.1} s of processors, {peak}",
        began.elapsed().as_secs_f64(),
        cpu_seconds() - cpu
    );
}

/// Processor time of all threads so far, in seconds; 0 if the system does not report it in Linux's way.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
