//! Newton's method with conjugate gradients (truncated Newton; Nocedal and Wright, "Numerical Optimization",
//! algorithm 7.1), for a function that is convex.

use super::problem::{Problem, Value};
use crate::Result;
use crate::watch::Watch;

const MOST_STEPS: usize = 100;
const MOST_DIRECTIONS: usize = 250;
/// Armijo's constant.
const SUFFICIENT: f64 = 1e-4;
/// Changes of the loss that are smaller than this part of it are rounding errors.
const ROUNDING: f64 = 1e-9;

/// Finds a point at which the gradient's length is at most `tolerance` times its length at zero weights, or as small as rounding errors allow.
pub(super) fn minimise(problem: &Problem<'_>, start: Vec<f64>, tolerance: f64, watch: Watch<'_>) -> Result<Vec<f64>> {
    let mut point = start;
    let mut value = problem.value(&point);
    let first = if point.iter().all(|&x| x == 0.0) {
        length(&value.gradient)
    } else {
        length(&problem.value(&vec![0.0; point.len()]).gradient)
    };
    let target = tolerance * first;
    for _ in 0..MOST_STEPS {
        watch.check()?;
        let now = length(&value.gradient);
        if now <= target {
            break;
        }
        // Far from the optimum, a rough direction is as good as an exact one.
        let accuracy = (now / first).sqrt().min(0.25).max(0.5 * target / now);
        let direction = direction(problem, &value, accuracy * now, watch)?;
        let slope = dot(&value.gradient, &direction);
        let Some((next, there)) = search(problem, &point, &value, &direction, slope) else { break };
        (point, value) = (next, there);
    }
    Ok(point)
}

/// Solves `curvature · direction = -gradient` by conjugate gradients, until the residual is shorter than `limit`.
fn direction(problem: &Problem<'_>, value: &Value, limit: f64, watch: Watch<'_>) -> Result<Vec<f64>> {
    let mut direction = vec![0.0; value.gradient.len()];
    let mut residual: Vec<f64> = value.gradient.iter().map(|g| -g).collect();
    let mut along = residual.clone();
    let mut square = dot(&residual, &residual);
    for _ in 0..MOST_DIRECTIONS {
        if square.sqrt() <= limit {
            break;
        }
        watch.check()?;
        let bent = problem.curvature(value, &along);
        let bend = dot(&along, &bent);
        if bend <= 0.0 {
            break;
        }
        let step = square / bend;
        add(&mut direction, step, &along);
        add(&mut residual, -step, &bent);
        let before = square;
        square = dot(&residual, &residual);
        along.iter_mut().zip(&residual).for_each(|(along, r)| *along = r + square / before * *along);
    }
    Ok(direction)
}

/// Finds a point along `direction` at which the loss is clearly lower, or at which it is the same up to rounding and the gradient is shorter.
/// At the optimum, there is none.
fn search(
    problem: &Problem<'_>,
    point: &[f64],
    value: &Value,
    direction: &[f64],
    slope: f64,
) -> Option<(Vec<f64>, Value)> {
    let mut step = 1.0;
    while step > 1e-4 {
        let mut next = point.to_vec();
        add(&mut next, step, direction);
        let there = problem.value(&next);
        let lower = there.loss <= value.loss + SUFFICIENT * step * slope;
        let level = there.loss <= value.loss + ROUNDING * value.loss.abs();
        if lower || (level && length(&there.gradient) < length(&value.gradient)) {
            return Some((next, there));
        }
        step /= 2.0;
    }
    None
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn length(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}
