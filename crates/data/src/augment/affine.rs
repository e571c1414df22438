//! Affine maps of images, with TensorFlow's numbers (`ImageProjectiveTransformV3`, which Keras's layers call).

use serde::{Deserialize, Serialize};

use super::Fill;

/// What lies beyond the image's edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FillMode {
    /// The mirrored image, its edge twice: `d c b a | a b c d | d c b a`.
    #[default]
    Reflect,
    /// The image repeated: `a b c d | a b c d | a b c d`.
    Wrap,
    /// One value: [`Fill::fill_value`](super::Fill::fill_value).
    Constant,
    /// The nearest pixel of the edge.
    Nearest,
}

/// How values between pixels are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Between the four pixels around.
    #[default]
    Bilinear,
    /// The nearest pixel.
    Nearest,
}

/// For an output pixel `(x, y)`, where in the input its value is from: `(a0 x + a1 y + a2, b0 x + b1 y + b2)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine(pub [f32; 6]);

impl Affine {
    /// A turn by `angle` radians about the centre.
    pub fn rotation(angle: f32, [height, width]: [usize; 2]) -> Self {
        let (x, y) = (0.5 * (width as f32 - 1.0), 0.5 * (height as f32 - 1.0));
        let (sin, cos) = angle.sin_cos();
        Self([cos, -sin, x - x * cos + y * sin, sin, cos, y - x * sin - y * cos])
    }

    /// The image `[vertical, horizontal]` times as small, about the centre.
    pub fn zoom([vertical, horizontal]: [f32; 2], [height, width]: [usize; 2]) -> Self {
        let offset = |length: usize, zoom: f32| (length as f32 - 1.0) / 2.0 * (1.0 - zoom);
        Self([horizontal, 0.0, offset(width, horizontal), 0.0, vertical, offset(height, vertical)])
    }

    /// Columns are shifted up by the first share of their distance from the left edge, and rows to the left by the second share of
    /// their distance from the upper edge.
    pub fn shear([up, left]: [f32; 2]) -> Self {
        Self([1.0, left, 0.5 * left, up, 1.0, 0.5 * up])
    }

    /// A shift by pixels.
    pub fn translation([down, right]: [f32; 2]) -> Self {
        Self([1.0, 0.0, -right, 0.0, 1.0, -down])
    }

    /// The image of `[height, width]` in `from`, mapped, into `to`.
    pub(super) fn apply(&self, from: &[f32], to: &mut [f32], [height, width]: [usize; 2], fill: &Fill) {
        let source = Source { pixels: from.as_chunks().0, height, width, beyond: [fill.fill_value as f32; 3] };
        let (to, _) = to.as_chunks_mut::<3>();
        // Chosen once per image and not per pixel, so that the loop over the pixels is compiled for each choice.
        match fill.fill_mode {
            FillMode::Reflect => self.fill(&source, to, reflect, fill.interpolation),
            FillMode::Wrap => self.fill(&source, to, wrap, fill.interpolation),
            FillMode::Constant => self.fill(&source, to, |at, _| at, fill.interpolation),
            FillMode::Nearest => self.fill(&source, to, nearest, fill.interpolation),
        }
    }

    fn fill(&self, from: &Source<'_>, to: &mut [[f32; 3]], place: impl Fn(f32, f32) -> f32, how: Sampling) {
        let [a0, a1, a2, b0, b1, b2] = self.0;
        let (height, width) = (from.height as f32, from.width as f32);
        for (y, row) in to.chunks_exact_mut(from.width).enumerate() {
            let y = y as f32;
            for (x, out) in row.iter_mut().enumerate() {
                let x = x as f32;
                let across = place(a0 * x + a1 * y + a2, width);
                let down = place(b0 * x + b1 * y + b2, height);
                *out = match how {
                    Sampling::Bilinear => from.between(across, down),
                    Sampling::Nearest => from.at(across.round(), down.round()),
                };
            }
        }
    }
}

/// What is read from.
struct Source<'a> {
    pixels: &'a [[f32; 3]],
    height: usize,
    width: usize,
    beyond: [f32; 3],
}

impl Source<'_> {
    fn at(&self, x: f32, y: f32) -> [f32; 3] {
        if x >= 0.0 && y >= 0.0 && x < self.width as f32 && y < self.height as f32 {
            return self.pixels[y as usize * self.width + x as usize];
        }
        self.beyond
    }

    #[inline]
    fn between(&self, x: f32, y: f32) -> [f32; 3] {
        let (left, top) = (floor(x), floor(y));
        let (right, down) = (x - left, y - top);
        let weights = [(1.0 - right) * (1.0 - down), right * (1.0 - down), (1.0 - right) * down, right * down];
        let blend = |[a, b, c, d]: [&[f32; 3]; 4]| {
            let [p, q, r, s] = weights;
            std::array::from_fn(|at| p * a[at] + q * b[at] + r * c[at] + s * d[at])
        };
        if left >= 0.0 && top >= 0.0 && left + 1.0 < self.width as f32 && top + 1.0 < self.height as f32 {
            let first = top as usize * self.width + left as usize;
            let (above, below) = (&self.pixels[first..first + 2], &self.pixels[first + self.width..][..2]);
            return blend([&above[0], &above[1], &below[0], &below[1]]);
        }
        let corner = |dx: f32, dy: f32| self.at(left + dx, top + dy);
        blend([&corner(0.0, 0.0), &corner(1.0, 0.0), &corner(0.0, 1.0), &corner(1.0, 1.0)])
    }
}

/// `f32::floor`, which is a call of a function where a processor may lack the instruction.
fn floor(x: f32) -> f32 {
    let whole = whole(x);
    if whole > x { whole - 1.0 } else { whole }
}

/// `f32::trunc`, for numbers of pixels.
fn whole(x: f32) -> f32 {
    x as i32 as f32
}

/// Brings a coordinate into an axis of this length, for [`FillMode::Nearest`].
fn nearest(at: f32, length: f32) -> f32 {
    at.clamp(0.0, length - 1.0)
}

/// The same for [`FillMode::Reflect`]: two images, one of them mirrored, repeat without end.
fn reflect(at: f32, length: f32) -> f32 {
    let (last, period) = (length - 1.0, 2.0 * length);
    let folded = if at < 0.0 {
        let at = at + period * whole(-at / period);
        if at < -length { at + period } else { -at - 1.0 }
    } else if at > last {
        let at = at - period * whole(at / period);
        if at >= length { period - at - 1.0 } else { at }
    } else {
        at
    };
    folded.clamp(0.0, last)
}

/// The same for [`FillMode::Wrap`].
fn wrap(at: f32, length: f32) -> f32 {
    let last = length - 1.0;
    if last <= 0.0 {
        return 0.0;
    }
    let folded = if at < 0.0 {
        at + length * (whole(-at / last) + 1.0)
    } else if at > last {
        at - length * whole(at / last)
    } else {
        at
    };
    folded.clamp(0.0, last)
}
