use super::GREY;

/// A change of brightness and colours as torchvision's functional transforms define it (`_functional_tensor.py`), for values from
/// 0 to 255. All but [`Tone::Hue`] clip to this range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tone {
    /// All values times this: 0 is black.
    Brightness(f32),
    /// Distances from the image's mean grey times this: 0 is grey.
    Contrast(f32),
    /// Distances from each pixel's grey times this: 0 has no colours.
    Saturation(f32),
    /// The hue of each pixel plus this share of the circle of colours, from -0.5 to 0.5.
    Hue(f32),
    /// Distances from the image that a smoothing filter of three by three pixels makes times this: 0 is smooth. The outermost
    /// pixels stay.
    Sharpness(f32),
    /// So many of the eight bits of each value are kept.
    Posterize(u32),
    /// Values from this on are inverted.
    Solarize(f32),
    /// Each channel is stretched from 0 to 255.
    AutoContrast,
    /// The histogram of each channel becomes flat.
    Equalize,
}

impl Tone {
    /// Changes an image whose rows have `width` pixels.
    pub(super) fn apply(self, pixels: &mut [f32], width: usize, scratch: &mut Vec<f32>) {
        match self {
            Self::Brightness(factor) => pixels.iter_mut().for_each(|x| *x = between(*x, 0.0, factor)),
            Self::Contrast(factor) => {
                let pixels = pixels.as_chunks_mut::<3>().0;
                // A row at a time in single precision, which is quick and exact enough.
                let row = |row: &[[f32; 3]]| f64::from(row.iter().map(grey).sum::<f32>());
                let mean = (pixels.chunks_exact(width).map(row).sum::<f64>() / pixels.len() as f64) as f32;
                pixels.as_flattened_mut().iter_mut().for_each(|x| *x = between(*x, mean, factor));
            }
            Self::Saturation(factor) => {
                for pixel in pixels.as_chunks_mut::<3>().0 {
                    let grey = grey(pixel);
                    *pixel = pixel.map(|x| between(x, grey, factor));
                }
            }
            Self::Hue(shift) => {
                pixels.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| *pixel = turned(*pixel, shift))
            }
            Self::Sharpness(factor) => sharpen(pixels, width, factor, scratch),
            Self::Posterize(bits) => {
                let mask = (0xff_u32 << 8_u32.saturating_sub(bits)) as u8;
                pixels.iter_mut().for_each(|x| *x = f32::from(level(*x) & mask));
            }
            Self::Solarize(threshold) => {
                pixels.iter_mut().filter(|x| **x >= threshold).for_each(|x| *x = (255.0 - *x).clamp(0.0, 255.0));
            }
            Self::AutoContrast => {
                let pixels = pixels.as_chunks_mut::<3>().0;
                let (mut low, mut high) = ([f32::INFINITY; 3], [f32::NEG_INFINITY; 3]);
                for pixel in &*pixels {
                    low.iter_mut().zip(pixel).for_each(|(low, x)| *low = low.min(*x));
                    high.iter_mut().zip(pixel).for_each(|(high, x)| *high = high.max(*x));
                }
                for pixel in pixels {
                    for ((x, low), high) in pixel.iter_mut().zip(low).zip(high).filter(|((_, low), high)| high > low) {
                        *x = ((*x - low) * (255.0 / (high - low))).clamp(0.0, 255.0);
                    }
                }
            }
            Self::Equalize => (0..3).for_each(|channel| equalize(pixels.as_chunks_mut::<3>().0, channel)),
        }
    }
}

/// `factor` parts of the value and the rest of the other.
fn between(x: f32, other: f32, factor: f32) -> f32 {
    (factor * x + (1.0 - factor) * other).clamp(0.0, 255.0)
}

fn grey(pixel: &[f32; 3]) -> f32 {
    pixel.iter().zip(GREY).map(|(x, weight)| x * weight).sum()
}

/// A value as one of 256 levels.
fn level(x: f32) -> u8 {
    x.round() as u8
}

/// The pixel with another hue.
fn turned([r, g, b]: [f32; 3], shift: f32) -> [f32; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    let chroma = most - least;
    if chroma <= 0.0 {
        return [r, g, b];
    }
    let saturation = chroma / most;
    let [from_r, from_g, from_b] = [r, g, b].map(|x| (most - x) / chroma);
    let sixth = match () {
        () if most == r => from_b - from_g,
        () if most == g => 2.0 + from_r - from_b,
        () => 4.0 + from_g - from_r,
    };
    let hue = 6.0 * (sixth / 6.0 + shift).rem_euclid(1.0);
    let part = hue - hue.floor();
    let [p, q, t] = [saturation, saturation * part, saturation * (1.0 - part)].map(|less| most * (1.0 - less));
    match hue as u8 % 6 {
        0 => [most, t, p],
        1 => [q, most, p],
        2 => [p, most, t],
        3 => [p, q, most],
        4 => [t, p, most],
        _ => [most, p, q],
    }
}

fn sharpen(pixels: &mut [f32], width: usize, factor: f32, scratch: &mut Vec<f32>) {
    let row = width * 3;
    if width < 3 || pixels.len() < 3 * row {
        return;
    }
    scratch.clear();
    scratch.extend_from_slice(pixels);
    for (above, out) in scratch.windows(3 * row).step_by(row).zip(pixels[row..].chunks_exact_mut(row)) {
        for (at, out) in (3..).zip(&mut out[3..row - 3]) {
            let three = |row: usize| above[row + at - 3] + above[row + at] + above[row + at + 3];
            let smooth = (three(0) + three(row) + three(2 * row) + 4.0 * above[row + at]) / 13.0;
            *out = between(above[row + at], smooth, factor);
        }
    }
}

/// PIL's `ImageOps.equalize` for one channel.
fn equalize(pixels: &mut [[f32; 3]], channel: usize) {
    let mut histogram = [0_usize; 256];
    pixels.iter().for_each(|pixel| histogram[usize::from(level(pixel[channel]))] += 1);
    let last = histogram.iter().rev().find(|count| **count > 0).copied().unwrap_or(0);
    let step = (pixels.len() - last) / 255;
    if step == 0 {
        return;
    }
    let (mut table, mut before) = ([0.0_f32; 256], 0);
    for (entry, count) in table.iter_mut().zip(histogram) {
        *entry = ((before + step / 2) / step).min(255) as f32;
        before += count;
    }
    pixels.iter_mut().for_each(|pixel| pixel[channel] = table[usize::from(level(pixel[channel]))]);
}
