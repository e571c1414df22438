//! Reads convolutions, poolings and padding.

use injerto_graph::{Activation, Operator, Padding, Window};

use super::reader::{Reader, Value, Weight};
use super::view::View;
use crate::proto::Node;
use crate::tensor::Constant;

/// Strides and padding of a node over an image.
struct Sliding {
    strides: [usize; 2],
    padding: Padding,
}

fn pair(values: Option<&[i64]>, default: [usize; 2], what: &str) -> Result<[usize; 2], String> {
    match values {
        None | Some([]) => Ok(default),
        Some(&[a, b]) => match (usize::try_from(a), usize::try_from(b)) {
            (Ok(a), Ok(b)) if a > 0 && b > 0 => Ok([a, b]),
            _ => Err(format!("its {what} {a}, {b} must be positive")),
        },
        Some(other) => Err(format!("its {what} has {} numbers, expected 2", other.len())),
    }
}

/// Reads the window of a node; `input` is the shape of the image.
fn sliding(node: &Node<'_>, window: [usize; 2], dilations: [usize; 2], input: &[usize]) -> Result<Sliding, String> {
    let strides = pair(node.ints("strides"), [1, 1], "strides")?;
    let mut sides = match node.ints("pads") {
        None | Some([]) => [[0_usize; 2]; 2],
        Some(&[top, left, bottom, right]) => {
            let side = |zeros: i64| usize::try_from(zeros).map_err(|_| format!("its padding is {zeros}"));
            [[side(top)?, side(bottom)?], [side(left)?, side(right)?]]
        }
        Some(other) => return Err(format!("its pads have {} numbers, expected 4", other.len())),
    };
    let field = |axis: usize| (window[axis] - 1).checked_mul(dilations[axis]).and_then(|field| field.checked_add(1));
    let fields = [field(0), field(1)];
    let [Some(height), Some(width)] = fields else { return Err("its window is too large".to_owned()) };
    let field = [height, width];
    match node.text("auto_pad").unwrap_or("NOTSET") {
        "NOTSET" => {}
        "VALID" => sides = [[0; 2]; 2],
        "SAME_UPPER" => return Ok(Sliding { strides, padding: Padding::Same }),
        "SAME_LOWER" => {
            for axis in 0..2 {
                let covered = (input[axis].div_ceil(strides[axis]) - 1).saturating_mul(strides[axis]);
                let total = covered.saturating_add(field[axis]).saturating_sub(input[axis]);
                sides[axis] = [total - total / 2, total / 2];
            }
        }
        other => return Err(format!("its auto_pad '{other}' is unknown")),
    }
    if node.int("ceil_mode", 0) == 1 {
        for axis in 0..2 {
            let padded = input[axis].saturating_add(sides[axis][0]).saturating_add(sides[axis][1]);
            let over = padded.saturating_sub(field[axis]) % strides[axis];
            // The last window must begin in the image or in the padding before it.
            let start = padded.saturating_sub(field[axis]).saturating_add(strides[axis] - over);
            if over > 0 && start < input[axis].saturating_add(sides[axis][0]) {
                sides[axis][1] += strides[axis] - over;
            }
        }
    }
    let padding = if sides == [[0; 2]; 2] { Padding::Valid } else { Padding::Explicit(sides) };
    Ok(Sliding { strides, padding })
}

impl Reader<'_> {
    pub(super) fn convolution(
        &mut self,
        node: &Node<'_>,
        x: &View,
        kernel: &Constant,
        bias: Option<&Constant>,
    ) -> Result<Value, String> {
        let x = self.image(x)?;
        let input = self.drafts[x].shape.0.clone();
        let &[filters, inputs, height, width] = kernel.shape.as_slice() else {
            return Err(format!("its kernel has {} axes, expected 4", kernel.shape.len()));
        };
        let kernel_size = pair(node.ints("kernel_shape"), [height, width], "kernel_shape")?;
        let dilation_rate = pair(node.ints("dilations"), [1, 1], "dilations")?;
        if kernel_size != [height, width] {
            return Err("its kernel has another shape than its attribute says".to_owned());
        }
        let groups = usize::try_from(node.int("group", 1)).map_err(|_| "its group is negative")?;
        if groups == 0 || inputs.checked_mul(groups) != Some(input[2]) || !filters.is_multiple_of(groups) {
            return Err(format!("its kernel takes {inputs} channels in {groups} groups, but there are {}", input[2]));
        }
        let Sliding { strides, padding, .. } = sliding(node, kernel_size, dilation_rate, &input)?;
        let bias = bias.map(Constant::to_floats);
        if bias.as_ref().is_some_and(|bias| bias.len() != filters) {
            return Err("its bias has another length".to_owned());
        }
        let (use_bias, activation) = (bias.is_some(), Activation::Linear);
        let is_depthwise = groups == input[2] && groups > 1;
        let (operator, values, shape) = match is_depthwise {
            true => {
                let depth_multiplier = filters / groups;
                let operator = Operator::DepthwiseConv2D {
                    kernel_size,
                    strides,
                    padding,
                    dilation_rate,
                    depth_multiplier,
                    use_bias,
                    activation,
                };
                (operator, kernel.transposed(&[2, 3, 0, 1]), vec![height, width, groups, depth_multiplier])
            }
            false => {
                let operator = Operator::Conv2D {
                    filters,
                    kernel_size,
                    strides,
                    padding,
                    dilation_rate,
                    groups,
                    use_bias,
                    activation,
                };
                (operator, kernel.transposed(&[2, 3, 1, 0]), vec![height, width, inputs, filters])
            }
        };
        let mut weights = vec![Weight { parameter: "kernel", shape, values: values.to_floats() }];
        weights.extend(bias.map(|values| Weight { parameter: "bias", shape: vec![filters], values }));
        let layer = self.add("", operator, &[x], weights)?;
        Ok(self.of_image(layer))
    }

    pub(super) fn pooling(&mut self, node: &Node<'_>, x: &View) -> Result<Value, String> {
        let x = self.image(x)?;
        let input = self.drafts[x].shape.0.clone();
        let pool_size = pair(node.ints("kernel_shape"), [0, 0], "kernel_shape")?;
        if pool_size[0] == 0 {
            return Err("it has no kernel_shape".to_owned());
        }
        if pair(node.ints("dilations"), [1, 1], "dilations")? != [1, 1] {
            return Err("its window has gaps (dilations)".to_owned());
        }
        let Sliding { strides, padding, .. } = sliding(node, pool_size, [1, 1], &input)?;
        let is_average = node.op == "AveragePool";
        let count_include_pad = is_average && node.int("count_include_pad", 0) == 1;
        let is_extended = node.int("ceil_mode", 0) == 1 && padding != Padding::Valid;
        if count_include_pad && is_extended {
            return Err("it counts padding and rounds up (ceil_mode); export it with one of them".to_owned());
        }
        let window = Window { pool_size, strides, padding, count_include_pad };
        let operator = if is_average { Operator::AveragePooling2D(window) } else { Operator::MaxPooling2D(window) };
        let layer = self.add("", operator, &[x], Vec::new())?;
        Ok(self.of_image(layer))
    }

    /// Reads zero padding around the image.
    pub(super) fn padding(&mut self, node: &Node<'_>, x: &View, inputs: &[Option<&Constant>]) -> Result<Value, String> {
        let input = |at: usize| inputs.get(at).copied().flatten();
        if node.text("mode").unwrap_or("constant") != "constant" {
            return Err("it repeats the image instead of adding zeros".to_owned());
        }
        let value = input(2).map_or(f64::from(node.float("value", 0.0)), |value| value.uniform().unwrap_or(f64::NAN));
        if value != 0.0 {
            return Err(format!("it adds {value} instead of zeros"));
        }
        let pads = input(1).map(Constant::to_ints).or_else(|| node.ints("pads").map(<[i64]>::to_vec));
        let pads = pads.ok_or("its padding is not a constant")?;
        let rank = x.axes.len();
        let axes: Vec<usize> = match input(3) {
            Some(axes) => axes.to_ints().iter().map(|&at| super::shapes::axis(at, rank)).collect::<Result<_, _>>()?,
            None => (0..rank).collect(),
        };
        if pads.len() != 2 * axes.len() {
            return Err("its padding has another length".to_owned());
        }
        let mut of_axis = vec![[0_usize; 2]; rank];
        for (at, &axis) in axes.iter().enumerate() {
            for (side, zeros) in [pads[at], pads[at + axes.len()]].into_iter().enumerate() {
                of_axis[axis][side] = usize::try_from(zeros).map_err(|_| "it cuts the image (negative padding)")?;
            }
        }
        if of_axis.iter().all(|sides| *sides == [0, 0]) {
            return Ok(Value::Seen(x.clone()));
        }
        let batch = x.batch_axis().ok_or("it pads the samples")?;
        let padded: Vec<usize> = (0..rank).filter(|&axis| of_axis[axis] != [0, 0]).collect();
        // The channels are the last axis in the layer; axes of length 1 may be at any place.
        let count = self.drafts[x.layer].shape.count();
        let fits = |order: &Vec<usize>| {
            order.len() == 3 && x.lies_in_order(order, count) && padded.iter().all(|axis| order[..2].contains(axis))
        };
        let order = self.orders(x).into_iter().find(fits).ok_or("it pads other axes than height and width")?;
        let [height, width] = [order[0], order[1]];
        let layer = self.materialise(x, &order)?;
        let operator = Operator::ZeroPadding2D { padding: [of_axis[height], of_axis[width]] };
        let layer = self.add("", operator, &[layer], Vec::new())?;
        Ok(Value::Seen(self.placed(layer, &order, rank, batch)))
    }
}
