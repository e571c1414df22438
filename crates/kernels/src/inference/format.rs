//! What a program does differently for each number format in which values lie between its steps.

use std::fmt::Debug;

use super::convolution::{self, Convolution};
use super::lowering::Weights;
use super::minimal::{self, Minimal};
use super::product::{self, Product};
use super::view::{Epilogue, Placed, Region, View};
use super::{depthwise, normalise, simple};
use crate::bf16::Bf16;
use crate::element::Element;
use crate::isa::Present;
use crate::linalg::PresentUnit;
use crate::memory::OutOfMemory;

/// A number format with the kernels that read and write it.
pub(crate) trait Format: Element + Debug {
    /// The instructions that a program is compiled for.
    type Means: Copy + Debug + Send + Sync;

    /// A convolution or a dense layer.
    type Product: Debug + Send + Sync;

    /// Images that go through a step together in one thread: enough that weights are used again while they are near.
    const GROUP: usize;

    /// Whether products may be computed by minimal filtering, whose tiles want more zeros around their input.
    const MINIMAL: bool;

    /// How the weights of depthwise convolutions lie.
    const DEPTHWISE: depthwise::Order;

    /// The vectors for everything but products.
    fn vectors(means: Self::Means) -> Present;

    /// Prepares a product that reads `input`.
    fn prepare(
        means: Self::Means,
        weights: Weights,
        input: Placed,
        epilogue: Epilogue,
    ) -> Result<Self::Product, OutOfMemory>;

    /// Computes a region of a product.
    ///
    /// # Safety
    /// The views hold the region, the windows that it needs, and a vector beyond.
    unsafe fn multiply(means: Self::Means, product: &Self::Product, places: Places<Self>, region: Region);

    /// Computes a region of a depthwise convolution.
    ///
    /// # Safety
    /// The views hold the region, the windows that it needs, and a vector beyond.
    unsafe fn depthwise(isa: Present, job: &depthwise::Job<'_, Self>);

    /// Computes a region of a normalisation.
    ///
    /// # Safety
    /// The views hold all pixels of the images.
    unsafe fn normalise(isa: Present, job: &normalise::Job<'_, Self>);

    /// Computes a region of a simple step.
    ///
    /// # Safety
    /// The views hold the region and what it is made of, with a vector beyond.
    unsafe fn simple(isa: Present, job: &simple::Job<'_, Self>);

    /// Copies a value to where it is `f32`.
    ///
    /// # Safety
    /// Both views hold the images, and nobody else touches the output.
    unsafe fn copy_out(isa: Present, job: &simple::Out<Self>);

    /// These values as `f32`; `copy` is room for them where they are not.
    fn singles<'a>(values: &'a [Self], copy: &'a mut Vec<f32>) -> &'a [f32];

    /// Lets `work` write rows of `width` values that are `step` values apart; `work` is told how far apart they are for it.
    fn write_rows(rows: &mut [Self], width: usize, step: usize, work: impl FnOnce(&mut [f32], usize));
}

/// Where a product finds its values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<T> {
    pub input: View<T>,
    pub output: View<T>,
    /// Added before the last function.
    pub residual: Option<View<T>>,
}

/// A product in `f32`.
#[derive(Debug)]
pub(crate) enum Single {
    Direct(Convolution),
    Minimal(Minimal),
}

/// Weights of a product as `weight(k, filter)`, each scaled in double precision and rounded once, and its bias.
fn scaled(weights: &Weights) -> (impl Fn(usize, usize) -> f64 + '_, Vec<f32>) {
    let filters = weights.bias.len();
    let bias = weights.bias.iter().map(|&x| x as f32).collect();
    (move |k: usize, filter: usize| f64::from(weights.kernel[k * filters + filter]) * weights.scale[filter], bias)
}

impl Format for f32 {
    type Means = Present;
    type Product = Single;

    const GROUP: usize = 4;
    const MINIMAL: bool = true;
    const DEPTHWISE: depthwise::Order = depthwise::Order::Plain;

    fn vectors(means: Present) -> Present {
        means
    }

    fn prepare(isa: Present, weights: Weights, input: Placed, epilogue: Epilogue) -> Result<Single, OutOfMemory> {
        let (scaled, bias) = scaled(&weights);
        let Weights { geometry, groups, form, .. } = weights;
        let channels = geometry.input[2];
        if let Some(form) = form {
            let kernel = |tap: usize, c: usize, filter: usize| scaled(tap * channels + c, filter);
            return Ok(Single::Minimal(Minimal::new(isa, form, geometry, kernel, &bias, epilogue)?));
        }
        let weight = |k: usize, filter: usize| scaled(k, filter) as f32;
        let steps = [input.row, input.pixel];
        Ok(Single::Direct(Convolution::new(isa, geometry, groups, steps, weight, &bias, epilogue)?))
    }

    unsafe fn multiply(isa: Present, product: &Single, places: Places<Self>, region: Region) {
        let Places { input, output, residual } = places;
        // SAFETY: the views hold the region, the windows that it needs, and a vector beyond.
        unsafe {
            match product {
                Single::Direct(convolution) => {
                    convolution::run(isa, &convolution::Job { convolution, input, output, residual, region });
                }
                Single::Minimal(minimal) => {
                    minimal::run(isa, &minimal::Job { minimal, input, output, residual, region });
                }
            }
        }
    }

    unsafe fn depthwise(isa: Present, job: &depthwise::Job<'_, Self>) {
        // SAFETY: the views hold the region, the windows that it needs, and a vector beyond.
        unsafe { depthwise::run(isa, job) }
    }

    unsafe fn normalise(isa: Present, job: &normalise::Job<'_, Self>) {
        // SAFETY: the views hold all pixels of the images.
        unsafe { normalise::run(isa, job) }
    }

    unsafe fn simple(isa: Present, job: &simple::Job<'_, Self>) {
        // SAFETY: the views hold the region and what it is made of, with a vector beyond.
        unsafe { simple::run(isa, job) }
    }

    unsafe fn copy_out(isa: Present, job: &simple::Out<Self>) {
        // SAFETY: both views hold the images.
        unsafe { simple::copy_out(isa, job) }
    }

    fn singles<'a>(values: &'a [Self], _copy: &'a mut Vec<f32>) -> &'a [f32] {
        values
    }

    fn write_rows(rows: &mut [Self], _width: usize, step: usize, work: impl FnOnce(&mut [f32], usize)) {
        work(rows, step);
    }
}

impl Format for Bf16 {
    type Means = PresentUnit;
    type Product = Product;

    // Products take so much less time that reading the weights takes a large part of it.
    const GROUP: usize = 8;
    const MINIMAL: bool = false;
    const DEPTHWISE: depthwise::Order = depthwise::Order::Pairs;

    fn vectors(means: PresentUnit) -> Present {
        means.vectors()
    }

    fn prepare(unit: PresentUnit, weights: Weights, input: Placed, epilogue: Epilogue) -> Result<Product, OutOfMemory> {
        let (scaled, bias) = scaled(&weights);
        let weight = |k: usize, filter: usize| scaled(k, filter) as f32;
        let steps = [input.row, input.pixel];
        Product::new(unit, weights.geometry, weights.groups, steps, weight, &bias, epilogue)
    }

    unsafe fn multiply(_unit: PresentUnit, product: &Product, places: Places<Self>, region: Region) {
        let Places { input, output, residual } = places;
        // SAFETY: the views hold the region, the windows that it needs, and a vector beyond.
        unsafe { product::run(&product::Job { product, input, output, residual, region }) }
    }

    unsafe fn depthwise(isa: Present, job: &depthwise::Job<'_, Self>) {
        // SAFETY: the views hold the region, the windows that it needs, and a vector beyond.
        unsafe { depthwise::run_bf16(isa, job) }
    }

    unsafe fn normalise(isa: Present, job: &normalise::Job<'_, Self>) {
        // SAFETY: the views hold all pixels of the images.
        unsafe { normalise::run_bf16(isa, job) }
    }

    unsafe fn simple(isa: Present, job: &simple::Job<'_, Self>) {
        // SAFETY: the views hold the region and what it is made of, with a vector beyond.
        unsafe { simple::run_bf16(isa, job) }
    }

    unsafe fn copy_out(isa: Present, job: &simple::Out<Self>) {
        // SAFETY: both views hold the images.
        unsafe { simple::copy_out_bf16(isa, job) }
    }

    fn singles<'a>(values: &'a [Self], copy: &'a mut Vec<f32>) -> &'a [f32] {
        copy.clear();
        copy.extend(values.iter().map(|value| value.value()));
        copy
    }

    fn write_rows(rows: &mut [Self], width: usize, step: usize, work: impl FnOnce(&mut [f32], usize)) {
        let mut own = vec![0.0; rows.len().div_ceil(step) * width];
        work(&mut own, width);
        for (row, own) in rows.chunks_mut(step).zip(own.chunks_exact(width)) {
            row.iter_mut().zip(own).for_each(|(to, value)| *to = Self::round(*value));
        }
    }
}
