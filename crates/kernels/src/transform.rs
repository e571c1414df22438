//! Winograd's minimal filtering (Winograd, 1980; Lavin and Gray, 2016): `OUT` neighbouring outputs of three taps with
//! `IN = OUT + 2` products in place of `3 * OUT`.
//!
//! Values under the window, and taps, are transformed to `IN` points each; products are taken point by point, and transformed
//! to outputs. Along both axes of an image it makes `OUT × OUT` outputs with `IN × IN` products.

use crate::simd::Simd;

/// F(`OUT`, 3), with its three transforms and the transposed of the last.
///
/// # Safety
/// All functions need the instructions of `S`, and nothing else.
pub(crate) trait Transform<const IN: usize, const OUT: usize> {
    /// What the three taps contribute to each point.
    const TAPS: [[f64; 3]; IN];

    /// Points of neighbouring values.
    unsafe fn input<S: Simd>(values: [S::V; IN]) -> [S::V; IN];

    /// Outputs of the products at all points.
    unsafe fn output<S: Simd>(products: [S::V; IN]) -> [S::V; OUT];

    /// The transposed of [`Transform::output`]: points of the outputs' gradients, from which the taps' gradients follow.
    unsafe fn slopes<S: Simd>(gradients: [S::V; OUT]) -> [S::V; IN];

    /// Points of three taps.
    fn taps([a, b, c]: [f64; 3]) -> [f64; IN] {
        Self::TAPS.map(|factors| factors[0] * a + factors[1] * b + factors[2] * c)
    }
}

/// F(2, 3): no factors but ±1 for values and halves for taps, so that results stay as near as the definition's.
pub(crate) enum F2 {}

// SAFETY: none of these functions has an address; each wants the instructions of `S`, and nothing else.
impl Transform<4, 2> for F2 {
    const TAPS: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

    #[inline(always)]
    unsafe fn input<S: Simd>(d: [S::V; 4]) -> [S::V; 4] {
        // SAFETY: the instructions of `S` are there.
        unsafe { [S::sub(d[0], d[2]), S::add(d[1], d[2]), S::sub(d[2], d[1]), S::sub(d[1], d[3])] }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: [S::V; 4]) -> [S::V; 2] {
        // SAFETY: the instructions of `S` are there.
        unsafe { [S::add(S::add(m[0], m[1]), m[2]), S::sub(S::sub(m[1], m[2]), m[3])] }
    }

    #[inline(always)]
    unsafe fn slopes<S: Simd>(y: [S::V; 2]) -> [S::V; 4] {
        // SAFETY: the instructions of `S` are there.
        unsafe { [y[0], S::add(y[0], y[1]), S::sub(y[0], y[1]), S::sub(S::splat(0.0), y[1])] }
    }
}

/// F(4, 3): fewer products than [`F2`], and factors up to 8, which cost some bits.
pub(crate) enum F4 {}

impl Transform<6, 4> for F4 {
    const TAPS: [[f64; 3]; 6] = [
        [0.25, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];

    #[inline(always)]
    unsafe fn input<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
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

    #[inline(always)]
    unsafe fn output<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
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

    #[inline(always)]
    unsafe fn slopes<S: Simd>(y: [S::V; 4]) -> [S::V; 6] {
        // SAFETY: the instructions of `S` are there.
        unsafe {
            let (two, four, eight) = (S::splat(2.0), S::splat(4.0), S::splat(8.0));
            let (a, b) = (S::add(y[0], y[2]), S::add(y[1], y[3]));
            let (c, e) = (S::add(y[0], S::mul(four, y[2])), S::add(S::mul(two, y[1]), S::mul(eight, y[3])));
            [y[0], S::add(a, b), S::sub(a, b), S::add(c, e), S::sub(c, e), y[3]]
        }
    }
}

/// Transforms a square along both axes: first the values of each column (`|row, column| value`), then the results along each row,
/// which go to `|row, column, value| store`. The transform and both expressions are put where the macro stands, because closures
/// of this size are not inlined, and without inlining they lack the instructions of their vectors.
macro_rules! square {
    ($S:ty, $from:expr => $to:expr, $along:expr, |$i:ident, $j:ident| $load:expr, |$row:ident, $column:ident, $value:ident| $store:expr) => {{
        let zero = <$S>::splat(0.0);
        let mut columns = [[zero; $to]; $from];
        for $j in 0..$from {
            let mut values = [zero; $from];
            for $i in 0..$from {
                values[$i] = $load;
            }
            columns[$j] = $along(values);
        }
        for $row in 0..$to {
            let mut values = [zero; $from];
            for j in 0..$from {
                values[j] = columns[j][$row];
            }
            let values = $along(values);
            for $column in 0..$to {
                let $value = values[$column];
                $store;
            }
        }
    }};
}
pub(crate) use square;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Portable;

    /// Outputs through the points are those of the definition; the transposed transform has the same products.
    fn check<T: Transform<IN, OUT>, const IN: usize, const OUT: usize>() {
        let value = |at: usize| ((at * 37 + 11) % 19) as f32 / 4.0 - 2.0;
        let (values, taps) = (std::array::from_fn(|at| [value(at); 4]), [1.5, -0.75, 2.25]);
        let points = T::taps(taps);
        let gradients: [[f32; 4]; OUT] = std::array::from_fn(|at| [value(at + 40); 4]);
        // SAFETY: arrays need no instructions.
        let (inputs, slopes) = unsafe { (T::input::<Portable>(values), T::slopes::<Portable>(gradients)) };
        let products: [[f32; 4]; IN] = std::array::from_fn(|at| inputs[at].map(|x| x * points[at] as f32));
        // SAFETY: arrays need no instructions.
        let outputs = unsafe { T::output::<Portable>(products) };
        for (at, output) in outputs.iter().enumerate() {
            let expected: f64 = (0..3).map(|tap| f64::from(values[at + tap][0]) * taps[tap]).sum();
            assert!((f64::from(output[0]) - expected).abs() < 1e-4, "output {at}: {} for {expected}", output[0]);
        }
        let dot = |a: &[[f32; 4]], b: &[[f32; 4]]| a.iter().zip(b).map(|(a, b)| a[0] * b[0]).sum::<f32>();
        let (forward, backward) = (dot(&outputs, &gradients), dot(&products, &slopes));
        assert!((forward - backward).abs() < 1e-3 * forward.abs().max(1.0), "{forward} and {backward}");
    }

    #[test]
    fn minimal_filtering_computes_a_correlation_and_its_gradient() {
        check::<F2, 4, 2>();
        check::<F4, 6, 4>();
    }
}
