//! Where a value lies, and which part of it a step computes.

/// An image in memory, channels last: channel `c` of pixel `(y, x)` of image `i` is at
/// `base + i * image + y * row + x * pixel + c`.
///
/// Around the image there may be zeros (its halo), so that windows need no checks at the border. After its last value there is
/// room for a vector that is read beyond it.
#[derive(Debug)]
pub(crate) struct View<T = f32> {
    /// First value of the first pixel.
    pub base: *mut T,
    /// From one image to the next.
    pub image: usize,
    /// From one row to the next.
    pub row: usize,
    /// From one pixel to the next.
    pub pixel: usize,
}

// SAFETY: a view is an address and steps; what runs jobs in parallel gives each its own rows or images to write.
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
    /// Address of a pixel, which may lie in the halo.
    #[inline(always)]
    pub fn at(&self, image: usize, y: isize, x: isize) -> *mut T {
        let offset = (image * self.image) as isize + y * self.row as isize + x * self.pixel as isize;
        self.base.wrapping_offset(offset)
    }
}

/// Where a value lies in an image's arena.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    /// Its first value.
    pub offset: usize,
    pub row: usize,
    pub pixel: usize,
    pub shape: [usize; 3],
    /// Only some rows of it exist at a time, and of one image: it is inside a chain.
    pub strip: bool,
}

impl Placed {
    /// Its view in arenas of `size` values that begin at `base`.
    pub fn view<T>(&self, base: *mut T, size: usize) -> View<T> {
        View { base: base.wrapping_add(self.offset), image: size, row: self.row, pixel: self.pixel }
    }
}

/// `channels` in whole vectors of any instruction set.
pub(crate) fn pitch(channels: usize) -> usize {
    channels.next_multiple_of(16)
}

/// Which part of a step's output is to be computed.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    /// Images.
    pub images: std::ops::Range<usize>,
    /// Rows of each.
    pub rows: std::ops::Range<usize>,
}

/// An element-wise function at the end of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Epilogue {
    /// Nothing.
    None,
    /// Not below the first, not above the second.
    Clamp(f32, f32),
    /// `x * sigmoid(x)`.
    Swish,
    /// `x * relu6(x + 3) / 6`.
    HardSwish,
    /// `x` times the distribution function of the standard normal distribution.
    Gelu,
    /// GELU by a hyperbolic tangent.
    GeluTanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `relu6(x + 3) / 6`.
    HardSigmoid,
    /// Below 0 times the first, and not above the second.
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
