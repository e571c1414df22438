//! Winograd's minimal filtering (Winograd, 1980; Lavin and Gray, 2016) computes neighbouring outputs with fewer products than the definition.
//!
//! The values under the window and the taps are transformed to points, multiplied point by point, and the products are transformed to
//! outputs. Training uses [`F4`], for windows of three taps; inference uses [`Points`] and [`Outputs`], which also serve other lengths.

use crate::simd::Simd;

/// F(4, 3) at the points 0, ±1, ±2 and infinity. Along both axes of an image, it computes 4×4 outputs of 3×3 taps with 36 products instead of
/// 144. Its factors of up to 8 cost some bits of precision.
///
/// # Safety
/// All functions need the instructions of `S`, and nothing else.
pub(crate) enum F4 {}

impl F4 {
    /// For each point, the factors of the three taps.
    pub(crate) const TAPS: [[f64; 3]; 6] = [
        [0.25, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];

    /// Transforms six neighbouring values to points.
    #[inline(always)]
    pub(crate) unsafe fn input<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
        // SAFETY: the instructions of `S` are there.
        unsafe {
            let (two, four, five) = (S::splat(2.0), S::splat(4.0), S::splat(5.0));
            let (a, b) = (S::sub(d[4], S::mul(four, d[2])), S::sub(d[3], S::mul(four, d[1])));
            let (c, e) = (S::sub(d[4], d[2]), S::mul(two, S::sub(d[3], d[1])));
            [
                S::add(S::sub(S::mul(four, d[0]), S::mul(five, d[2])), d[4]),
                S::add(a, b),
                S::sub(a, b),
                S::add(c, e),
                S::sub(c, e),
                S::add(S::sub(S::mul(four, d[1]), S::mul(five, d[3])), d[5]),
            ]
        }
    }

    /// Transforms the products at all points to outputs.
    #[inline(always)]
    pub(crate) unsafe fn output<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
        // SAFETY: the instructions of `S` are there.
        unsafe {
            let (s, d) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
            let (t, e) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
            [
                S::add(S::add(m[0], s), t),
                S::add(d, S::mul(S::splat(2.0), e)),
                S::add(s, S::mul(S::splat(4.0), t)),
                S::add(S::add(d, S::mul(S::splat(8.0), e)), m[5]),
            ]
        }
    }

    /// The transpose of [`F4::output`]: transforms the outputs' gradients to points, from which the taps' gradients follow.
    #[inline(always)]
    pub(crate) unsafe fn slopes<S: Simd>(y: [S::V; 4]) -> [S::V; 6] {
        // SAFETY: the instructions of `S` are there.
        unsafe {
            let (two, four, eight) = (S::splat(2.0), S::splat(4.0), S::splat(8.0));
            let (a, b) = (S::add(y[0], y[2]), S::add(y[1], y[3]));
            let (c, e) = (S::add(y[0], S::mul(four, y[2])), S::add(S::mul(two, y[1]), S::mul(eight, y[3])));
            [y[0], S::add(a, b), S::sub(a, b), S::add(c, e), S::sub(c, e), y[3]]
        }
    }
}

/// The transform of values to points. Minimal filtering multiplies polynomials by their values at points (Toom and Cook): the first
/// `IN - 1` points are numbers, and the last is infinity, where the value of a polynomial is its leading coefficient.
///
/// # Safety
/// The function needs the instructions of `S`, and nothing else.
pub(crate) trait Points<const IN: usize> {
    /// Transforms neighbouring values to points.
    unsafe fn input<S: Simd>(values: [S::V; IN]) -> [S::V; IN];
}

/// The transform of products at [`Points`] to `OUT` outputs of up to `IN + 1 - OUT` taps.
///
/// # Safety
/// The function needs the instructions of `S`, and nothing else.
pub(crate) trait Outputs<const IN: usize, const OUT: usize>: Points<IN> {
    /// Transforms the products at all points to outputs.
    unsafe fn output<S: Simd>(products: [S::V; IN]) -> [S::V; OUT];
}

/// Transforms `taps` to points. If there are fewer than `most`, the others are zeros. `numbers` are all points except infinity.
pub(crate) fn points_of_taps(numbers: &[f64], most: usize, taps: &[f64]) -> Vec<f64> {
    let at = |&point: &f64| {
        let value = taps.iter().rev().fold(0.0, |sum, tap| sum * point + tap);
        value / numbers.iter().filter(|&&other| other != point).map(|other| point - other).product::<f64>()
    };
    let infinite = taps.get(most - 1).copied().unwrap_or(0.0);
    numbers.iter().map(at).chain([infinite]).collect()
}

/// One value and one tap: no filtering.
pub(crate) enum One {}

impl One {
    pub(crate) const NUMBERS: [f64; 0] = [];
}

impl Points<1> for One {
    #[inline(always)]
    unsafe fn input<S: Simd>(values: [S::V; 1]) -> [S::V; 1] {
        values
    }
}

impl Outputs<1, 1> for One {
    #[inline(always)]
    unsafe fn output<S: Simd>(products: [S::V; 1]) -> [S::V; 1] {
        products
    }
}

/// The points 0, ±11/16, ±11/8 and infinity.
///
/// The factors of values and of outputs are smallest where the points are near the square roots of a half and of two. There, results are
/// nearly as exact as those of the definition, and three times as exact as with ±1 and ±2. Powers up to the third are exact in `f32`.
pub(crate) enum Six {}

impl Six {
    pub(crate) const NUMBERS: [f64; 5] = [0.0, NEAR, -NEAR, FAR, -FAR];
}

const NEAR: f64 = 11.0 / 16.0;
const FAR: f64 = 11.0 / 8.0;

impl Points<6> for Six {
    #[inline(always)]
    unsafe fn input<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
        const NEAR_SQUARE: f64 = NEAR * NEAR;
        const FAR_SQUARE: f64 = FAR * FAR;
        // SAFETY: the instructions of `S` are there.
        unsafe {
            let factor = |x: f64| S::splat(x as f32);
            let (less_sum, product) = (factor(-NEAR_SQUARE - FAR_SQUARE), factor(NEAR_SQUARE * FAR_SQUARE));
            // The coefficients are those of x (x² - NEAR²) (x² - FAR²) without the factor that is zero at the point; at infinity, of the
            // whole product.
            let ends = |first, middle, last| S::fma(product, first, S::fma(less_sum, middle, last));
            let even = |square: f64| S::fma(factor(-square), d[2], d[4]);
            let odd = |square: f64| S::fma(factor(-square), d[1], d[3]);
            let ([near, near_odd], [far, far_odd]) =
                ([even(FAR_SQUARE), odd(FAR_SQUARE)], [even(NEAR_SQUARE), odd(NEAR_SQUARE)]);
            [
                ends(d[0], d[2], d[4]),
                S::fma(factor(NEAR), near_odd, near),
                S::fma(factor(-NEAR), near_odd, near),
                S::fma(factor(FAR), far_odd, far),
                S::fma(factor(-FAR), far_odd, far),
                ends(d[1], d[3], d[5]),
            ]
        }
    }
}

impl<const OUT: usize> Outputs<6, OUT> for Six {
    #[inline(always)]
    unsafe fn output<S: Simd>(m: [S::V; 6]) -> [S::V; OUT] {
        // SAFETY: the instructions of `S` are there.
        unsafe {
            let factor = |x: f64| S::splat(x as f32);
            // Points of opposite sign enter even powers with their sum, and odd powers with their difference.
            let near = [S::add(m[1], m[2]), S::sub(m[1], m[2])];
            let far = [S::add(m[3], m[4]), S::sub(m[3], m[4])];
            let mut outputs = [S::add(S::add(m[0], near[0]), far[0]); OUT];
            let powers = [[NEAR, FAR], [NEAR * NEAR, FAR * FAR], [NEAR * NEAR * NEAR, FAR * FAR * FAR]];
            for i in 1..OUT {
                let [a, b] = powers[i - 1];
                outputs[i] = S::fma(factor(a), near[i % 2], S::mul(factor(b), far[i % 2]));
            }
            outputs[OUT - 1] = S::add(outputs[OUT - 1], m[5]);
            outputs
        }
    }
}

/// Transforms a square along both axes: first each column of values (`|row, column| value`), then each row of the results, which go to
/// `|row, column, value| store`. This is a macro because closures of this size are not inlined, and code that is not inlined is not
/// compiled for the instructions of its vectors.
macro_rules! square {
    ($S:ty, $from:expr => $to:expr, $along:expr, |$i:ident, $j:ident| $load:expr, |$row:ident, $column:ident, $value:ident| $store:expr) => {
        $crate::transform::rectangle!(
            $S,
            [$from, $from] => [$to, $to],
            [$along, $along],
            |$i, $j| $load,
            |$row, $column, $value| $store
        )
    };
}
pub(crate) use square;

/// Transforms a rectangle as [`square`] does, with a transform for its columns and one for its rows.
macro_rules! rectangle {
    ($S:ty, [$height:expr, $width:expr] => [$down:expr, $right:expr], [$vertical:expr, $horizontal:expr], |$i:ident, $j:ident| $load:expr, |$row:ident, $column:ident, $value:ident| $store:expr) => {{
        let zero = <$S>::splat(0.0);
        let mut columns = [[zero; $down]; $width];
        for $j in 0..$width {
            let mut values = [zero; $height];
            for $i in 0..$height {
                values[$i] = $load;
            }
            columns[$j] = $vertical(values);
        }
        for $row in 0..$down {
            let mut values = [zero; $width];
            for j in 0..$width {
                values[j] = columns[j][$row];
            }
            let values = $horizontal(values);
            for $column in 0..$right {
                let $value = values[$column];
                $store;
            }
        }
    }};
}
pub(crate) use rectangle;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Portable;

    /// Minimal filtering gives the outputs of the definition, and the transposed transform gives the same scalar products.
    #[test]
    fn minimal_filtering_computes_a_correlation_and_its_gradient() {
        let value = |at: usize| ((at * 37 + 11) % 19) as f32 / 4.0 - 2.0;
        let (values, taps) = (std::array::from_fn(|at| [value(at); 4]), [1.5, -0.75, 2.25]);
        let points = F4::TAPS.map(|[a, b, c]| a * taps[0] + b * taps[1] + c * taps[2]);
        let gradients: [[f32; 4]; 4] = std::array::from_fn(|at| [value(at + 40); 4]);
        // SAFETY: arrays need no instructions.
        let (inputs, slopes) = unsafe { (F4::input::<Portable>(values), F4::slopes::<Portable>(gradients)) };
        let products: [[f32; 4]; 6] = std::array::from_fn(|at| inputs[at].map(|x| x * points[at] as f32));
        // SAFETY: arrays need no instructions.
        let outputs = unsafe { F4::output::<Portable>(products) };
        for (at, output) in outputs.iter().enumerate() {
            let expected: f64 = (0..3).map(|tap| f64::from(values[at + tap][0]) * taps[tap]).sum();
            assert!((f64::from(output[0]) - expected).abs() < 1e-4, "output {at}: {} for {expected}", output[0]);
        }
        let dot = |a: &[[f32; 4]], b: &[[f32; 4]]| a.iter().zip(b).map(|(a, b)| a[0] * b[0]).sum::<f32>();
        let (forward, backward) = (dot(&outputs, &gradients), dot(&products, &slopes));
        assert!((forward - backward).abs() < 1e-3 * forward.abs().max(1.0), "{forward} and {backward}");
    }

    /// Minimal filtering gives the outputs of the definition, for each number of taps that the points allow.
    fn check_points<T: Outputs<IN, OUT>, const IN: usize, const OUT: usize>(numbers: &[f64]) {
        let value = |at: usize| ((at * 37 + 11) % 19) as f32 / 4.0 - 2.0;
        let all = [1.5, -0.75, 2.25, 0.5, -1.25];
        for count in 1..=IN + 1 - OUT {
            let taps = &all[..count];
            let points = points_of_taps(numbers, IN + 1 - OUT, taps);
            // SAFETY: arrays need no instructions.
            let inputs = unsafe { T::input::<Portable>(std::array::from_fn(|at| [value(at); 4])) };
            let products: [[f32; 4]; IN] = std::array::from_fn(|at| inputs[at].map(|x| x * points[at] as f32));
            // SAFETY: arrays need no instructions.
            let outputs = unsafe { T::output::<Portable>(products) };
            for (at, output) in outputs.iter().enumerate() {
                let expected: f64 = taps.iter().enumerate().map(|(tap, x)| f64::from(value(at + tap)) * x).sum();
                assert!((f64::from(output[0]) - expected).abs() < 1e-5, "{count} taps, output {at}: {output:?}");
            }
        }
    }

    #[test]
    fn points_compute_a_correlation_of_any_length() {
        check_points::<One, 1, 1>(&One::NUMBERS);
        check_points::<Six, 6, 2>(&Six::NUMBERS);
        check_points::<Six, 6, 3>(&Six::NUMBERS);
        check_points::<Six, 6, 4>(&Six::NUMBERS);
    }
}
