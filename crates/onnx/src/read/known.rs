//! Computes nodes whose inputs are all constants: weights that an exporter has reshaped, and arithmetic with shapes.
//!
//! Source of the operators: <https://onnx.ai/onnx/operators/>.

use std::path::Path;

use super::shapes::{MOST_COMPUTED, axis, broadcast, sides, target};
use super::view::BATCH;
use crate::proto::Node;
use crate::tensor::{Constant, Numbers, count};

/// The axes of a node, which are an attribute in old operator sets, and an input in new ones.
pub(super) fn axes_of(node: &Node<'_>, input: Option<&Constant>) -> Option<Vec<i64>> {
    input.map(Constant::to_ints).or_else(|| node.ints("axes").map(<[i64]>::to_vec))
}

/// The shape without axes of length 1.
pub(super) fn squeezed(shape: &[usize], axes: Option<&[i64]>) -> Result<Vec<usize>, String> {
    let dropped: Vec<usize> = match axes {
        Some(axes) => axes.iter().map(|&at| axis(at, shape.len())).collect::<Result<_, _>>()?,
        None => (0..shape.len()).filter(|&at| shape[at] == 1).collect(),
    };
    Ok(shape.iter().enumerate().filter(|(at, _)| !dropped.contains(at)).map(|(_, &side)| side).collect())
}

/// The shape with further axes of length 1.
pub(super) fn unsqueezed(shape: &[usize], axes: &[i64]) -> Result<Vec<usize>, String> {
    let rank = shape.len() + axes.len();
    let added: Vec<usize> = axes.iter().map(|&at| axis(at, rank)).collect::<Result<_, _>>()?;
    let mut own = shape.iter().copied();
    Ok((0..rank).map(|at| if added.contains(&at) { 1 } else { own.next().unwrap_or(1) }).collect())
}

/// Start, step and number of the indices of a slice of an axis of this length.
pub(super) fn slice(length: usize, start: i64, end: i64, step: i64) -> Result<(i64, i64, usize), String> {
    if step == 0 {
        return Err("its step is 0".to_owned());
    }
    if length == 0 {
        return Ok((0, step, 0));
    }
    let n = length as i64;
    let absolute = |at: i64| if at < 0 { at.saturating_add(n) } else { at };
    let (start, end) = match step > 0 {
        true => (absolute(start).clamp(0, n), absolute(end).clamp(0, n)),
        false => (absolute(start).clamp(0, n - 1), absolute(end).clamp(-1, n - 1)),
    };
    let distance = if step > 0 { end - start } else { start - end };
    let number = if distance <= 0 { 0 } else { (distance as u64).div_ceil(step.unsigned_abs()) as usize };
    Ok((start, step, number))
}

/// Starts, ends, axes and steps of a `Slice`.
pub(super) fn slices(
    node: &Node<'_>,
    inputs: &[Option<&Constant>],
    rank: usize,
) -> Option<Vec<(usize, i64, i64, i64)>> {
    let from = |at: usize, name: &str| match inputs.get(at) {
        Some(Some(constant)) => Some(constant.to_ints()),
        _ => node.ints(name).map(<[i64]>::to_vec),
    };
    let (starts, ends) = (from(1, "starts")?, from(2, "ends")?);
    let axes = from(3, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = from(4, "steps").unwrap_or_else(|| vec![1; starts.len()]);
    let one = |at: usize| Some((axis(*axes.get(at)?, rank).ok()?, starts[at], *ends.get(at)?, *steps.get(at)?));
    (0..starts.len()).map(one).collect()
}

/// Computes a node; `None` if its operator is not known here, or needs an input that is missing.
pub(super) fn compute(
    node: &Node<'_>,
    inputs: &[Option<&Constant>],
    folder: &Path,
) -> Option<Result<Vec<Constant>, String>> {
    let first = inputs.first().copied().flatten();
    let input = |at: usize| inputs.get(at).copied().flatten();
    let one = |result: Result<Constant, String>| Some(result.map(|constant| vec![constant]));
    match node.op.as_str() {
        "Identity" | "Dropout" => one(Ok(first?.clone())),
        "Shape" => one(Ok(Constant::ints(first?.shape.iter().map(|&side| side as i64).collect()))),
        "Size" => one(Ok(Constant { shape: Vec::new(), numbers: Numbers::Ints(vec![first?.len() as i64]) })),
        "Cast" => one(Ok(cast(first?, node.int("to", 1)))),
        "Transpose" => one(transpose(first?, node.ints("perm"))),
        "Reshape" => {
            let (x, wanted) = (first?, input(1)?);
            let shape = target(&wanted.to_ints(), &x.shape, node.int("allowzero", 0) == 1);
            one(shape.and_then(|shape| x.shaped(shape)))
        }
        "Flatten" => {
            let x = first?;
            let at = node.int("axis", 1);
            let at = if at == x.shape.len() as i64 { Ok(x.shape.len()) } else { axis(at, x.shape.len()) };
            one(at.and_then(|at| {
                let product = |sides: &[usize]| sides.iter().product();
                x.shaped(vec![product(&x.shape[..at]), product(&x.shape[at..])])
            }))
        }
        "Squeeze" => {
            let (x, axes) = (first?, axes_of(node, input(1)));
            one(squeezed(&x.shape, axes.as_deref()).and_then(|shape| x.shaped(shape)))
        }
        "Unsqueeze" => {
            let (x, axes) = (first?, axes_of(node, input(1))?);
            one(unsqueezed(&x.shape, &axes).and_then(|shape| x.shaped(shape)))
        }
        "Concat" => {
            let parts: Vec<&Constant> = inputs.iter().copied().collect::<Option<_>>()?;
            one(concatenate(&parts, node.int("axis", 0)))
        }
        "Gather" => one(gather(first?, input(1)?, node.int("axis", 0))),
        "Slice" => {
            let x = first?;
            let parts = slices(node, inputs, x.shape.len())?;
            one(parts.into_iter().try_fold(x.clone(), |x, (axis, start, end, step)| {
                let (start, step, number) = slice(x.shape[axis], start, end, step)?;
                Ok(x.picked(axis, (0..number as i64).map(|at| (start + at * step) as usize).collect()))
            }))
        }
        "Resize" => one(super::resize::resize(node, inputs)),
        "Range" => one(range([first?, input(1)?, input(2)?].map(|constant| constant.to_ints().first().copied()))),
        "ConstantOfShape" => one(constant_of_shape(first?, node.tensor("value").map(|tensor| tensor.read(folder)))),
        "Expand" => {
            let (x, wanted) = (first?, sides(&unbatched(input(1)?.to_ints())));
            one(wanted.and_then(|wanted| {
                let shape = broadcast(&x.shape, &wanted).ok_or("shapes do not fit")?;
                x.limited(&shape)?.expanded(&shape).ok_or_else(|| "shapes do not fit".to_owned())
            }))
        }
        "Where" => one(choose(first?, input(1)?, input(2)?)),
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" => {
            let x = first?;
            let all = axes_of(node, input(1)).is_none_or(|axes| axes.len() == x.shape.len());
            let values = x.doubles();
            if !all || values.is_empty() {
                return None;
            }
            let value = match node.op.as_str() {
                "ReduceProd" => values.iter().product(),
                "ReduceSum" => values.iter().sum(),
                "ReduceMax" => values.iter().copied().fold(f64::MIN, f64::max),
                _ => values.iter().copied().fold(f64::MAX, f64::min),
            };
            let shape = if node.int("keepdims", 1) == 1 { vec![1; x.shape.len()] } else { Vec::new() };
            one(Ok(Constant::of(shape, vec![value], x.is_int())))
        }
        op => {
            if let Some(unary) = unary(op) {
                let x = first?;
                return one(Ok(Constant::of(
                    x.shape.clone(),
                    x.doubles().into_iter().map(unary).collect(),
                    x.is_int(),
                )));
            }
            let function = binary(op)?;
            one(combine(first?, input(1)?, function))
        }
    }
}

/// `x` with its axes in the order `permutation`, or in reverse order without one.
fn transpose(x: &Constant, permutation: Option<&[i64]>) -> Result<Constant, String> {
    let rank = x.shape.len();
    let order: Vec<usize> = match permutation {
        Some(order) => order.iter().map(|&at| axis(at, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).rev().collect(),
    };
    if order.len() != rank || !(0..rank).all(|axis| order.contains(&axis)) {
        return Err("its axes are not a permutation".to_owned());
    }
    Ok(x.transposed(&order))
}

/// The numbers from `start` by `step`, without `end`.
fn range([start, end, step]: [Option<i64>; 3]) -> Result<Constant, String> {
    let (Some(start), Some(end), Some(step)) = (start, end, step) else {
        return Err("a limit is empty".to_owned());
    };
    let steps = end.saturating_sub(start).checked_div(step);
    if steps.is_none_or(|steps| steps.unsigned_abs() > 1 << 20) {
        return Err("its range is too long".to_owned());
    }
    let within = |&at: &i64| if step > 0 { at < end } else { at > end };
    let values = std::iter::successors(Some(start), |at| at.checked_add(step)).take_while(within).collect();
    Ok(Constant::ints(values))
}

/// A tensor of the given shape that is filled with one value, by default 0.
fn constant_of_shape(shape: &Constant, value: Option<Result<Constant, String>>) -> Result<Constant, String> {
    let shape = sides(&unbatched(shape.to_ints()))?;
    let value = value.transpose()?.unwrap_or(Constant { shape: vec![1], numbers: Numbers::Floats(vec![0.0]) });
    Constant { shape: Vec::new(), ..value }
        .limited(&shape)?
        .expanded(&shape)
        .ok_or_else(|| "its value is not one number".to_owned())
}

/// The values of `a` where `condition` is true, and those of `b` elsewhere.
fn choose(condition: &Constant, a: &Constant, b: &Constant) -> Result<Constant, String> {
    let shape = broadcast(&a.shape, &b.shape).and_then(|shape| broadcast(&shape, &condition.shape));
    let shape = shape.ok_or("shapes do not fit")?;
    condition.limited(&shape)?;
    let all = |x: &Constant| x.expanded(&shape).map(|x| x.doubles()).ok_or("shapes do not fit");
    let chosen = all(condition)?.into_iter().zip(all(a)?).zip(all(b)?);
    let values = chosen.map(|((condition, a), b)| if condition != 0.0 { a } else { b }).collect();
    Ok(Constant::of(shape, values, a.is_int()))
}

/// Applies a function to each pair of values of two constants, whose shapes are broadcast.
fn combine(a: &Constant, b: &Constant, (function, gives_truth): Binary) -> Result<Constant, String> {
    let shape =
        broadcast(&a.shape, &b.shape).ok_or_else(|| format!("shapes {:?} and {:?} do not fit", a.shape, b.shape))?;
    let is_int = a.is_int() && b.is_int();
    a.limited(&shape)?;
    let all = |x: &Constant| x.expanded(&shape).map(|x| x.doubles()).ok_or("shapes do not fit");
    let values = all(a)?.into_iter().zip(all(b)?).map(|(a, b)| function(a, b, is_int)).collect();
    Ok(Constant::of(shape.clone(), values, is_int || gives_truth))
}

/// Replaces the number of samples in a shape by 1, because constants do not depend on the sample.
fn unbatched(sides: Vec<i64>) -> Vec<i64> {
    sides.into_iter().map(|side| if side == BATCH as i64 { 1 } else { side }).collect()
}

fn unary(op: &str) -> Option<fn(f64) -> f64> {
    Some(match op {
        "Neg" => |x| -x,
        "Sqrt" => f64::sqrt,
        "Abs" => f64::abs,
        "Floor" => f64::floor,
        "Ceil" => f64::ceil,
        "Reciprocal" => |x| 1.0 / x,
        "Exp" => f64::exp,
        "Log" => f64::ln,
        "Not" => |x| f64::from(u8::from(x == 0.0)),
        _ => return None,
    })
}

/// A function of two numbers, whose third argument says whether both are whole numbers, and whether its result is a truth value.
type Binary = (fn(f64, f64, bool) -> f64, bool);

fn binary(op: &str) -> Option<Binary> {
    fn truth(value: bool) -> f64 {
        f64::from(u8::from(value))
    }
    Some(match op {
        "Add" => (|a, b, _| a + b, false),
        "Sub" => (|a, b, _| a - b, false),
        "Mul" => (|a, b, _| a * b, false),
        "Div" => (|a, b, whole| if whole { (a / b).trunc() } else { a / b }, false),
        "Mod" => (|a, b, _| a - b * (a / b).floor(), false),
        "Pow" => (|a, b, _| a.powf(b), false),
        "Max" => (|a, b, _| a.max(b), false),
        "Min" => (|a, b, _| a.min(b), false),
        "Equal" => (|a, b, _| truth(a == b), true),
        "Less" => (|a, b, _| truth(a < b), true),
        "LessOrEqual" => (|a, b, _| truth(a <= b), true),
        "Greater" => (|a, b, _| truth(a > b), true),
        "GreaterOrEqual" => (|a, b, _| truth(a >= b), true),
        "And" => (|a, b, _| truth(a != 0.0 && b != 0.0), true),
        "Or" => (|a, b, _| truth(a != 0.0 || b != 0.0), true),
        _ => return None,
    })
}

/// ONNX's number types of whole numbers and truth values.
fn is_int_type(kind: i64) -> bool {
    matches!(kind, 2..=7 | 9 | 12 | 13)
}

fn cast(x: &Constant, to: i64) -> Constant {
    match (is_int_type(to), &x.numbers) {
        (true, Numbers::Floats(values)) => {
            let truth = |value: &f32| i64::from(*value != 0.0);
            let whole = |value: &f32| *value as i64;
            let values = if to == 9 { values.iter().map(truth).collect() } else { values.iter().map(whole).collect() };
            Constant { shape: x.shape.clone(), numbers: Numbers::Ints(values) }
        }
        (false, Numbers::Ints(_)) => Constant { shape: x.shape.clone(), numbers: Numbers::Floats(x.to_floats()) },
        _ => x.clone(),
    }
}

fn concatenate(parts: &[&Constant], at: i64) -> Result<Constant, String> {
    let rank = parts.first().map_or(0, |part| part.shape.len());
    let at = axis(at, rank)?;
    let fits = |part: &&&Constant| {
        part.shape.len() == rank && (0..rank).all(|axis| axis == at || part.shape[axis] == parts[0].shape[axis])
    };
    if !parts.iter().all(|part| fits(&part)) {
        return Err("shapes do not fit".to_owned());
    }
    let outer: usize = parts[0].shape[..at].iter().product();
    let is_int = parts.iter().all(|part| part.is_int());
    let mut shape = parts[0].shape.clone();
    shape[at] = parts.iter().map(|part| part.shape[at]).sum();
    if count(&shape).is_none_or(|count| count > MOST_COMPUTED) {
        return Err(format!("a constant of shape {shape:?} is too large"));
    }
    let numbers = match is_int {
        true => Numbers::Ints(interleaved(outer, parts.iter().map(|part| part.to_ints()).collect())),
        false => Numbers::Floats(interleaved(outer, parts.iter().map(|part| part.to_floats()).collect())),
    };
    Ok(Constant { shape, numbers })
}

/// The rows of all parts, one part after the other in each row.
fn interleaved<T: Copy>(rows: usize, parts: Vec<Vec<T>>) -> Vec<T> {
    let of_row = |row: usize| {
        parts.iter().flat_map(move |part| {
            let length = part.len() / rows.max(1);
            part[row * length..(row + 1) * length].iter().copied()
        })
    };
    (0..rows).flat_map(of_row).collect()
}

fn gather(x: &Constant, indices: &Constant, at: i64) -> Result<Constant, String> {
    let at = axis(at, x.shape.len())?;
    let length = x.shape[at] as i64;
    let place = |&index: &i64| {
        let absolute = if index < 0 { index.saturating_add(length) } else { index };
        if (0..length).contains(&absolute) { Ok(absolute as usize) } else { Err(format!("there is no index {index}")) }
    };
    let picked: Vec<usize> = indices.to_ints().iter().map(place).collect::<Result<_, _>>()?;
    let mut shape = x.shape.clone();
    shape.splice(at..=at, indices.shape.iter().copied());
    x.limited(&shape)?;
    Ok(Constant { shape, ..x.picked(at, picked) })
}
