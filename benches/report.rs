//! Measures how long the curves of a run of a hundred epochs take to draw.

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;

fn draw(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let line = |epoch: usize| {
        let loss = 1.0 / epoch as f64;
        let record = json!({ "epoch": epoch, "phase": if epoch <= 60 { "head" } else { "fine-tuning" }, "loss": loss,
            "accuracy": 1.0 - 0.5 * loss, "val_loss": loss + 0.1, "val_accuracy": 0.95 - 0.5 * loss,
            "learning_rate": 1e-3, "seconds": 1.0 });
        format!("{record}\n")
    };
    let history: String = (1..=100).map(line).collect();
    std::fs::write(folder.path().join("history.jsonl"), history).expect("a file");
    criterion.bench_function("report/100 epochs", |bench| {
        bench.iter(|| injerto_report::write(folder.path()).expect("a run"));
    });
}

criterion_group!(benches, draw);
criterion_main!(benches);
