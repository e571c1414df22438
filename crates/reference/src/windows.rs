//! Convolutions and pooling: what becomes of the values under a window that slides over an image.

use injerto_graph::{Padding, Window};

use crate::layer::{Backward, Context, Operand};
use crate::tensor::Tensor;

/// A window that slides over an image.
#[derive(Clone, Copy)]
pub(crate) struct Slide {
    input: [usize; 2],
    output: [usize; 2],
    window: [usize; 2],
    strides: [usize; 2],
    dilation: [usize; 2],
    /// Zeros above and to the left.
    before: [usize; 2],
    /// Zeros below and to the right.
    after: [usize; 2],
}

impl Slide {
    /// `Valid`: windows lie wholly in the image. `Same`: the output is `ceil(input / stride)`; of the padding that this takes,
    /// the smaller half comes first (<https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2>).
    pub(crate) fn new(
        x: &Tensor,
        window: [usize; 2],
        strides: [usize; 2],
        padding: Padding,
        dilation: [usize; 2],
    ) -> Self {
        let [height, width, _] = x.image();
        let input = [height, width];
        let spans = [0, 1].map(|axis| (window[axis] - 1) * dilation[axis] + 1);
        let sides = [0, 1].map(|axis| match padding {
            Padding::Valid => [0, 0],
            Padding::Explicit(sides) => sides[axis],
            Padding::Same => {
                let covered = (input[axis].div_ceil(strides[axis]) - 1) * strides[axis] + spans[axis];
                let total = covered.saturating_sub(input[axis]);
                [total / 2, total - total / 2]
            }
        });
        let room = [0, 1].map(|axis| sides[axis][0] + input[axis] + sides[axis][1] - spans[axis]);
        let output = [0, 1].map(|axis| room[axis] / strides[axis] + 1);
        let (before, after) = (sides.map(|[before, _]| before), sides.map(|[_, after]| after));
        Self { input, output, window, strides, dilation, before, after }
    }

    pub(crate) fn of(x: &Tensor, window: &Window) -> Self {
        Self::new(x, window.pool_size, window.strides, window.padding, [1, 1])
    }

    /// One window that is the whole image.
    pub(crate) fn whole(x: &Tensor) -> Self {
        let [height, width, _] = x.image();
        Self::new(x, [height, width], [1, 1], Padding::Valid, [1, 1])
    }

    /// Calls `visit(output pixel, tap, input pixel)` for every tap of every window that lies in the image.
    #[inline(always)]
    fn each(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let place = |axis: usize, at: usize, tap: usize| {
            let place = (at * self.strides[axis] + tap * self.dilation[axis]).checked_sub(self.before[axis])?;
            (place < self.input[axis]).then_some(place)
        };
        for oy in 0..self.output[0] {
            for ox in 0..self.output[1] {
                for ky in 0..self.window[0] {
                    for kx in 0..self.window[1] {
                        if let (Some(y), Some(x)) = (place(0, oy, ky), place(1, ox, kx)) {
                            visit(oy * self.output[1] + ox, ky * self.window[1] + kx, y * self.input[1] + x);
                        }
                    }
                }
            }
        }
    }

    /// How many values of each window lie in the image, or with `padding` in the image and its padding.
    fn counts(&self, padding: bool) -> Vec<f64> {
        let count = |axis: usize, at: usize| {
            let (before, length) = (self.before[axis], self.input[axis]);
            let covered = if padding { 0..before + length + self.after[axis] } else { before..before + length };
            let places = (0..self.window[axis]).map(|tap| at * self.strides[axis] + tap * self.dilation[axis]);
            places.filter(|place| covered.contains(place)).count()
        };
        let [height, width] = self.output;
        (0..height * width).map(|at| (count(0, at / width) * count(1, at % width)) as f64).collect()
    }
}

/// `y[p, f] = bias[f] + sum of x[from(p, t), c] * kernel[t, c, f]` over taps `t` and the channels `c` of `f`'s group. Both sides of each
/// product, going back too, are first made `operand`s.
pub(crate) fn convolve(
    operand: Operand,
    x: &Tensor,
    slide: Slide,
    (kernel_place, mut kernel): (usize, Vec<f64>),
    bias: Option<(usize, Vec<f64>)>,
    groups: usize,
    filters: usize,
) -> (Tensor, Backward) {
    let x = x.map(|_, x| operand(x));
    kernel.iter_mut().for_each(|kernel| *kernel = operand(*kernel));
    let channels = x.channels();
    // Channels and filters of a group.
    let (width, each) = (channels / groups, filters / groups);
    // Calls `visit(y at, x at, kernel at)` for runs of filters that read the same channel.
    let terms = move |sample: usize, visit: &mut dyn FnMut(usize, usize, usize)| {
        let (xs, ys) = (sample * slide.input[0] * slide.input[1], sample * slide.output[0] * slide.output[1]);
        slide.each(|to, tap, from| {
            for c in 0..channels {
                let first = c / width * each;
                let kernel_at = (tap * width + c % width) * filters + first;
                visit((ys + to) * filters + first, (xs + from) * channels + c, kernel_at);
            }
        });
    };
    let mut y = Tensor::zeros(x.batch, &[slide.output[0], slide.output[1], filters]);
    if let Some((_, bias)) = &bias {
        y.values.chunks_exact_mut(filters).for_each(|y| y.copy_from_slice(bias));
    }
    for sample in 0..x.batch {
        terms(sample, &mut |to, from, at| {
            let value = x.values[from];
            y.values[to..to + each].iter_mut().zip(&kernel[at..]).for_each(|(y, kernel)| *y += value * kernel);
        });
    }
    let bias_place = bias.map(|(place, _)| place);
    let back = move |slopes: &Tensor| {
        let dy = slopes.map(|_, dy| operand(dy));
        let (mut dx, mut dk) = (Tensor::zeros(x.batch, &x.shape), vec![0.0; kernel.len()]);
        for sample in 0..x.batch {
            terms(sample, &mut |to, from, at| {
                let (dy, value) = (&dy.values[to..to + each], x.values[from]);
                dx.values[from] += dy.iter().zip(&kernel[at..]).map(|(dy, kernel)| dy * kernel).sum::<f64>();
                dk[at..].iter_mut().zip(dy).for_each(|(dk, dy)| *dk += dy * value);
            });
        }
        let mut parameters = vec![(kernel_place, dk)];
        parameters.extend(bias_place.map(|place| (place, slopes.sum_by_channel(slopes, |_, dy, _| dy))));
        (vec![dx], parameters)
    };
    (y, Backward::new(back))
}

/// What becomes of the values of a window.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pool {
    Sum,
    MeanOfImage,
    MeanOfAll,
}

pub(crate) fn pool(x: &Tensor, slide: Slide, how: Pool) -> (Tensor, Backward) {
    let channels = x.channels();
    let counts = if how == Pool::Sum {
        vec![1.0; slide.output[0] * slide.output[1]]
    } else {
        slide.counts(how == Pool::MeanOfAll)
    };
    let shape = [slide.output[0], slide.output[1], channels];
    let mut y = Tensor::zeros(x.batch, &shape);
    let (from_size, to_size) = (x.count(), y.count());
    for (x, y) in x.values.chunks_exact(from_size).zip(y.values.chunks_exact_mut(to_size)) {
        slide.each(|to, _, from| {
            (0..channels).for_each(|c| y[to * channels + c] += x[from * channels + c] / counts[to]);
        });
    }
    let input = x.shape.clone();
    let back = move |dy: &Tensor| {
        let mut dx = Tensor::zeros(dy.batch, &input);
        for (dx, dy) in dx.values.chunks_exact_mut(from_size).zip(dy.values.chunks_exact(to_size)) {
            slide.each(|to, _, from| {
                (0..channels).for_each(|c| dx[from * channels + c] += dy[to * channels + c] / counts[to]);
            });
        }
        dx
    };
    (y, Backward::one(back))
}

pub(crate) fn largest(x: &Tensor, slide: &Slide, context: &mut Context<'_>) -> (Tensor, Backward) {
    let channels = x.channels();
    let mut y = Tensor::zeros(x.batch, &[slide.output[0], slide.output[1], channels]);
    y.values.fill(f64::NEG_INFINITY);
    let (from_size, to_size) = (x.count(), y.count());
    // Where each value of the output comes from, and by how much it wins.
    let (mut winners, mut leads) = (vec![0; y.values.len()], vec![f64::INFINITY; y.values.len()]);
    for sample in 0..x.batch {
        slide.each(|to, _, from| {
            for c in 0..channels {
                let (from, to) = (sample * from_size + from * channels + c, sample * to_size + to * channels + c);
                let (new, old) = (x.values[from], y.values[to]);
                if new > old {
                    (y.values[to], winners[to], leads[to]) = (new, from, new - old);
                } else if new < old {
                    leads[to] = leads[to].min(old - new);
                }
            }
        });
    }
    context.kinks(&leads, &[0.0]);
    let input = x.shape.clone();
    let back = move |dy: &Tensor| {
        let mut dx = Tensor::zeros(dy.batch, &input);
        winners.iter().zip(&dy.values).for_each(|(&from, dy)| dx.values[from] += dy);
        dx
    };
    (y, Backward::one(back))
}
