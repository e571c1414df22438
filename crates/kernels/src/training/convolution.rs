use std::ops::Range;

use crate::parallel::{Divide as _, Parts as _};

use super::elementwise::{BLOCK, pass_on};
use super::fold::{Fold, clip_and_sum, join, slope_and_sum};
use super::parameters::Parameters;
use super::smooth;
use super::step::{Inputs, Pass, Step};
use super::windows::{Values, rotate};
use super::winograd::{self, Kernels};
use crate::geometry::Geometry;
use crate::linalg::{Epilogue, Matrix, Multiplier, Right, Scale, matmul_at_b};
use crate::memory::{Aligned, OutOfMemory, scratch};

/// A convolution or a dense layer, with the layers that are folded into it.
#[derive(Debug)]
pub(super) struct Convolution {
    geometry: Geometry,
    groups: usize,
    filters: usize,
    kernel: usize,
    fold: Fold,
    multiplier: Multiplier,
    /// Whether a gradient of the input is needed.
    input_wants: bool,
    /// For each group, the kernel as the forward pass and as the backward pass reads it.
    packed: Vec<(Right, Right)>,
    /// The kernel for Winograd's method, which replaces `packed` in convolutions that it makes faster. It is not used with bf16, because its
    /// transforms would round once more, and amplify the errors.
    winograd: Option<(Kernels, Kernels)>,
    /// If a unit computes the input's gradient as a convolution of the output's gradient, its geometry.
    rotated: Option<Geometry>,
    /// A copy of the kernel, scaled or rotated.
    copy: Vec<f32>,
    /// The stamp of the parameters from which the packed forms were made.
    stamp: Option<u64>,
    /// The derivatives of the function at the end, from the last training pass.
    slopes: Aligned,
    sums: Vec<f32>,
    partial: Vec<f32>,
    /// The kernel's gradient, if it is only needed for that of gamma.
    spare: Vec<f32>,
}

impl Convolution {
    pub(super) fn new(
        geometry: Geometry,
        groups: usize,
        kernel: usize,
        fold: Fold,
        multiplier: Multiplier,
        input_wants: bool,
    ) -> Self {
        let (isa, filters) = (fold.isa, fold.channels);
        let by_unit = matches!(multiplier, Multiplier::Half(_));
        let suits = !by_unit && winograd::suits(&geometry, groups, filters);
        let rotates = by_unit && groups == 1 && !geometry.is_pointwise();
        Self {
            geometry,
            groups,
            filters,
            kernel,
            winograd: suits.then(|| (Kernels::new(isa), Kernels::new(isa))),
            rotated: if rotates { geometry.rotated(filters) } else { None },
            packed: (0..groups).map(|_| (Right::new(multiplier), Right::new(multiplier))).collect(),
            fold,
            multiplier,
            input_wants,
            copy: Vec::new(),
            stamp: None,
            slopes: Aligned::default(),
            sums: vec![0.0; filters],
            partial: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// The number of values under a window of one group.
    fn inner(&self) -> usize {
        self.geometry.window[0] * self.geometry.window[1] * self.geometry.input[2] / self.groups
    }

    fn channels(&self, group: usize) -> Range<usize> {
        let each = self.geometry.input[2] / self.groups;
        group * each..(group + 1) * each
    }

    fn refresh(&mut self, parameters: &mut Parameters) {
        let stamp = self.fold.stamp(parameters, self.kernel);
        if self.stamp.replace(stamp) == Some(stamp) {
            return;
        }
        parameters.count_packing();
        self.fold.refresh(parameters);
        let (inner, filters, each) = (self.inner(), self.filters, self.filters / self.groups);
        let (kernel, scale, wants) = (parameters.values(self.kernel), &self.fold.scale, self.input_wants);
        let has_scale = self.fold.norm.is_some();
        if let Some((forward, backward)) = &mut self.winograd {
            let sides = [self.geometry.input[2], filters];
            let mut scaled = Vec::new();
            let mut kernel = kernel;
            if has_scale {
                scaled.extend_from_slice(kernel);
                self.fold.scale_rows(&mut scaled);
                kernel = &scaled;
            }
            forward.transform(kernel, sides);
            if wants {
                self.copy.resize(kernel.len(), 0.0);
                rotate(self.fold.isa, kernel, sides, &mut self.copy);
                backward.transform(&self.copy, [sides[1], sides[0]]);
            }
            return;
        }
        let rotates = wants && self.rotated.is_some();
        if rotates {
            self.copy.resize(kernel.len(), 0.0);
            rotate(self.fold.isa, kernel, [self.geometry.input[2], filters], &mut self.copy);
        }
        let (rotated, channels) = (&self.copy, self.geometry.input[2]);
        self.packed.par_iter_mut().enumerate().for_each(|(group, (forward, backward))| {
            let kernel = &kernel[group * each..];
            let scale = &scale[group * each..][..each];
            let (columns, rows) =
                if has_scale { (Scale::Columns(scale), Scale::Rows(scale)) } else { (Scale::One, Scale::One) };
            forward.pack([inner, each], kernel, [filters, 1], columns);
            if rotates {
                backward.pack([rotated.len() / channels, channels], rotated, [channels, 1], rows);
            } else if wants {
                backward.pack([each, inner], kernel, [1, filters], rows);
            }
        });
    }

    /// Computes `y` and, if `slopes` is not empty, the derivatives of the function at the end.
    fn compute(&self, x: &Inputs<'_>, y: &mut [f32], slopes: &mut [f32]) {
        let (geometry, filters, each) = (&self.geometry, self.filters, self.filters / self.groups);
        let (x, other) = (x.get(0), self.fold.joins.then(|| x.get(1)));
        let (isa, limits) = (self.fold.isa, self.fold.clip);
        let clip = if other.is_some() { None } else { limits };
        if let Some((kernels, _)) = &self.winograd {
            let epilogue = Epilogue { accumulate: false, bias: self.fold.shift(), clip };
            winograd::convolve(geometry, x, kernels, filters, y, epilogue);
            if let Some(other) = other {
                let parts = y.par_chunks_mut(BLOCK).zip(other.par_chunks(BLOCK));
                parts.for_each(|(y, other)| join(isa, other, limits, y));
            }
            return;
        }
        let rows = y.len() / filters;
        let block = self.rows_each(geometry, rows);
        Values::lend(self.multiplier, isa, (geometry, self.groups), x, |values| {
            let work = |task: usize, y: &mut [f32], slopes: Option<&mut [f32]>| {
                let rows = y.len() / filters;
                for (group, (packed, _)) in self.packed.iter().enumerate() {
                    let bias = self.fold.shift().map(|shift| &shift[group * each..][..each]);
                    let epilogue = Epilogue { accumulate: false, bias, clip };
                    let (pixels, y) = (task * block..task * block + rows, &mut y[group * each..]);
                    values.multiply(geometry, pixels, &self.channels(group), packed, y, filters, epilogue);
                }
                if let Some(other) = other {
                    join(isa, &other[task * block * filters..][..y.len()], limits, y);
                }
                // The block is still in the cache.
                if let Some(f) = self.fold.function {
                    smooth::finish(isa, f, y, slopes);
                }
            };
            let blocks = y.par_chunks_mut(block * filters);
            if slopes.is_empty() {
                return blocks.enumerate().for_each(|(task, y)| work(task, y, None));
            }
            let blocks = blocks.zip(slopes.par_chunks_mut(block * filters)).enumerate();
            blocks.for_each(|(task, (y, slopes))| work(task, y, Some(slopes)));
        });
    }

    /// The number of output pixels of a geometry that one task takes, out of `rows`. They are whole tiles, and so few that the task's part
    /// of the gathered matrix stays in the second-level cache. If windows are read where they lie, they are whole lines of one image.
    fn rows_each(&self, geometry: &Geometry, rows: usize) -> usize {
        let tile = self.multiplier.rows();
        if geometry.read_in_place(self.multiplier, self.groups).is_some() {
            let [height, width] = geometry.output;
            let most = (rows.div_ceil(8).min(384) / width).clamp(1, height);
            return (1..=most).rev().find(|lines| height.is_multiple_of(*lines)).unwrap_or(1) * width;
        }
        // The task's part of a wide result must fit in the cache too.
        let fitting = match self.multiplier {
            // For a unit, rows are made part by part, so they always fit; and every task reads all panels again, which may have many MiB.
            Multiplier::Half(_) => 192,
            Multiplier::Single(_) if self.geometry.is_pointwise() => 96,
            Multiplier::Single(_) => (128 * 1024 / self.inner().max(1)).clamp(tile, 192),
        };
        fitting.min(rows.div_ceil(8)).next_multiple_of(tile)
    }
}

impl Step for Convolution {
    fn forward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &mut [f32], pass: &mut Pass<'_>) {
        self.refresh(parameters);
        let mut slopes = std::mem::take(&mut self.slopes);
        // If no gradient goes back through this layer, no memory has been reserved.
        let kept = if matches!(pass, Pass::Training(_)) { slopes.len().min(self.kept() * x.batch) } else { 0 };
        self.compute(x, y, &mut slopes[..kept]);
        self.slopes = slopes;
    }

    fn backward(&mut self, parameters: &mut Parameters, x: &Inputs<'_>, y: &[f32], dy: &mut [f32]) {
        if self.fold.function.is_some() {
            let slopes = &self.slopes[..dy.len()];
            slope_and_sum(self.fold.isa, dy, slopes, &mut self.sums, &mut self.partial);
        } else if self.fold.clip.is_some() || self.fold.needs_sums(parameters) {
            clip_and_sum(self.fold.isa, dy, y, self.fold.clip, &mut self.sums, &mut self.partial);
        }
        let needs_kernel = self.fold.needs_kernel(parameters, self.kernel);
        let trains = parameters.trains(self.kernel);
        let mut gradient = if trains { parameters.take(self.kernel) } else { std::mem::take(&mut self.spare) };
        if needs_kernel {
            gradient.resize(parameters.values(self.kernel).len(), 0.0);
            let (rows, each, x) = (dy.len() / self.filters, self.filters / self.groups, x.get(0));
            let framed = self.geometry.read_in_place(self.multiplier, self.groups);
            if let Some(unit) = framed {
                self.geometry.kernel_gradient(unit, x, (dy, self.filters), &mut gradient);
            } else if self.winograd.is_some() {
                winograd::kernel_gradient(self.fold.isa, &self.geometry, x, dy, self.filters, &mut gradient);
            }
            for group in (0..self.groups).filter(|_| framed.is_none() && self.winograd.is_none()) {
                let channels = self.channels(group);
                let fill = |rows: Range<usize>, part: Range<usize>, out: &mut [f32]| {
                    self.geometry.gather(x, rows, &part, &channels, out, part.len());
                };
                let left = match self.geometry.is_pointwise() {
                    true => Matrix::Given(&x[channels.start..], self.geometry.input[2]),
                    false => Matrix::Made(&fill),
                };
                let (right, result) = (&dy[group * each..], &mut gradient[group * each..]);
                let left = (left, self.inner());
                matmul_at_b(self.multiplier, rows, left, (right, self.filters), each, (result, self.filters));
            }
        }
        self.fold.write_gradients(parameters, self.kernel, &mut gradient, &self.sums);
        if trains { parameters.give(self.kernel, gradient) } else { self.spare = gradient }
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
        // The gradient of a sum is that of each of its values.
        if place == 1 {
            return pass_on(dy, dx, accumulate);
        }
        let (geometry, filters, each, inner) = (&self.geometry, self.filters, self.filters / self.groups, self.inner());
        let width = geometry.input[2];
        if let Some((_, kernels)) = &self.winograd {
            let rotated =
                geometry.rotated(filters).expect("Winograd's method is chosen only for padding of less than a window");
            winograd::convolve(&rotated, dy, kernels, width, dx, Epilogue::plain(accumulate));
            return;
        }
        if let Some(rotated) = &self.rotated {
            let (block, packed) = (self.rows_each(rotated, dx.len() / width), &self.packed[0].1);
            Values::lend(self.multiplier, self.fold.isa, (rotated, 1), dy, |values| {
                dx.par_chunks_mut(block * width).enumerate().for_each(|(task, dx)| {
                    let pixels = task * block..task * block + dx.len() / width;
                    values.multiply(rotated, pixels, &(0..filters), packed, dx, width, Epilogue::plain(accumulate));
                });
            });
            return;
        }
        if geometry.is_pointwise() {
            let block = self.rows_each(geometry, dy.len() / filters);
            dx.par_chunks_mut(block * width).zip(dy.par_chunks(block * filters)).for_each(|(dx, dy)| {
                for (group, (_, packed)) in self.packed.iter().enumerate() {
                    let dx = &mut dx[self.channels(group).start..];
                    let rows = dy.len() / filters;
                    packed.multiply(rows, &dy[group * each..], filters, dx, width, Epilogue::plain(accumulate));
                }
            });
            return;
        }
        let (pixels, values) = (geometry.pixels(), geometry.input_values());
        let block = self.rows_each(geometry, pixels);
        dx.par_chunks_mut(values).zip(dy.par_chunks(pixels * filters)).for_each(|(dx, dy)| {
            if !accumulate {
                dx.fill(0.0);
            }
            for (group, (_, packed)) in self.packed.iter().enumerate() {
                for first in (0..pixels).step_by(block) {
                    let rows = block.min(pixels - first);
                    scratch(rows * inner, |values| {
                        let dy = &dy[first * filters + group * each..];
                        packed.multiply(rows, dy, filters, values, inner, Epilogue::plain(false));
                        geometry.scatter(dx, first..first + rows, &self.channels(group), values);
                    });
                }
            }
        });
    }

    fn kept(&self) -> usize {
        if self.fold.function.is_some() { self.geometry.pixels() * self.filters } else { 0 }
    }

    fn reserve(&mut self, batch: usize) -> Result<(), OutOfMemory> {
        let values = self.kept() * batch;
        if self.slopes.len() < values { self.slopes.grow(values, "values and gradients") } else { Ok(()) }
    }

    fn keeps_inputs(&self, parameters: &Parameters) -> bool {
        self.fold.needs_kernel(parameters, self.kernel)
    }

    fn keeps_output(&self) -> bool {
        self.fold.clip.is_some()
    }
}
