//! Arithmetic with the shapes of constants.

/// Limit for the number of values of a constant that is computed: 2^28, which is 1 GiB in single precision.
pub(super) const MOST_COMPUTED: usize = 1 << 28;

/// The shape to which two shapes are broadcast; `None` if they do not fit.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let side = |shape: &[usize], at: usize| (at + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    (0..rank)
        .map(|at| match (side(a, at), side(b, at)) {
            (a, b) if a == b => Some(a),
            (1, b) => Some(b),
            (a, 1) => Some(a),
            _ => None,
        })
        .collect()
}

/// An axis, counted from the end if it is negative.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let at = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    at.and_then(|at| usize::try_from(at).ok())
        .filter(|&at| at < rank)
        .ok_or_else(|| format!("there is no axis {axis} among {rank}"))
}

/// Lengths as sides of a shape.
pub(super) fn sides(values: &[i64]) -> Result<Vec<usize>, String> {
    values.iter().map(|&side| usize::try_from(side).map_err(|_| format!("a side is {side}"))).collect()
}

/// The target of a `Reshape` of `shape`. In `wanted`, 0 keeps a side, and -1 stands for the side that follows from the others.
pub(super) fn target(wanted: &[i64], shape: &[usize], allow_zero: bool) -> Result<Vec<usize>, String> {
    let keep = |(at, &side): (usize, &i64)| match side {
        0 if !allow_zero => {
            shape.get(at).map(|&side| side as i64).ok_or_else(|| "it keeps a side that is not there".to_owned())
        }
        side => Ok(side),
    };
    let wanted: Vec<i64> = wanted.iter().enumerate().map(keep).collect::<Result<_, _>>()?;
    let product = |sides: &mut dyn Iterator<Item = usize>| sides.fold(1_usize, usize::saturating_mul);
    let all = product(&mut shape.iter().copied());
    let known: Vec<usize> = sides(&wanted.iter().copied().filter(|&side| side != -1).collect::<Vec<_>>())?;
    let known = product(&mut known.into_iter());
    let left = if known > 0 && all % known == 0 { all / known } else { 0 };
    sides(&wanted.iter().map(|&side| if side == -1 { left as i64 } else { side }).collect::<Vec<_>>())
}

/// The shortest decimal that is rounded to this number in single precision, for example 1e-5, and not 9.999999747378752e-6.
pub(super) fn shortest(value: f32) -> f64 {
    value.to_string().parse().expect("a number in single precision is also one in double precision")
}
