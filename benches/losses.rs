//! Measures each loss forward and backward, for a batch of 32 and ImageNet's thousand classes.

use burn_tensor::{Device, Tensor, TensorData};
use criterion::{Criterion, criterion_group, criterion_main};
use injerto_losses::tensor::TensorCrossEntropy as _;
use injerto_losses::{CrossEntropy as _, Outputs, Targets};
use injerto_recipe::Loss;

fn losses(criterion: &mut Criterion) {
    let labels: Vec<u32> = (0..32).map(|row| row * 31).collect();
    let two: Vec<u32> = (0..32).map(|row| row % 2).collect();
    for from_logits in [true, false] {
        for (loss, units, labels) in [
            (Loss::BinaryCrossentropy { from_logits, label_smoothing: 0.0 }, 1, &two),
            (Loss::CategoricalCrossentropy { from_logits, label_smoothing: 0.1 }, 1000, &labels),
            (Loss::SparseCategoricalCrossentropy { from_logits }, 1000, &labels),
        ] {
            // The values lie between 0 and 1, so that they are valid as probabilities and as logits.
            let values: Vec<f32> = (0..32 * units).map(|i| 0.5 + 0.4 * (0.7 * i as f32).sin()).collect();
            let data = TensorData::new(values.clone(), [32, units]);
            let outputs = Tensor::<2>::from_data(data, &Device::flex().autodiff());
            let name = format!("{}{}", loss.name(), if from_logits { " from logits" } else { "" });
            let (rows, targets) = (Outputs::new(&values, units), Targets::Labels(labels));
            criterion.bench_function(&name, |b| b.iter(|| loss.gradient(rows, targets, None)));
            criterion.bench_function(&format!("{name}, on tensors"), |b| {
                b.iter(|| {
                    let outputs = outputs.clone().require_grad();
                    let mut gradients = loss.forward(outputs.clone(), targets, None).expect("fits").backward();
                    outputs.grad_remove(&mut gradients)
                });
            });
        }
    }
}

criterion_group!(benches, losses);
criterion_main!(benches);
