//! The place of a value in memory, and the part of it that a step computes.

/// An image in memory, channels last: channel `c` of pixel `(y, x)` of image `i` is at
/// `base + i * image + y * row + x * pixel + c`.
///
/// There may be zeros around the image (its halo), so that windows need no checks at the border. After the image's last value, a whole vector
/// may still be read.
#[derive(Debug)]
pub(crate) struct View<T = f32> {
    /// First value of the first pixel.
    pub base: *mut T,
    /// Values from one image to the next.
    pub image: usize,
    /// Values from one row to the next.
    pub row: usize,
    /// Values from one pixel to the next.
    pub pixel: usize,
}

// SAFETY: a view is an address and distances. Accesses through it are unsafe code of their own: parallel jobs write different rows or images.
unsafe impl<T> Send for View<T> {}
// SAFETY: sharing a view copies its address.
unsafe impl<T> Sync for View<T> {}

impl<T> Clone for View<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<T> {}

impl<T> View<T> {
    /// The address of a pixel, which may lie in the halo.
    #[inline(always)]
    pub fn at(&self, image: usize, y: isize, x: isize) -> *mut T {
        let offset = (image * self.image) as isize + y * self.row as isize + x * self.pixel as isize;
        self.base.wrapping_offset(offset)
    }
}

/// The place of a value in an image's arena.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    /// Its first value.
    pub offset: usize,
    pub row: usize,
    pub pixel: usize,
    pub shape: [usize; 3],
    /// Whether it is inside a chain, so that only some rows of one image exist at a time.
    pub strip: bool,
}

impl Placed {
    /// The value's view in arenas of `size` values each, the first of which begins at `base`.
    pub fn view<T>(&self, base: *mut T, size: usize) -> View<T> {
        View { base: base.wrapping_add(self.offset), image: size, row: self.row, pixel: self.pixel }
    }
}

/// `channels`, rounded up to whole vectors of any instruction set.
pub(crate) fn pitch(channels: usize) -> usize {
    channels.next_multiple_of(16)
}

/// The part of a step's output that is to be computed.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    /// Images.
    pub images: std::ops::Range<usize>,
    /// Rows of each image.
    pub rows: std::ops::Range<usize>,
}

/// An element-wise function that a kernel applies to its results.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Epilogue {
    /// The identity.
    None,
    /// `min(max(x, first), second)`.
    Clamp(f32, f32),
    /// `x * sigmoid(x)`.
    Swish,
    /// `x * relu6(x + 3) / 6`.
    HardSwish,
    /// `x` times the distribution function of the standard normal distribution.
    Gelu,
    /// The approximation of GELU by a hyperbolic tangent.
    GeluTanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `relu6(x + 3) / 6`.
    HardSigmoid,
    /// `x` times the first number if `x` is negative, and `min(x, second)` otherwise.
    Leaky(f32, f32),
    /// Hyperbolic tangent.
    Tanh,
}

impl Epilogue {
    /// Applies the function to a vector.
    ///
    /// # Safety
    /// The instructions of `S` are there.
    #[inline(always)]
    pub unsafe fn apply<S: crate::simd::Simd>(self, x: S::V) -> S::V {
        // SAFETY: the instructions of `S` are there; no address but those of local arrays is used.
        unsafe {
            match self {
                Self::None => x,
                Self::Clamp(low, high) => S::min(S::max(x, S::splat(low)), S::splat(high)),
                Self::Swish => S::div(x, S::add(S::splat(1.0), S::exp(S::mul(x, S::splat(-1.0))))),
                Self::Sigmoid => S::div(S::splat(1.0), S::add(S::splat(1.0), S::exp(S::mul(x, S::splat(-1.0))))),
                Self::HardSwish => {
                    let gate = S::min(S::max(S::add(x, S::splat(3.0)), S::splat(0.0)), S::splat(6.0));
                    S::mul(S::mul(x, gate), S::splat(1.0 / 6.0))
                }
                Self::Gelu => S::gelu(x),
                Self::GeluTanh => S::gelu_tanh(x),
                Self::HardSigmoid => {
                    let gate = S::min(S::max(S::add(x, S::splat(3.0)), S::splat(0.0)), S::splat(6.0));
                    S::mul(gate, S::splat(1.0 / 6.0))
                }
                Self::Leaky(slope, high) => {
                    let zero = S::splat(0.0);
                    S::fma(S::min(x, zero), S::splat(slope), S::min(S::max(x, zero), S::splat(high)))
                }
                Self::Tanh => {
                    let mut values = [0.0; 16];
                    S::store(values.as_mut_ptr(), x);
                    values.iter_mut().for_each(|value| *value = value.tanh());
                    S::load(values.as_ptr())
                }
            }
        }
    }
}
