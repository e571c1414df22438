use crate::parallel::{Divide as _, Parts as _};
use injerto_graph::{Activation, dropout_factor};

use super::parameters::Parameters;
use super::smooth::{self, Smooth};
use super::step::{Inputs, Pass, Step, put};
use crate::isa::ForLoops;
use crate::simd::{limit, vectorised};

/// Number of values that one task takes.
pub(super) const BLOCK: usize = 16 * 1024;

/// `min(max(x, least), most)`.
#[derive(Debug)]
pub(super) struct Clip {
    pub(super) isa: ForLoops,
    pub(super) limits: (f32, f32),
}

impl Step for Clip {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let parts = y.par_chunks_mut(BLOCK).zip(x.get(0).par_chunks(BLOCK));
        parts.for_each(|(y, x)| y.iter_mut().zip(x).for_each(|(y, x)| *y = limit(*x, self.limits)));
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, y: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let parts = dx.par_chunks_mut(BLOCK).zip(dy.par_chunks(BLOCK)).zip(y.par_chunks(BLOCK));
        parts.for_each(|((dx, dy), y)| clip_back(self.isa, dy, y, self.limits, accumulate, dx));
    }

    fn keeps_output(&self) -> bool {
        true
    }
}

vectorised! {
    fn clip_back(dy: &[f32], y: &[f32], clip: (f32, f32), accumulate: bool, dx: &mut [f32]) => clip_back_body
}

#[inline(always)]
fn clip_back_body<const FUSED: bool>(
    dy: &[f32],
    y: &[f32],
    (least, most): (f32, f32),
    accumulate: bool,
    dx: &mut [f32],
) {
    for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
        let value = if *y > least && *y < most { *dy } else { 0.0 };
        *dx = if accumulate { *dx + value } else { value };
    }
}

/// `min(x, most)` where `x` is positive, and `slope * x` elsewhere; the slope is not 0.
#[derive(Debug)]
pub(super) struct Leaky {
    pub(super) slope: f32,
    pub(super) most: f32,
}

impl Step for Leaky {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let Self { slope, most } = *self;
        let value = |x: f32| if x > 0.0 { limit(x, (0.0, most)) } else { slope * x };
        let parts = y.par_chunks_mut(BLOCK).zip(x.get(0).par_chunks(BLOCK));
        parts.for_each(|(y, x)| y.iter_mut().zip(x).for_each(|(y, x)| *y = value(*x)));
    }

    fn input_gradient(&mut self, _: usize, x: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let Self { slope, most } = *self;
        let part = |x: f32| match x {
            x if x <= 0.0 => slope,
            x if x < most => 1.0,
            _ => 0.0,
        };
        let parts = dx.par_chunks_mut(BLOCK).zip(dy.par_chunks(BLOCK)).zip(x.get(0).par_chunks(BLOCK));
        parts.for_each(|((dx, dy), x)| {
            dx.iter_mut().zip(dy).zip(x).for_each(|((dx, dy), x)| put(dx, dy * part(*x), accumulate));
        });
    }

    fn keeps_inputs(&self, _: &Parameters) -> bool {
        true
    }
}

/// A smooth activation, or softmax over `channels`.
#[derive(Debug)]
pub(super) struct Activate {
    pub(super) isa: ForLoops,
    pub(super) function: Activation,
    pub(super) channels: usize,
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

impl Activate {
    fn rows(&self) -> usize {
        (BLOCK / self.channels).max(1) * self.channels
    }
}

impl Step for Activate {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let rows = self.rows();
        y.par_chunks_mut(rows).zip(x.get(0).par_chunks(rows)).for_each(|(y, x)| {
            if self.function == Activation::Softmax {
                for (y, x) in y.chunks_exact_mut(self.channels).zip(x.chunks_exact(self.channels)) {
                    let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - top).exp());
                    let sum: f32 = y.iter().sum();
                    y.iter_mut().for_each(|y| *y /= sum);
                }
                return;
            }
            if let Some(f) = Smooth::of(self.function) {
                return smooth::forward(self.isa, f, x, y);
            }
            for (y, &x) in y.iter_mut().zip(x) {
                *y = match self.function {
                    Activation::Linear | Activation::Softmax | Activation::Gelu | Activation::GeluTanh => x,
                    Activation::Relu => limit(x, (0.0, f32::INFINITY)),
                    Activation::Relu6 => limit(x, (0.0, 6.0)),
                    Activation::Swish => x * sigmoid(x),
                    Activation::HardSwish => x * limit(x + 3.0, (0.0, 6.0)) / 6.0,
                    Activation::Sigmoid => sigmoid(x),
                    Activation::HardSigmoid => limit(x + 3.0, (0.0, 6.0)) / 6.0,
                    Activation::Tanh => x.tanh(),
                };
            }
        });
    }

    fn input_gradient(&mut self, _: usize, x: &Inputs<'_>, y: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let rows = self.rows();
        // Each function reads either x or y, and the buffer of the other may already hold another value. The one that is read replaces it.
        let (x, y) = if self.keeps_x() { (x.get(0), x.get(0)) } else { (y, y) };
        let parts = dx.par_chunks_mut(rows).zip(dy.par_chunks(rows)).zip(x.par_chunks(rows)).zip(y.par_chunks(rows));
        parts.for_each(|(((dx, dy), x), y)| {
            if self.function == Activation::Softmax {
                let n = self.channels;
                let lines = dx.chunks_exact_mut(n).zip(dy.chunks_exact(n)).zip(y.chunks_exact(n));
                for ((dx, dy), y) in lines {
                    let dot: f32 = dy.iter().zip(y).map(|(dy, y)| dy * y).sum();
                    dx.iter_mut().zip(dy).zip(y).for_each(|((dx, dy), y)| put(dx, (dy - dot) * y, accumulate));
                }
                return;
            }
            if let Some(f) = Smooth::of(self.function) {
                return smooth::backward(self.isa, f, dy, x, accumulate, dx);
            }
            for (((dx, &dy), &x), &y) in dx.iter_mut().zip(dy).zip(x).zip(y) {
                let inside = |inside: bool| if inside { 1.0 } else { 0.0 };
                let slope = match self.function {
                    Activation::Linear | Activation::Softmax | Activation::Gelu | Activation::GeluTanh => 1.0,
                    Activation::Relu => inside(y > 0.0),
                    Activation::Relu6 => inside(y > 0.0 && y < 6.0),
                    Activation::Swish => {
                        let s = sigmoid(x);
                        s * (1.0 + x * (1.0 - s))
                    }
                    Activation::HardSwish => limit((x + 3.0) / 6.0, (0.0, 1.0)) + x / 6.0 * inside(x > -3.0 && x < 3.0),
                    Activation::Sigmoid => y * (1.0 - y),
                    Activation::HardSigmoid => inside(y > 0.0 && y < 1.0) / 6.0,
                    Activation::Tanh => 1.0 - y * y,
                };
                put(dx, dy * slope, accumulate);
            }
        });
    }

    fn keeps_inputs(&self, _: &Parameters) -> bool {
        self.keeps_x()
    }

    fn keeps_output(&self) -> bool {
        !self.keeps_x()
    }
}

impl Activate {
    fn keeps_x(&self) -> bool {
        matches!(self.function, Activation::Swish | Activation::HardSwish | Activation::Gelu | Activation::GeluTanh)
    }
}

/// The sum of inputs of equal shapes.
#[derive(Debug)]
pub(super) struct Add;

impl Step for Add {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        y.par_chunks_mut(BLOCK).enumerate().for_each(|(block, y)| {
            let part = |at: usize| &x.get(at)[block * BLOCK..][..y.len()];
            let (first, second) = (part(0), part(1));
            let rest: usize = x.count();
            let pairs = first.iter().zip(second);
            y.iter_mut().zip(pairs).for_each(|(y, (a, b))| *y = a + b);
            for at in 2..rest {
                y.iter_mut().zip(&x.get(at)[block * BLOCK..]).for_each(|(y, x)| *y += x);
            }
        });
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        pass_on(dy, dx, accumulate);
    }
}

/// Copies a gradient, or adds it.
pub(super) fn pass_on(dy: &[f32], dx: &mut [f32], accumulate: bool) {
    dx.par_chunks_mut(BLOCK).zip(dy.par_chunks(BLOCK)).for_each(|(dx, dy)| {
        if accumulate {
            dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
        } else {
            dx.copy_from_slice(dy);
        }
    });
}

/// The sum or the product of inputs, whose sides of length 1 are repeated.
#[derive(Debug)]
pub(super) struct Join {
    /// Whether it is a sum.
    pub(super) sum: bool,
    /// The shape of the output for one sample.
    pub(super) shape: Vec<usize>,
    /// The shape of each input for one sample.
    pub(super) inputs: Vec<Vec<usize>>,
}

impl Join {
    /// The index of the value of input `place` from which output value `at` of a sample is computed.
    fn source(&self, place: usize, mut at: usize) -> usize {
        let (mut from, mut stride) = (0, 1);
        for (&side, &own) in self.shape.iter().zip(&self.inputs[place]).rev() {
            let index = at % side;
            at /= side;
            from += if own == 1 { 0 } else { index * stride };
            stride *= own;
        }
        from
    }

    /// For run number `run` of output values along the last axis: where the values of input `place` begin, and whether they are one value
    /// that is repeated.
    fn run(&self, place: usize, run: usize) -> (usize, bool) {
        let length = self.shape.last().copied().unwrap_or(1);
        (self.source(place, run * length), self.inputs[place].last() != self.shape.last())
    }
}

impl Step for Join {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let (size, length) = (self.shape.iter().product(), self.shape.last().copied().unwrap_or(1));
        y.par_chunks_mut(size).enumerate().for_each(|(sample, y)| {
            for (run, y) in y.chunks_exact_mut(length).enumerate() {
                y.fill(if self.sum { 0.0 } else { 1.0 });
                for place in 0..x.count() {
                    let own: usize = self.inputs[place].iter().product();
                    let (from, repeated) = self.run(place, run);
                    let x = &x.get(place)[sample * own + from..];
                    match (self.sum, repeated) {
                        (true, true) => y.iter_mut().for_each(|y| *y += x[0]),
                        (true, false) => y.iter_mut().zip(x).for_each(|(y, x)| *y += x),
                        (false, true) => y.iter_mut().for_each(|y| *y *= x[0]),
                        (false, false) => y.iter_mut().zip(x).for_each(|(y, x)| *y *= x),
                    }
                }
            }
        });
    }

    fn input_gradient(
        &mut self,
        place: usize,
        x: &Inputs<'_>,
        _: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        accumulate: bool,
    ) {
        let (size, length) = (self.shape.iter().product(), self.shape.last().copied().unwrap_or(1));
        let own: usize = self.inputs[place].iter().product();
        dx.par_chunks_mut(own).zip(dy.par_chunks(size)).enumerate().for_each(|(sample, (dx, dy))| {
            if !accumulate {
                dx.fill(0.0);
            }
            for (run, dy) in dy.chunks_exact(length).enumerate() {
                let (to, sums) = self.run(place, run);
                for (i, dy) in dy.iter().enumerate() {
                    let mut value = *dy;
                    for other in (0..x.count()).filter(|&other| other != place && !self.sum) {
                        let (from, repeated) = self.run(other, run);
                        let own: usize = self.inputs[other].iter().product();
                        value *= x.get(other)[sample * own + from + if repeated { 0 } else { i }];
                    }
                    dx[to + if sums { 0 } else { i }] += value;
                }
            }
        });
    }

    fn keeps_inputs(&self, _: &Parameters) -> bool {
        !self.sum
    }
}

/// The concatenation of inputs along the last axis.
#[derive(Debug)]
pub(super) struct Concatenate {
    /// Channels of each input.
    pub(super) widths: Vec<usize>,
}

impl Step for Concatenate {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let channels: usize = self.widths.iter().sum();
        let rows = (BLOCK / channels).max(1);
        y.par_chunks_mut(rows * channels).enumerate().for_each(|(block, y)| {
            let mut first = 0;
            for (place, &width) in self.widths.iter().enumerate() {
                let x = &x.get(place)[block * rows * width..];
                for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(width)) {
                    y[first..first + width].copy_from_slice(x);
                }
                first += width;
            }
        });
    }

    fn input_gradient(
        &mut self,
        place: usize,
        _: &Inputs<'_>,
        _: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        accumulate: bool,
    ) {
        let (channels, width): (usize, usize) = (self.widths.iter().sum(), self.widths[place]);
        let first: usize = self.widths[..place].iter().sum();
        let rows = (BLOCK / channels).max(1);
        dx.par_chunks_mut(rows * width).zip(dy.par_chunks(rows * channels)).for_each(|(dx, dy)| {
            for (dx, dy) in dx.chunks_exact_mut(width).zip(dy.chunks_exact(channels)) {
                dx.iter_mut().zip(&dy[first..]).for_each(|(dx, dy)| put(dx, *dy, accumulate));
            }
        });
    }
}

/// Adds zeros around the image.
#[derive(Debug)]
pub(super) struct ZeroPad {
    pub(super) input: [usize; 3],
    pub(super) output: [usize; 2],
    pub(super) before: [usize; 2],
}

impl ZeroPad {
    /// Where row `row` of the input begins in an output image.
    fn place(&self, row: usize) -> usize {
        ((row + self.before[0]) * self.output[1] + self.before[1]) * self.input[2]
    }
}

impl Step for ZeroPad {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        let [height, width, channels] = self.input;
        let line = width * channels;
        let padded = self.output[0] * self.output[1] * channels;
        y.par_chunks_mut(padded).zip(x.get(0).par_chunks(height * line)).for_each(|(y, x)| {
            y.fill(0.0);
            for (row, x) in x.chunks_exact(line).enumerate() {
                y[self.place(row)..][..line].copy_from_slice(x);
            }
        });
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let [height, width, channels] = self.input;
        let line = width * channels;
        let padded = self.output[0] * self.output[1] * channels;
        dx.par_chunks_mut(height * line).zip(dy.par_chunks(padded)).for_each(|(dx, dy)| {
            for (row, dx) in dx.chunks_exact_mut(line).enumerate() {
                dx.iter_mut().zip(&dy[self.place(row)..]).for_each(|(dx, dy)| put(dx, *dy, accumulate));
            }
        });
    }
}

/// Dropout of values or of whole samples in training ([`dropout_factor`]).
#[derive(Debug)]
pub(super) struct Dropout {
    pub(super) rate: f64,
    pub(super) per_sample: bool,
    /// The shape of a sample.
    pub(super) shape: Vec<usize>,
    /// The factor of each value or sample; empty if the last pass was inference.
    pub(super) mask: Vec<f32>,
}

impl Dropout {
    /// The number of values that have one factor in common.
    fn share(&self) -> usize {
        if self.per_sample { self.shape.iter().product() } else { 1 }
    }

    fn apply(&self, from: &[f32], to: &mut [f32], accumulate: bool) {
        if self.mask.is_empty() {
            pass_on(from, to, accumulate);
            return;
        }
        let share = self.share();
        for ((to, from), mask) in to.chunks_exact_mut(share).zip(from.chunks_exact(share)).zip(&self.mask) {
            to.iter_mut().zip(from).for_each(|(to, from)| put(to, from * mask, accumulate));
        }
    }
}

impl Step for Dropout {
    fn forward(&mut self, _: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], pass: &mut Pass<'_>) {
        self.mask.clear();
        if let Pass::Training(random) = pass {
            let mut draw = || dropout_factor(self.rate, random());
            self.mask.resize(y.len() / self.share(), 0.0);
            match *self.shape.as_slice() {
                // Random numbers are drawn channel by channel, as `dropout_factor` specifies.
                [height, width, channels] if !self.per_sample => {
                    for mask in self.mask.chunks_exact_mut(height * width * channels) {
                        for c in 0..channels {
                            mask[c..].iter_mut().step_by(channels).for_each(|mask| *mask = draw());
                        }
                    }
                }
                _ => self.mask.iter_mut().for_each(|mask| *mask = draw()),
            }
        }
        self.apply(x.get(0), y, false);
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        self.apply(dy, dx, accumulate);
    }
}
