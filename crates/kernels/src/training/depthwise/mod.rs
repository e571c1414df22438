//! Depthwise convolutions and their gradients.
//!
//! - `columns` has kernels that are compiled for the windows of known networks: the sums of several columns are in registers;
//! - `any` computes all other windows, several output channels per input channel, and the input's gradient where windows have strides.

mod any;
mod columns;

use crate::parallel::{Divide as _, Parts as _};

use super::fold::{Fold, PARTS, clip_and_sum, clip_rows, part, reduce, sum_rows};
use super::parameters::Parameters;
use super::step::{Inputs, Pass, Step};
use crate::geometry::Geometry;
use crate::inference::is_unrolled;

/// A depthwise convolution, with the layers that are folded into it.
#[derive(Debug)]
pub(super) struct Depthwise {
    geometry: Geometry,
    /// Number of output channels per input channel.
    multiplier: usize,
    kernel: usize,
    fold: Fold,
    /// The kernel, multiplied by the fold's scale, `[tap, channel]`.
    scaled: Vec<f32>,
    /// The convolution that computes the input's gradient, if one does.
    rotated: Option<Rotated>,
    /// The stamp of the parameters from which the scaled kernel was made.
    stamp: Option<u64>,
    /// The output's gradient, summed per channel.
    sums: Vec<f32>,
    /// For each part of the batch, the scaled kernel's gradient and then the sums.
    partial: Vec<f32>,
    /// The kernel's gradient, if it is only needed for that of gamma.
    spare: Vec<f32>,
}

/// A convolution of the output's gradient whose result is the input's gradient.
#[derive(Debug)]
struct Rotated {
    geometry: Geometry,
    /// The scaled kernel, from the last tap to the first.
    kernel: Vec<f32>,
    /// A zero for each channel, with which sums begin.
    zeros: Vec<f32>,
}

/// No limits.
const ALL: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

impl Depthwise {
    pub(super) fn new(geometry: Geometry, multiplier: usize, kernel: usize, fold: Fold) -> Self {
        let rotated = if is_unrolled(&geometry, multiplier) { geometry.rotated(fold.channels) } else { None };
        Self {
            geometry,
            multiplier,
            kernel,
            scaled: Vec::new(),
            rotated: rotated.map(|geometry| Rotated { geometry, kernel: Vec::new(), zeros: vec![0.0; fold.channels] }),
            stamp: None,
            sums: vec![0.0; fold.channels],
            partial: Vec::new(),
            spare: Vec::new(),
            fold,
        }
    }

    fn refresh(&mut self, parameters: &mut Parameters) {
        let stamp = self.fold.stamp(parameters, self.kernel);
        if self.stamp.replace(stamp) == Some(stamp) {
            return;
        }
        parameters.count_packing();
        self.fold.refresh(parameters);
        self.scaled.clear();
        self.scaled.extend_from_slice(parameters.values(self.kernel));
        if self.fold.norm.is_some() {
            self.fold.scale_rows(&mut self.scaled);
        }
        if let Some(Rotated { kernel, .. }) = &mut self.rotated {
            kernel.clear();
            self.scaled.chunks_exact(self.fold.channels).rev().for_each(|tap| kernel.extend_from_slice(tap));
        }
    }

    /// The sizes of an image and of an image's output.
    fn sizes(&self) -> [usize; 2] {
        [self.geometry.input.iter().product(), self.geometry.pixels() * self.fold.channels]
    }
}

impl Step for Depthwise {
    fn forward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], _: &mut Pass<'_>) {
        self.refresh(parameters);
        let (geometry, fold, kernel, x) = (&self.geometry, &self.fold, &self.scaled, x.get(0));
        let (clip, [size, _]) = (fold.clip.unwrap_or(ALL), self.sizes());
        let unrolled = is_unrolled(geometry, self.multiplier);
        y.par_chunks_mut(geometry.output[1] * fold.channels).enumerate().for_each(|(at, y)| {
            let (image, row) = (at / geometry.output[0], at % geometry.output[0]);
            let x = &x[image * size..][..size];
            if unrolled {
                columns::row(fold.isa, geometry, x, row, kernel, Some(&fold.shift), clip, y);
            } else {
                any::row(fold.isa, geometry, self.multiplier, x, row, kernel, &fold.shift, clip, y);
            }
        });
    }

    fn backward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &[f32], dy: &mut [f32]) {
        let needs_kernel = self.fold.needs_kernel(parameters, self.kernel);
        let trains = parameters.trains(self.kernel);
        let mut gradient = if trains { parameters.take(self.kernel) } else { std::mem::take(&mut self.spare) };
        let needs_sums = self.fold.needs_sums(parameters);
        if !needs_kernel && (needs_sums || self.fold.clip.is_some()) {
            clip_and_sum(self.fold.isa, dy, y, self.fold.clip, &mut self.sums, &mut self.partial);
        }
        if needs_kernel {
            // Each task takes some images, one after the other, so that an image's gradient is still in the cache after the clip.
            let (geometry, multiplier, fold, [size, out]) = (&self.geometry, self.multiplier, &self.fold, self.sizes());
            let (unrolled, all, channels) = (is_unrolled(geometry, multiplier), self.scaled.len(), fold.channels);
            let (x, each) = (x.get(0), part(dy.len() / out.max(1)));
            self.partial.clear();
            self.partial.resize(PARTS * (all + channels), 0.0);
            let parts = dy.par_chunks_mut(each * out).zip(self.partial.par_chunks_mut(all + channels));
            parts.enumerate().for_each(|(at, (dy, partial))| {
                let (gradient, sums) = partial.split_at_mut(all);
                for (image, dy) in (at * each..).zip(dy.chunks_exact_mut(out)) {
                    match fold.clip {
                        Some((least, most)) => clip_rows(fold.isa, dy, &y[image * out..][..out], sums, least, most),
                        None if needs_sums => sum_rows(fold.isa, dy, sums),
                        None => {}
                    }
                    let x = &x[image * size..][..size];
                    if unrolled {
                        columns::add_kernel_gradient(fold.isa, geometry, x, dy, gradient);
                    } else {
                        any::add_kernel_gradient(fold.isa, geometry, multiplier, x, dy, gradient);
                    }
                }
            });
            gradient.clear();
            gradient.resize(all + channels, 0.0);
            reduce(&self.partial, &mut gradient);
            self.sums.copy_from_slice(&gradient[all..]);
            gradient.truncate(all);
        }
        self.fold.write_gradients(parameters, self.kernel, &mut gradient, &self.sums);
        if trains { parameters.give(self.kernel, gradient) } else { self.spare = gradient }
    }

    fn input_gradient(&mut self, _: usize, _: &Inputs<'_>, _: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        let (geometry, fold, [_, out]) = (&self.geometry, &self.fold, self.sizes());
        dx.par_chunks_mut(geometry.input[1] * geometry.input[2]).enumerate().for_each(|(at, dx)| {
            let (image, row) = (at / geometry.input[0], at % geometry.input[0]);
            let dy = &dy[image * out..][..out];
            if let Some(Rotated { geometry, kernel, zeros }) = &self.rotated {
                let start = if accumulate { None } else { Some(zeros.as_slice()) };
                return columns::row(fold.isa, geometry, dy, row, kernel, start, ALL, dx);
            }
            if !accumulate {
                dx.fill(0.0);
            }
            any::input_gradient_row(fold.isa, geometry, self.multiplier, dy, row, &self.scaled, dx);
        });
    }

    fn keeps_inputs(&self, parameters: &Parameters) -> bool {
        self.fold.needs_kernel(parameters, self.kernel)
    }

    fn keeps_output(&self) -> bool {
        self.fold.clip.is_some()
    }
}

#[cfg(test)]
mod tests {
    use injerto_graph::Padding;

    use super::*;
    use crate::isa::Isa;

    /// Compares the kernels that are compiled for some windows with those for all, on every instruction set of this machine: images that are
    /// narrower than a group of columns and wider, channels that fill no vector, and zeros on one side that are not stored, with rows of a
    /// window that are not neighbours.
    #[test]
    fn compiled_windows_give_the_sums_of_any_window() {
        let value = |at: usize| ((at * 7919 + 13) % 1009) as f32 / 500.0 - 1.0;
        let many = |count: usize, seed: usize| (0..count).map(|at| value(at + seed)).collect::<Vec<f32>>();
        let close = |what: &str, found: &[f32], expected: &[f32]| {
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                assert!((found - expected).abs() < 1e-4, "{what}: {found} for {expected} at {at}");
            }
        };
        let sides: &[usize] = if cfg!(miri) { &[3, 9] } else { &[1, 2, 5, 7, 8, 9, 14, 17] };
        let isas = [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter_map(Isa::present);
        for (isa, &side) in isas.flat_map(|isa| sides.iter().map(move |side| (isa.for_loops(), side))) {
            for (window, stride) in [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1)] {
                let zeros = [([[0, 0], [0, 0]], 1), ([[1, 0], [0, 2]], 2)];
                let channels = if cfg!(miri) { vec![5] } else { vec![3, 16, 50] };
                for (channels, (zeros, down)) in channels.into_iter().flat_map(|c| zeros.map(|zeros| (c, zeros))) {
                    let added = |axis: usize| zeros[axis][0] + zeros[axis][1];
                    let input = [side + added(0), side + 1 + added(1), channels];
                    let geometry = Geometry::new(input, [window; 2], [stride; 2], Padding::Same, [down, 1]);
                    let geometry = geometry.with_padding(zeros);
                    assert!(is_unrolled(&geometry, 1));
                    let what = format!("{geometry:?}");
                    let (x, dy) = (many(side * (side + 1) * channels, 0), many(geometry.pixels() * channels, 5));
                    let (kernel, shift) = (many(window * window * channels, 3), many(channels, 9));
                    for row in 0..geometry.output[0] {
                        let [mut found, mut expected] = [(); 2].map(|()| many(geometry.output[1] * channels, 1));
                        let clip = (-2.0, 3.0);
                        columns::row(isa, &geometry, &x, row, &kernel, Some(&shift), clip, &mut found);
                        any::row(isa, &geometry, 1, &x, row, &kernel, &shift, clip, &mut expected);
                        close(&what, &found, &expected);
                    }
                    let [mut found, mut expected] = [(); 2].map(|()| many(kernel.len(), 2));
                    columns::add_kernel_gradient(isa, &geometry, &x, &dy, &mut found);
                    any::add_kernel_gradient(isa, &geometry, 1, &x, &dy, &mut expected);
                    close(&format!("{what}, the kernel's gradient"), &found, &expected);
                    let Some(rotated) = geometry.rotated(channels) else { continue };
                    let backwards: Vec<f32> = kernel.chunks(channels).rev().flatten().copied().collect();
                    for row in 0..side {
                        let [mut found, mut expected] = [(); 2].map(|()| many((side + 1) * channels, 4));
                        columns::row(isa, &rotated, &dy, row, &backwards, None, ALL, &mut found);
                        any::input_gradient_row(isa, &geometry, 1, &dy, row, &kernel, &mut expected);
                        close(&format!("{what}, the input's gradient"), &found, &expected);
                    }
                }
            }
        }
    }
}
