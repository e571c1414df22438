//! Normalisations whose statistics are computed from the image: layer, group and global response normalisation.

use super::view::{Region, View};
use crate::bf16::Bf16;
use crate::element::Element;
use crate::simd::{Simd, per_isa, wide_or_portable};

/// The sets of values that are normalised together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Over {
    /// The channels of each pixel (layer normalisation).
    Pixel,
    /// Each of so many groups of channels, over all pixels (group normalisation).
    Groups(usize),
    /// Each channel over all pixels, by its norm instead of mean and variance (global response normalisation).
    Response,
}

/// A normalisation.
#[derive(Debug, Clone)]
pub(crate) struct Normalise {
    pub over: Over,
    pub epsilon: f64,
    /// One factor per channel.
    pub gamma: Vec<f32>,
    /// One summand per channel.
    pub beta: Vec<f32>,
}

/// The arguments of one normalisation.
pub(crate) struct Job<'a, T> {
    pub normalise: &'a Normalise,
    pub input: View<T>,
    pub output: View<T>,
    /// `[height, width, channels]`.
    pub shape: [usize; 3],
    pub region: Region,
}

per_isa! {
    /// Computes the region of the output.
    pub(super) run = kernel::<S, f32>(Job<'_, f32>)
}

wide_or_portable! {
    /// Computes the region of the output.
    pub(super) run_bf16 = kernel::<S, Bf16>(Job<'_, Bf16>)
}

#[inline(always)]
unsafe fn kernel<S: Simd, T: Element>(job: &Job<'_, T>) {
    for image in job.region.images.clone() {
        // SAFETY: the views hold all pixels of the image (see `View`); the instructions of `S` are there.
        unsafe {
            let whole = match job.normalise.over {
                Over::Pixel => None,
                Over::Groups(groups) => Some(of_groups(job, image, groups)),
                Over::Response => Some(of_norms(job, image)),
            };
            for y in job.region.rows.clone() {
                for x in 0..job.shape[1] {
                    let from = job.input.at(image, y as isize, x as isize).cast_const();
                    let to = job.output.at(image, y as isize, x as isize);
                    match &whole {
                        None => pixel::<S, T>(job.normalise, from, to),
                        Some((scale, shift)) => affine::<S, T>(scale, shift, from, to),
                    }
                }
            }
        }
    }
}

/// Computes `x * scale + shift` for the channels of a pixel.
#[inline(always)]
unsafe fn affine<S: Simd, T: Element>(scale: &[f32], shift: &[f32], from: *const T, to: *mut T) {
    let channels = scale.len();
    let mut c = 0;
    while c < channels {
        let count = channels - c;
        // SAFETY: the pixels and both lists have `channels` values, and no more are read or written; the instructions of `S` are there.
        unsafe {
            let (scale, shift) =
                (S::load_up_to(scale.as_ptr().add(c), count), S::load_up_to(shift.as_ptr().add(c), count));
            T::store_up_to::<S>(to.add(c), S::fma(T::load_up_to::<S>(from.add(c), count), scale, shift), count);
        }
        c += S::LANES;
    }
}

/// Normalises the channels of a pixel.
#[inline(always)]
unsafe fn pixel<S: Simd, T: Element>(normalise: &Normalise, from: *const T, to: *mut T) {
    let channels = normalise.gamma.len();
    let whole = channels / S::LANES * S::LANES;
    // SAFETY: both pixels have `channels` values, of which no more are read or written; the instructions of `S` are there.
    unsafe {
        let mut all = S::splat(0.0);
        for c in (0..whole).step_by(S::LANES) {
            all = S::add(all, T::load::<S>(from.add(c)));
        }
        if whole < channels {
            all = S::add(all, T::load_up_to::<S>(from.add(whole), channels - whole));
        }
        let mean = S::sum(all) / channels as f32;
        let (middle, mut squares) = (S::splat(mean), S::splat(0.0));
        for c in (0..whole).step_by(S::LANES) {
            let x = S::sub(T::load::<S>(from.add(c)), middle);
            squares = S::fma(x, x, squares);
        }
        let mut variance = S::sum(squares);
        for c in whole..channels {
            let x = (*from.add(c)).get() - mean;
            variance += x * x;
        }
        let inverse = (1.0 / (f64::from(variance) / channels as f64 + normalise.epsilon).sqrt()) as f32;
        let inverse = S::splat(inverse);
        let mut c = 0;
        while c < channels {
            let count = channels - c;
            let gamma = S::load_up_to(normalise.gamma.as_ptr().add(c), count);
            let beta = S::load_up_to(normalise.beta.as_ptr().add(c), count);
            let x = S::mul(S::sub(T::load_up_to::<S>(from.add(c), count), middle), inverse);
            T::store_up_to::<S>(to.add(c), S::fma(x, gamma, beta), count);
            c += S::LANES;
        }
    }
}

/// For each channel, the sum of `f(channel, value)` over all pixels. A row is summed in single precision, and the rows in double precision.
#[inline(always)]
unsafe fn sums<T: Element>(job: &Job<'_, T>, image: usize, f: impl Fn(usize, f32) -> f32) -> Vec<f64> {
    let [height, width, channels] = job.shape;
    let (mut all, mut row) = (vec![0.0_f64; channels], vec![0.0_f32; channels]);
    for y in 0..height {
        row.fill(0.0);
        for x in 0..width {
            let pixel = job.input.at(image, y as isize, x as isize).cast_const();
            // SAFETY: the view holds the pixel with its channels, which no code writes while this step runs.
            let pixel = unsafe { std::slice::from_raw_parts(pixel, channels) };
            row.iter_mut().zip(pixel).enumerate().for_each(|(c, (sum, x))| *sum += f(c, x.get()));
        }
        all.iter_mut().zip(&row).for_each(|(all, row)| *all += f64::from(*row));
    }
    all
}

/// The scale and shift of each channel that follow from the mean and the variance of its group.
#[inline(always)]
unsafe fn of_groups<T: Element>(job: &Job<'_, T>, image: usize, groups: usize) -> (Vec<f32>, Vec<f32>) {
    let Normalise { epsilon, gamma, beta, .. } = job.normalise;
    let [height, width, channels] = job.shape;
    let each = channels / groups;
    let count = (height * width * each) as f64;
    // SAFETY: the view holds all pixels of the image.
    let sum = unsafe { sums(job, image, |_, x| x) };
    let mean: Vec<f64> = sum.chunks_exact(each).map(|sums| sums.iter().sum::<f64>() / count).collect();
    let middle: Vec<f32> = (0..channels).map(|c| mean[c / each] as f32).collect();
    // SAFETY: the view holds all pixels of the image.
    let squares = unsafe { sums(job, image, |c, x| (x - middle[c]) * (x - middle[c])) };
    let inverse: Vec<f64> = squares
        .chunks_exact(each)
        .map(|squares| 1.0 / (squares.iter().sum::<f64>() / count + epsilon).sqrt())
        .collect();
    let scale: Vec<f64> = (0..channels).map(|c| f64::from(gamma[c]) * inverse[c / each]).collect();
    let shift = (0..channels).map(|c| (f64::from(beta[c]) - f64::from(middle[c]) * scale[c]) as f32).collect();
    (scale.into_iter().map(|scale| scale as f32).collect(), shift)
}

/// The scale and shift of each channel that follow from its norm and the mean of all channels' norms.
#[inline(always)]
unsafe fn of_norms<T: Element>(job: &Job<'_, T>, image: usize) -> (Vec<f32>, Vec<f32>) {
    let Normalise { epsilon, gamma, beta, .. } = job.normalise;
    // SAFETY: the view holds all pixels of the image.
    let norms: Vec<f64> = unsafe { sums(job, image, |_, x| x * x) }.into_iter().map(f64::sqrt).collect();
    let whole = norms.iter().sum::<f64>() / norms.len() as f64 + epsilon;
    let scale = gamma.iter().zip(&norms).map(|(gamma, norm)| (1.0 + f64::from(*gamma) * norm / whole) as f32);
    (scale.collect(), beta.clone())
}
