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
    /// The image again: `a b c d | a b c d | a b c d`.
    Wrap,
    /// One value.
    Constant,
    /// The edge's pixel.
    Nearest,
}

/// How values between pixels are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Between the four around.
    #[default]
    Bilinear,
    /// The nearest.
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

    /// A shift by pixels.
    pub fn translation([down, right]: [f32; 2]) -> Self {
        Self([1.0, 0.0, -right, 0.0, 1.0, -down])
    }

    /// The image of `[height, width]` in `from`, mapped, into `to`.
    pub(super) fn apply(&self, from: &[f32], to: &mut [f32], [height, width]: [usize; 2], fill: &Fill) {
        let [a0, a1, a2, b0, b1, b2] = self.0;
        let source = Source { pixels: from.as_chunks().0, height, width, beyond: [fill.fill_value as f32; 3] };
        let map = place(fill.fill_mode);
        let (to, _) = to.as_chunks_mut::<3>();
        for (y, row) in to.chunks_exact_mut(width).enumerate() {
            let y = y as f32;
            for (x, out) in row.iter_mut().enumerate() {
                let x = x as f32;
                let across = map(a0 * x + a1 * y + a2, width);
                let down = map(b0 * x + b1 * y + b2, height);
                *out = match fill.interpolation {
                    Sampling::Bilinear => source.between(across, down),
                    Sampling::Nearest => source.at(across.round(), down.round()),
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

    fn between(&self, x: f32, y: f32) -> [f32; 3] {
        let (left, top) = (x.floor(), y.floor());
        let (right, down) = (x - left, y - top);
        let corners = if left >= 0.0 && top >= 0.0 && left + 1.0 < self.width as f32 && top + 1.0 < self.height as f32 {
            let first = top as usize * self.width + left as usize;
            let (above, below) = (&self.pixels[first..first + 2], &self.pixels[first + self.width..][..2]);
            [above[0], above[1], below[0], below[1]]
        } else {
            [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)].map(|(dx, dy)| self.at(left + dx, top + dy))
        };
        let [a, b, c, d] = corners;
        std::array::from_fn(|channel| {
            let above = (1.0 - right) * a[channel] + right * b[channel];
            let below = (1.0 - right) * c[channel] + right * d[channel];
            (1.0 - down) * above + down * below
        })
    }
}

/// Brings a coordinate along an axis of this length into the image, if the mode does so.
fn place(mode: FillMode) -> fn(f32, usize) -> f32 {
    match mode {
        FillMode::Constant => |at, _| at,
        FillMode::Nearest => |at, length| at.clamp(0.0, (length - 1) as f32),
        FillMode::Reflect => |at, length| {
            let (last, length) = ((length - 1) as f32, length as f32);
            if last <= 0.0 {
                return 0.0;
            }
            // Two images, one of them mirrored, repeat without end.
            let period = 2.0 * length;
            let folded = if at < 0.0 {
                let at = at + period * (-at / period).trunc();
                if at < -length { at + period } else { -at - 1.0 }
            } else if at > last {
                let at = at - period * (at / period).trunc();
                if at >= length { period - at - 1.0 } else { at }
            } else {
                at
            };
            folded.clamp(0.0, last)
        },
        FillMode::Wrap => |at, length| {
            let (last, length) = ((length - 1) as f32, length as f32);
            if last <= 0.0 {
                return 0.0;
            }
            let folded = if at < 0.0 {
                at + length * ((-at / last).trunc() + 1.0)
            } else if at > last {
                at - length * (at / last).trunc()
            } else {
                at
            };
            folded.clamp(0.0, last)
        },
    }
}
