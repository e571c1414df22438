use crate::Resample;

/// The weights by which a row of values is interpolated to another length.
#[derive(Debug, Clone, PartialEq)]
pub struct Taps {
    /// For each value of the result, the first value of the row that it depends on.
    first: Vec<usize>,
    /// For each value of the result, the end of its weights in [`Taps::weights`].
    ends: Vec<usize>,
    weights: Vec<f64>,
}

impl Taps {
    /// The weights of Keys's cubic with a = -0.5 and half-pixel centres. If the result is shorter, the cubic is stretched by `from / to`
    /// (antialiasing). The weights of each value are divided by their sum. timm interpolates position embeddings in this way
    /// (`resample_abs_pos_embed`, PyTorch's `interpolate(mode="bicubic", antialias=True)`). With equal lengths, values stay as they are.
    pub fn bicubic(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let (mut first, mut ends, mut weights) = (Vec::with_capacity(to), Vec::with_capacity(to), Vec::new());
        for at in 0..to {
            let centre = scale * (at as f64 + 0.5);
            let start = (centre - 2.0 * stretch + 0.5).max(0.0) as usize;
            let end = ((centre + 2.0 * stretch + 0.5) as usize).min(from);
            let own = (start..end).map(|place| cubic((place as f64 + 0.5 - centre) / stretch));
            let begin = weights.len();
            weights.extend(own);
            let sum: f64 = weights[begin..].iter().sum();
            weights[begin..].iter_mut().for_each(|weight| *weight /= sum);
            first.push(start);
            ends.push(weights.len());
        }
        Self { first, ends, weights }
    }

    /// Place and weight of each value of the row on which value `at` of the result depends.
    pub fn of(&self, at: usize) -> impl Iterator<Item = (usize, f64)> {
        let begin = if at == 0 { 0 } else { self.ends[at - 1] };
        self.weights[begin..self.ends[at]].iter().enumerate().map(move |(tap, &weight)| (self.first[at] + tap, weight))
    }
}

/// The cubic of Keys (1981) with a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

impl Resample {
    /// Interpolates an embedding `[before + from, channels]` to `[before + to, channels]`; tokens before the grid stay.
    ///
    /// # Panics
    /// If `embedding` is shorter.
    pub fn apply(&self, embedding: &[f32], tokens: usize, channels: usize) -> Vec<f32> {
        let mut out = vec![0.0_f64; tokens * channels];
        self.each(tokens, |to, from, weight| {
            let (to, from) = (&mut out[to * channels..][..channels], &embedding[from * channels..][..channels]);
            to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * f64::from(*from));
        });
        out.into_iter().map(|value| value as f32).collect()
    }

    /// Adds the gradient of the embedding to `gradient`, `[before + from, channels]`. `dy` is the gradient of the result of [`Resample::apply`],
    /// `[before + to, channels]`.
    ///
    /// # Panics
    /// If `dy` or `gradient` is shorter.
    pub fn apply_back(&self, dy: &[f32], tokens: usize, channels: usize, gradient: &mut [f32]) {
        self.each(tokens, |to, from, weight| {
            let (dy, dx) = (&dy[to * channels..][..channels], &mut gradient[from * channels..][..channels]);
            dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += weight as f32 * dy);
        });
    }

    /// Calls `visit(token of the result, token of the embedding, weight)` for all that take part in another.
    fn each(&self, tokens: usize, mut visit: impl FnMut(usize, usize, f64)) {
        let before = tokens - self.to[0] * self.to[1];
        (0..before).for_each(|token| visit(token, token, 1.0));
        let [rows, columns] = [0, 1].map(|axis| Taps::bicubic(self.from[axis], self.to[axis]));
        for y in 0..self.to[0] {
            for x in 0..self.to[1] {
                for (row, tall) in rows.of(y) {
                    for (column, broad) in columns.of(x) {
                        visit(before + y * self.to[1] + x, before + row * self.from[1] + column, tall * broad);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_grids_leave_an_embedding_as_it_is() {
        let grids = Resample { from: [3, 2], to: [3, 2] };
        let embedding: Vec<f32> = (0..14).map(|at| at as f32 * 0.37 - 1.0).collect();
        assert_eq!(grids.apply(&embedding, 7, 2), embedding);
    }

    /// Compares with `torch.nn.functional.interpolate(mode="bicubic", antialias=True)` of a row.
    fn check(from: &[f32], to: &[f32]) {
        let grids = Resample { from: [1, from.len()], to: [1, to.len()] };
        let found = grids.apply(from, to.len(), 1);
        for (found, expected) in found.iter().zip(to) {
            assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
        }
    }

    #[test]
    fn a_row_becomes_what_pytorch_makes_of_it() {
        let row = [0.0, 1.0, 4.0, 9.0, 16.0, 25.0];
        let longer = [-0.065789, 0.294118, 1.361111, 3.361111, 6.25, 10.027779, 14.694446, 21.176472, 25.592106];
        check(&row, &longer);
        check(&row, &[0.158574, 2.977029, 10.886677, 22.27832]);
        check(&row, &[0.410042, 6.530534, 19.970_71]);
    }
}
