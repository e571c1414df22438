//! The number formats in which a program stores the values between its steps, each with its kernels.

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

/// A number format, with the kernels that read and write it.
pub(crate) trait Format: Element + Debug {
    /// The instructions or the unit that a program is compiled for.
    type Hardware: Copy + Debug + Send + Sync;

    /// A convolution or a dense layer, with its packed weights.
    type Product: Debug + Send + Sync;

    /// Number of images that one thread takes through a step together, so that weights are used again while they are in the cache.
    const GROUP: usize;

    /// Whether products may be computed by minimal filtering, whose tiles need more zeros around their input.
    const MINIMAL: bool;

    /// How the weights of depthwise convolutions are arranged.
    const DEPTHWISE: depthwise::Order;

    /// The vectors for everything except products.
    fn vectors(hardware: Self::Hardware) -> Present;

    /// Prepares a product that reads `input`.
    fn prepare(
        hardware: Self::Hardware,
        weights: Weights,
        input: Placed,
        epilogue: Epilogue,
    ) -> Result<Self::Product, OutOfMemory>;

    /// Computes a region of a product.
    ///
    /// # Safety
    /// The views hold the region, the windows that it needs, and a vector beyond.
    unsafe fn multiply(hardware: Self::Hardware, product: &Self::Product, places: Places<Self>, region: Region);

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

    /// Copies an output of a program, as `f32`.
    ///
    /// # Safety
    /// Both views hold the images, and no other code accesses the output.
    unsafe fn copy_out(isa: Present, job: &simple::Out<Self>);

    /// These values as `f32`. If the format is another one, they are converted to `copy`.
    fn singles<'a>(values: &'a [Self], copy: &'a mut Vec<f32>) -> &'a [f32];

    /// Lets `work` write rows of `width` values in `f32`, and stores them in `rows`, `step` values apart. The second argument of `work` is the
    /// distance of the rows that it gets.
    fn write_rows(rows: &mut [Self], width: usize, step: usize, work: impl FnOnce(&mut [f32], usize));
}

/// The views of a product's values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<T> {
    pub input: View<T>,
    pub output: View<T>,
    /// Values that are added before the last function.
    pub residual: Option<View<T>>,
}

/// A convolution or a dense layer in `f32`.
#[derive(Debug)]
pub(crate) enum Single {
    Direct(Convolution),
    Minimal(Minimal),
}

/// The scaled weights of a product as a function of `k` and the filter, in double precision, and its bias in `f32`.
fn scaled(weights: &Weights) -> (impl Fn(usize, usize) -> f64 + '_, Vec<f32>) {
    let filters = weights.bias.len();
    let bias = weights.bias.iter().map(|&x| x as f32).collect();
    (move |k: usize, filter: usize| f64::from(weights.kernel[k * filters + filter]) * weights.scale[filter], bias)
}

impl Format for f32 {
    type Hardware = Present;
    type Product = Single;

    const GROUP: usize = 4;
    const MINIMAL: bool = true;
    const DEPTHWISE: depthwise::Order = depthwise::Order::Plain;

    fn vectors(hardware: Present) -> Present {
        hardware
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
    type Hardware = PresentUnit;
    type Product = Product;

    // Products are so much faster than in `f32` that reading the weights takes a large part of the time.
    const GROUP: usize = 8;
    const MINIMAL: bool = false;
    const DEPTHWISE: depthwise::Order = depthwise::Order::Pairs;

    fn vectors(hardware: PresentUnit) -> Present {
        hardware.vectors()
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
