//! Normalisations and operators on tokens, in Burn's operators.

use burn_tensor::{Device, FloatDType, Tensor, TensorData, activation};
use injerto_graph::{Attention, Resample, Taps};

use super::Value;

/// `(x - mean) / sqrt(variance + epsilon)` over one axis, computed in single precision: squares leave the range of `f16`.
fn standardise<const D: usize>(x: Tensor<D>, axis: usize, epsilon: f64) -> Tensor<D> {
    let format: FloatDType = x.dtype().into();
    let x = x.cast(FloatDType::F32);
    let centred = x.clone() - x.mean_dim(axis);
    let variance = centred.clone().powi_scalar(2).mean_dim(axis);
    (centred / variance.add_scalar(epsilon).sqrt()).cast(format)
}

/// Normalises the channels of each position.
pub(super) fn layer_normalise(x: Value, epsilon: f64) -> Value {
    match x {
        Value::Image(image) => Value::Image(standardise(image, 1, epsilon)),
        Value::Tokens(tokens) => Value::Tokens(standardise(tokens, 2, epsilon)),
        Value::Features(rows) => Value::Features(standardise(rows, 1, epsilon)),
    }
}

/// Normalises the channels of each group over all positions.
pub(super) fn group_normalise(x: Value, groups: usize, epsilon: f64) -> Value {
    positions(x, |x| {
        let [batch, channels, positions] = x.dims();
        let rows = x.reshape([batch, groups, channels / groups * positions]);
        standardise(rows, 2, epsilon).reshape([batch, channels, positions])
    })
}

/// `x + gamma * (x * n) + beta`, where `n` is the norm of each channel over the mean of all channels' norms.
pub(super) fn respond(x: Value, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f64) -> Value {
    positions(x, |x| {
        let channels = gamma.dims()[0];
        // The gradient of the root is infinite at 0. With the limit, the gradient for a channel of zeros is 0.
        let norm = x.clone().cast(FloatDType::F32).powi_scalar(2).sum_dim(2).clamp_min(1e-30).sqrt();
        let share = (norm.clone() / norm.mean_dim(1).add_scalar(epsilon)).cast(FloatDType::from(x.dtype()));
        let side = [1, channels, 1];
        let scale = (share * gamma.clone().reshape(side)).add_scalar(1.0);
        x * scale + beta.clone().reshape(side)
    })
}

/// Applies a function of `[batch, channels, positions]`.
fn positions(x: Value, f: impl Fn(Tensor<3>) -> Tensor<3>) -> Value {
    match x {
        Value::Image(image) => {
            let [batch, channels, height, width] = image.dims();
            Value::Image(f(image.reshape([batch, channels, height * width])).reshape([batch, channels, height, width]))
        }
        Value::Tokens(tokens) => Value::Tokens(f(tokens.swap_dims(1, 2)).swap_dims(1, 2)),
        Value::Features(rows) => {
            let [batch, channels] = rows.dims();
            Value::Features(f(rows.reshape([batch, channels, 1])).reshape([batch, channels]))
        }
    }
}

/// `softmax(q kᵀ / sqrt(d)) v` for each head. The inputs are q, k and v, or one value that has all three along its channels.
pub(super) fn attention(mut inputs: Vec<Value>, sizes: Attention) -> Value {
    let Attention { heads, channels, value_channels, .. } = sizes;
    let mut parts: Vec<Tensor<3>> = inputs.drain(..).map(Value::tokens).collect();
    if let [all] = &parts[..] {
        let part = |at: usize| all.clone().narrow(2, at * channels, channels);
        parts = vec![part(0), part(1), part(2)];
    }
    // The shape of each is [batch, heads, tokens, channels of a head].
    let mut split = parts.into_iter().map(|part| {
        let [batch, tokens, channels] = part.dims();
        part.reshape([batch, tokens, heads, channels / heads]).swap_dims(1, 2)
    });
    let mut next = || split.next().expect("queries, keys and values");
    let (q, k, v): (Tensor<4>, Tensor<4>, Tensor<4>) = (next(), next(), next());
    let [batch, _, tokens, width] = q.dims();
    // Queries are fewer values than scores, and scores that were too large could leave the range of `f16`.
    let scores = q.mul_scalar(1.0 / (width as f64).sqrt()).matmul(k.swap_dims(2, 3));
    let out = activation::softmax(scores, 3).matmul(v);
    Value::Tokens(out.swap_dims(1, 2).reshape([batch, tokens, value_channels]))
}

/// Puts learned tokens `[count, channels]` before those of the input.
pub(super) fn prepend(x: Tensor<3>, learned: Tensor<2>) -> Tensor<3> {
    let [batch, _, channels] = x.dims();
    let [count, _] = learned.dims();
    let learned = learned.reshape([1, count, channels]).repeat_dim(0, batch);
    Tensor::cat(vec![learned, x], 1)
}

/// Adds a learned embedding `[positions, channels]`.
pub(super) fn embed(x: Value, learned: Tensor<2>, resample: Option<Resample>, device: &Device) -> Value {
    match x {
        Value::Image(image) => {
            let [_, channels, height, width] = image.dims();
            Value::Image(image + learned.reshape([1, height, width, channels]).permute([0, 3, 1, 2]))
        }
        Value::Features(rows) => {
            let channels = rows.dims()[1];
            Value::Features(rows + learned.reshape([1, channels]))
        }
        Value::Tokens(tokens) => {
            let [_, count, channels] = tokens.dims();
            let learned = match resample {
                Some(grids) => interpolate(learned, grids, count, device),
                None => learned,
            };
            Value::Tokens(tokens + learned.reshape([1, count, channels]))
        }
    }
}

/// Interpolates an embedding of one grid to another, as a product with a matrix of weights for each axis. Tokens before the grid, such as
/// the class token, keep theirs.
fn interpolate(learned: Tensor<2>, Resample { from, to }: Resample, tokens: usize, device: &Device) -> Tensor<2> {
    let [rows, channels] = learned.dims();
    let before = tokens - to[0] * to[1];
    let format: FloatDType = learned.dtype().into();
    let weights = |axis: usize| {
        let taps = Taps::bicubic(from[axis], to[axis]);
        let mut matrix = vec![0.0_f32; to[axis] * from[axis]];
        for (at, row) in matrix.chunks_exact_mut(from[axis]).enumerate() {
            taps.of(at).for_each(|(place, weight)| row[place] = weight as f32);
        }
        Tensor::<2>::from_data(TensorData::new(matrix, [to[axis], from[axis]]), device).cast(format)
    };
    let grid = learned.clone().narrow(0, before, rows - before);
    let tall = weights(0).matmul(grid.reshape([from[0], from[1] * channels]));
    let turned = tall.reshape([to[0], from[1], channels]).swap_dims(0, 1).reshape([from[1], to[0] * channels]);
    let broad = weights(1).matmul(turned).reshape([to[1], to[0], channels]).swap_dims(0, 1);
    let grid = broad.reshape([to[0] * to[1], channels]);
    match before {
        0 => grid,
        before => Tensor::cat(vec![learned.narrow(0, 0, before), grid], 0),
    }
}
