//! Steps on tokens: learned tokens, learned position embeddings, a part of a sequence, and a selection of channels.

use crate::parallel::{Divide as _, Parts as _};
use injerto_graph::Resample;

use super::parameters::Parameters;
use super::step::{Inputs, Pass, Step, put};

/// Puts learned tokens before those of the input.
#[derive(Debug)]
pub(super) struct Prepend {
    pub(super) embedding: usize,
    /// Number of values of the learned tokens.
    pub(super) tokens: usize,
    /// Number of values of the output for one sample.
    pub(super) size: usize,
}

impl Step for Prepend {
    fn forward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let (learned, rest) = (parameters.values(self.embedding), self.size - self.tokens);
        y.par_chunks_mut(self.size).zip(x.get(0).par_chunks(rest)).for_each(|(y, x)| {
            y[..self.tokens].copy_from_slice(learned);
            y[self.tokens..].copy_from_slice(x);
        });
    }

    fn backward(&mut self, parameters: &mut Parameters, _: &Inputs<'_>, _: &[f32], dy: &mut [f32]) {
        if parameters.trains(self.embedding) {
            let (_, gradient) = parameters.pair(self.embedding);
            gradient.fill(0.0);
            for dy in dy.chunks_exact(self.size) {
                gradient.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
            }
        }
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        dx.par_chunks_mut(self.size - self.tokens).zip(dy.par_chunks(self.size)).for_each(|(dx, dy)| {
            dx.iter_mut().zip(&dy[self.tokens..]).for_each(|(dx, dy)| put(dx, *dy, accumulate));
        });
    }
}

/// Adds a learned position embedding to each sample.
#[derive(Debug)]
pub(super) struct Embed {
    embedding: usize,
    resample: Option<Resample>,
    /// Positions and channels of a sample.
    shape: [usize; 2],
    /// The embedding, resampled to the grid of the input, and the stamp of the parameter from which it was made.
    values: Vec<f32>,
    stamp: Option<u64>,
}

impl Embed {
    pub(super) fn new(embedding: usize, resample: Option<Resample>, positions: usize, channels: usize) -> Self {
        Self { embedding, resample, shape: [positions, channels], values: Vec::new(), stamp: None }
    }
}

impl Step for Embed {
    fn forward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let stamp = parameters.stamp([self.embedding]);
        if self.stamp.replace(stamp) != Some(stamp) {
            let ([positions, channels], learned) = (self.shape, parameters.values(self.embedding));
            self.values = match self.resample {
                Some(grids) => grids.apply(learned, positions, channels),
                None => learned.to_vec(),
            };
        }
        let size = self.values.len();
        y.par_chunks_mut(size).zip(x.get(0).par_chunks(size)).for_each(|(y, x)| {
            y.iter_mut().zip(x).zip(&self.values).for_each(|((y, x), own)| *y = x + own);
        });
    }

    fn backward(&mut self, parameters: &mut Parameters, _: &Inputs<'_>, _: &[f32], dy: &mut [f32]) {
        if !parameters.trains(self.embedding) {
            return;
        }
        let [positions, channels] = self.shape;
        let mut sums = vec![0.0; positions * channels];
        for dy in dy.chunks_exact(sums.len()) {
            sums.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
        }
        let (_, gradient) = parameters.pair(self.embedding);
        match self.resample {
            Some(grids) => {
                gradient.fill(0.0);
                grids.apply_back(&sums, positions, channels, gradient);
            }
            None => gradient.copy_from_slice(&sums),
        }
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        super::elementwise::pass_on(dy, dx, accumulate);
    }
}

/// Takes consecutive positions out of a sequence.
#[derive(Debug)]
pub(super) struct Crop {
    /// Number of values before these positions.
    pub(super) before: usize,
    /// Number of values of the input for one sample.
    pub(super) size: usize,
    /// Number of values of the output for one sample.
    pub(super) left: usize,
}

impl Step for Crop {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let parts = y.par_chunks_mut(self.left).zip(x.get(0).par_chunks(self.size));
        parts.for_each(|(y, x)| y.copy_from_slice(&x[self.before..][..self.left]));
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        dx.par_chunks_mut(self.size).zip(dy.par_chunks(self.left)).for_each(|(dx, dy)| {
            if !accumulate {
                dx.fill(0.0);
            }
            dx[self.before..].iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
        });
    }
}

/// Rows in a task of [`Take`].
const ROWS: usize = 64;

/// Selects the channels with these numbers.
#[derive(Debug)]
pub(super) struct Take {
    /// Channels of the input.
    pub(super) channels: usize,
    pub(super) indices: Vec<usize>,
}

impl Step for Take {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let (wide, narrow) = (self.channels, self.indices.len());
        y.par_chunks_mut(ROWS * narrow).zip(x.get(0).par_chunks(ROWS * wide)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(narrow).zip(x.chunks_exact(wide)) {
                y.iter_mut().zip(&self.indices).for_each(|(y, &from)| *y = x[from]);
            }
        });
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let (wide, narrow) = (self.channels, self.indices.len());
        dx.par_chunks_mut(ROWS * wide).zip(dy.par_chunks(ROWS * narrow)).for_each(|(dx, dy)| {
            if !accumulate {
                dx.fill(0.0);
            }
            for (dx, dy) in dx.chunks_exact_mut(wide).zip(dy.chunks_exact(narrow)) {
                self.indices.iter().zip(dy).for_each(|(&to, dy)| dx[to] += dy);
            }
        });
    }
}
