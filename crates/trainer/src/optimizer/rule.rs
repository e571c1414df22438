use injerto_recipe::{Adam, RmsProp, Rule, Sgd, StepSize};

use super::Slot;

/// Updates `values` in step number `t`, counted from 1.
pub(super) fn apply(rule: &Rule, t: u64, size: StepSize, values: &mut [f32], gradient: &[f32], slot: &mut Slot) {
    let n = values.len();
    let lr = size.learning_rate as f32;
    // Each rule is one loop over slices of the same length, which the compiler can vectorise.
    match *rule {
        Rule::Adam(Adam { beta_1, beta_2, epsilon, .. }) | Rule::AdamW(Adam { beta_1, beta_2, epsilon, .. }) => {
            let beta_1 = size.momentum.unwrap_or(beta_1);
            let t = t.max(1) as i32;
            let alpha = (size.learning_rate * (1.0 - beta_2.powi(t)).sqrt() / (1.0 - beta_1.powi(t))) as f32;
            let (rest_1, rest_2, epsilon) = ((1.0 - beta_1) as f32, (1.0 - beta_2) as f32, epsilon as f32);
            slot.first_moment.resize(n, 0.0);
            slot.second_moment.resize(n, 0.0);
            for (((w, &g), m), v) in
                values.iter_mut().zip(gradient).zip(&mut slot.first_moment).zip(&mut slot.second_moment)
            {
                *m += (g - *m) * rest_1;
                *v += (g * g - *v) * rest_2;
                *w -= *m * alpha / (v.sqrt() + epsilon);
            }
        }
        Rule::Sgd(Sgd { momentum, nesterov, .. }) => {
            let momentum = size.momentum.unwrap_or(momentum) as f32;
            if momentum == 0.0 && slot.first_moment.is_empty() {
                return values.iter_mut().zip(gradient).for_each(|(w, &g)| *w -= lr * g);
            }
            slot.first_moment.resize(n, 0.0);
            for ((w, &g), m) in values.iter_mut().zip(gradient).zip(&mut slot.first_moment) {
                *m = *m * momentum - g * lr;
                *w += if nesterov { *m * momentum - g * lr } else { *m };
            }
        }
        Rule::RmsProp(RmsProp { rho, momentum, epsilon, centered, .. }) => {
            let momentum = size.momentum.unwrap_or(momentum) as f32;
            let (rho, rest, epsilon) = (rho as f32, (1.0 - rho) as f32, epsilon as f32);
            slot.first_moment.resize(n, 0.0);
            slot.second_moment.resize(n, 0.0);
            slot.mean_gradient.resize(if centered { n } else { 0 }, 0.0);
            let means = slot.mean_gradient.iter_mut().map(Some).chain(std::iter::repeat_with(|| None));
            let moving = slot.first_moment.iter_mut().zip(&mut slot.second_moment).zip(means);
            for ((w, &g), ((m, v), mean)) in values.iter_mut().zip(gradient).zip(moving) {
                *v = rho * *v + rest * g * g;
                let square = mean.map_or(0.0, |mean| {
                    *mean = rho * *mean + rest * g;
                    *mean * *mean
                });
                *m = momentum * *m + lr * g / (*v - square + epsilon).sqrt();
                *w -= *m;
            }
        }
    }
}
