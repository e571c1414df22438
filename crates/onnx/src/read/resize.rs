//! Computes `Resize` of constants: of a position embedding's grid, which some exporters interpolate in the model.
//!
//! Source: <https://onnx.ai/onnx/operators/onnx__Resize.html>.

use super::shapes::{MOST_COMPUTED, sides};
use crate::proto::Node;
use crate::tensor::{Constant, count};

/// For each value of a resized row, the places and weights of the values from which it is interpolated.
type Taps = Vec<Vec<(usize, f64)>>;

/// Resizes the last two axes of a constant of four axes.
pub(super) fn resize(node: &Node<'_>, inputs: &[Option<&Constant>]) -> Result<Constant, String> {
    let input = |at: usize| inputs.get(at).copied().flatten();
    let x = input(0).ok_or("it has no input")?;
    let &[samples, channels, height, width] = x.shape.as_slice() else {
        return Err("it resizes a constant that is not a grid of four axes".to_owned());
    };
    let lengths = match (input(3), input(2)) {
        (Some(sizes), _) if sizes.len() == 4 => sides(&sizes.to_ints())?,
        (_, Some(scales)) if scales.len() == 4 => {
            let scaled = |(&side, scale): (&usize, f32)| (side as f64 * f64::from(scale)).floor() as usize;
            x.shape.iter().zip(scales.to_floats()).map(scaled).collect()
        }
        _ => return Err("it does not say a size".to_owned()),
    };
    if lengths[..2] != [samples, channels] {
        return Err("it resizes other axes than the last two".to_owned());
    }
    if count(&lengths).is_none_or(|count| count > MOST_COMPUTED) || lengths.contains(&0) || height * width == 0 {
        return Err("its size is too large, or 0".to_owned());
    }
    let (rows, columns) = (taps(node, height, lengths[2])?, taps(node, width, lengths[3])?);
    let values = x.to_floats();
    let mut out = Vec::with_capacity(lengths.iter().product());
    for plane in values.chunks_exact(height * width) {
        for row in &rows {
            for column in &columns {
                let of_row = |&(y, tall): &(usize, f64)| {
                    let each = column.iter().map(|&(x, broad)| broad * f64::from(plane[y * width + x]));
                    tall * each.sum::<f64>()
                };
                out.push(row.iter().map(of_row).sum::<f64>() as f32);
            }
        }
    }
    Ok(Constant::floats(lengths, out))
}

/// The weights of one axis.
fn taps(node: &Node<'_>, from: usize, to: usize) -> Result<Taps, String> {
    if node.int("antialias", 0) == 1 || node.int("exclude_outside", 0) == 1 {
        return Err("it resizes with antialiasing, or leaves the border out".to_owned());
    }
    let scale = from as f64 / to as f64;
    let place = |at: usize| match node.text("coordinate_transformation_mode").unwrap_or("half_pixel") {
        "pytorch_half_pixel" if to == 1 => Ok(0.0),
        "half_pixel" | "pytorch_half_pixel" => Ok((at as f64 + 0.5) * scale - 0.5),
        "asymmetric" => Ok(at as f64 * scale),
        "align_corners" if to > 1 => Ok(at as f64 * (from - 1) as f64 / (to - 1) as f64),
        "align_corners" => Ok(0.0),
        other => Err(format!("its coordinates '{other}' are unknown")),
    };
    let a = f64::from(node.float("cubic_coeff_a", -0.75));
    let cubic = |x: f64| match x.abs() {
        x if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((x - 5.0) * x + 8.0) * x * a - 4.0 * a,
        _ => 0.0,
    };
    let inside = |at: f64| at.clamp(0.0, (from - 1) as f64) as usize;
    (0..to)
        .map(|at| {
            let place = place(at)?;
            let first = place.floor();
            let at = |steps: f64| inside(first + steps);
            match node.text("mode").unwrap_or("nearest") {
                "cubic" => Ok([-1.0, 0.0, 1.0, 2.0].map(|step| (at(step), cubic(place - first - step))).to_vec()),
                "linear" => Ok(vec![(at(0.0), 1.0 - (place - first)), (at(1.0), place - first)]),
                other => Err(format!("its mode '{other}' is neither cubic nor linear")),
            }
        })
        .collect()
}
