//! Shape inference: the shape of a layer's output, and its parameters, from the shapes of its inputs.

use crate::limits::{LARGEST_SIDE, MOST_AXES};
use crate::{GraphError, Operator, Padding, Parameter, Resample, Role, Shape, Window};

/// Padding of one axis, `(before, after)`, and the length of the output; `None` if no window fits.
///
/// `same` is TensorFlow's rule (<https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2>): the total padding is
/// `max((ceil(n / stride) - 1) * stride + window - n, 0)`, and the smaller half comes before the axis.
pub fn window_padding(
    padding: Padding,
    axis: usize,
    length: usize,
    window: usize,
    stride: usize,
    dilation: usize,
) -> Option<((usize, usize), usize)> {
    let window = (window.checked_sub(1)?).checked_mul(dilation)?.checked_add(1)?;
    let (before, after) = match padding {
        Padding::Valid => (0, 0),
        Padding::Same => {
            let covered = length.div_ceil(stride).checked_sub(1)?.checked_mul(stride)?.checked_add(window)?;
            let total = covered.saturating_sub(length);
            (total / 2, total - total / 2)
        }
        Padding::Explicit(sides) => (sides[axis][0], sides[axis][1]),
    };
    let padded = length.checked_add(before)?.checked_add(after)?;
    Some(((before, after), padded.checked_sub(window)? / stride + 1))
}

/// Shape of a layer's output and its parameters, from the shapes of its inputs.
pub(crate) fn infer(
    index: usize,
    (name, operator): (&str, &Operator),
    inputs: &[&Shape],
) -> Result<(Shape, Vec<Parameter>), GraphError> {
    let class = operator.class();
    let expect_inputs = |ok: bool, expected: &'static str| {
        if ok {
            return Ok(());
        }
        Err(GraphError::InputCount { index, layer: name.to_owned(), class, expected, found: inputs.len() })
    };
    match operator {
        Operator::InputLayer { .. } => expect_inputs(inputs.is_empty(), "no input")?,
        Operator::Concatenate {} | Operator::Add {} | Operator::Multiply {} => {
            expect_inputs(inputs.len() >= 2, "two inputs or more")?;
        }
        Operator::DotProductAttention { .. } => expect_inputs(matches!(inputs.len(), 1 | 3), "one input or three")?,
        _ => expect_inputs(inputs.len() == 1, "one input")?,
    }
    let fail = |reason: String| GraphError::Shape {
        index,
        layer: name.to_owned(),
        class,
        input: inputs.first().map_or_else(|| Shape(Vec::new()), |&shape| shape.clone()),
        reason,
    };
    let option = |reason: String| GraphError::Option { index, layer: name.to_owned(), class, reason };
    operator.check().map_err(option)?;
    let (shape, parameters) = output(operator, inputs).map_err(fail)?;
    if shape.0.len() > MOST_AXES {
        return Err(fail(format!("its output would have {} axes, but the limit is {MOST_AXES}", shape.0.len())));
    }
    if shape.0.is_empty() || shape.0.iter().any(|&side| side == 0 || side > LARGEST_SIDE) {
        return Err(fail(format!("its output would be {shape}")));
    }
    Ok((shape, parameters))
}

impl Operator {
    /// Shape of one output sample for inputs of these shapes.
    ///
    /// # Errors
    /// [`GraphError`], as for a layer of a [`Graph`](crate::Graph), with `name` as the layer's name.
    pub fn output_shape(&self, name: &str, inputs: &[&Shape]) -> Result<Shape, GraphError> {
        infer(0, (name, self), inputs).map(|(shape, _)| shape)
    }
}

fn output(operator: &Operator, inputs: &[&Shape]) -> Result<(Shape, Vec<Parameter>), String> {
    let plain = |shape: Shape| Ok((shape, Vec::new()));
    let image = || inputs[0].image().ok_or_else(|| "expected [height, width, channels]".to_owned());
    match operator {
        Operator::InputLayer { shape } => plain(Shape(shape.clone())),
        Operator::Rescaling { scale, offset } => {
            let channels = inputs[0].channels();
            for values in [scale, offset] {
                if values.len().is_some_and(|n| n != channels) {
                    return Err(format!("{} values for {channels} channels", values.len().unwrap_or(1)));
                }
            }
            plain(inputs[0].clone())
        }
        Operator::Normalization {} => {
            let c = [inputs[0].channels()];
            let parameters = vec![
                Parameter::new(Role::Mean, &c),
                Parameter::new(Role::Variance, &c),
                Parameter::new(Role::Count, &[]),
            ];
            Ok((inputs[0].clone(), parameters))
        }
        Operator::Conv2D { filters, kernel_size, strides, padding, dilation_rate, groups, use_bias, .. } => {
            let [h, w, c] = image()?;
            if *groups == 0 || c % groups != 0 || filters % groups != 0 {
                return Err(format!("{groups} groups do not divide both {c} channels and {filters} filters"));
            }
            let [oh, ow] = slide([h, w], *kernel_size, *strides, *padding, *dilation_rate)?;
            let kernel = [kernel_size[0], kernel_size[1], c / groups, *filters];
            let mut parameters = vec![Parameter::new(Role::ConvolutionKernel, &kernel)];
            parameters.extend(use_bias.then(|| Parameter::new(Role::Bias, &[*filters])));
            Ok((Shape(vec![oh, ow, *filters]), parameters))
        }
        Operator::DepthwiseConv2D {
            kernel_size, strides, padding, dilation_rate, depth_multiplier, use_bias, ..
        } => {
            let [h, w, c] = image()?;
            let [oh, ow] = slide([h, w], *kernel_size, *strides, *padding, *dilation_rate)?;
            let out = c.checked_mul(*depth_multiplier).ok_or("too many channels")?;
            let kernel = [kernel_size[0], kernel_size[1], c, *depth_multiplier];
            let mut parameters = vec![Parameter::new(Role::DepthwiseKernel, &kernel)];
            parameters.extend(use_bias.then(|| Parameter::new(Role::Bias, &[out])));
            Ok((Shape(vec![oh, ow, out]), parameters))
        }
        Operator::SeparableConv2D {
            filters,
            kernel_size,
            strides,
            padding,
            dilation_rate,
            depth_multiplier,
            use_bias,
            ..
        } => {
            let [h, w, c] = image()?;
            let [oh, ow] = slide([h, w], *kernel_size, *strides, *padding, *dilation_rate)?;
            let between = c.checked_mul(*depth_multiplier).ok_or("too many channels")?;
            if between == 0 || between > LARGEST_SIDE {
                return Err(format!("there would be {between} channels between its two convolutions"));
            }
            let depthwise = [kernel_size[0], kernel_size[1], c, *depth_multiplier];
            let mut parameters = vec![
                Parameter::new(Role::DepthwiseKernel, &depthwise).named("depthwise_kernel"),
                Parameter::new(Role::ConvolutionKernel, &[1, 1, between, *filters]).named("pointwise_kernel"),
            ];
            parameters.extend(use_bias.then(|| Parameter::new(Role::Bias, &[*filters])));
            Ok((Shape(vec![oh, ow, *filters]), parameters))
        }
        Operator::BatchNormalization { center, scale, .. } => {
            let c = inputs[0].channels();
            let mut parameters = scale_and_shift(c, *scale, *center);
            parameters.push(Parameter::new(Role::MovingMean, &[c]));
            parameters.push(Parameter::new(Role::MovingVariance, &[c]));
            Ok((inputs[0].clone(), parameters))
        }
        Operator::LayerNormalization { center, scale, .. } => {
            Ok((inputs[0].clone(), scale_and_shift(inputs[0].channels(), *scale, *center)))
        }
        Operator::GroupNormalization { groups, center, scale, .. } => {
            let channels = inputs[0].channels();
            if *groups == 0 || !channels.is_multiple_of(*groups) {
                return Err(format!("{groups} groups do not divide {channels} channels"));
            }
            Ok((inputs[0].clone(), scale_and_shift(channels, *scale, *center)))
        }
        Operator::GlobalResponseNormalization { .. } => {
            Ok((inputs[0].clone(), scale_and_shift(inputs[0].channels(), true, true)))
        }
        Operator::LayerScale {} => Ok((inputs[0].clone(), scale_and_shift(inputs[0].channels(), true, false))),
        Operator::DotProductAttention { num_heads } => {
            let Attention { tokens, value_channels, .. } = Attention::new(*num_heads, inputs)?;
            plain(Shape(vec![tokens, value_channels]))
        }
        Operator::PrependTokens { count } => {
            let [tokens, channels] = sequence(inputs[0])?;
            let all = tokens.checked_add(*count).ok_or("too many tokens")?;
            Ok((Shape(vec![all, channels]), vec![Parameter::new(Role::Embedding, &[*count, channels])]))
        }
        Operator::PositionEmbedding { resample: None } => {
            Ok((inputs[0].clone(), vec![Parameter::new(Role::Embedding, &inputs[0].0)]))
        }
        Operator::PositionEmbedding { resample: Some(Resample { from, to }) } => {
            let [tokens, channels] = sequence(inputs[0])?;
            if from.iter().chain(to).any(|&side| side == 0 || side > LARGEST_SIDE) {
                return Err(format!("the sides of {from:?} and {to:?} must be 1 to {LARGEST_SIDE}"));
            }
            let area = |[height, width]: [usize; 2]| height * width;
            let Some(before) = tokens.checked_sub(area(*to)) else {
                return Err(format!("a grid of {to:?} has more positions than the {tokens} tokens"));
            };
            let learned = vec![Parameter::new(Role::Embedding, &[before + area(*from), channels])];
            Ok((inputs[0].clone(), learned))
        }
        Operator::Cropping1D { cropping: [before, after] } => {
            let [positions, channels] = sequence(inputs[0])?;
            let left = before.checked_add(*after).and_then(|cropped| positions.checked_sub(cropped));
            match left {
                Some(left) if left > 0 => plain(Shape(vec![left, channels])),
                _ => Err(format!("leaving out {before} and {after} positions leaves none")),
            }
        }
        Operator::ReLU { .. } | Operator::Activation { .. } | Operator::Softmax {} | Operator::Dropout { .. } => {
            plain(inputs[0].clone())
        }
        Operator::ZeroPadding2D { padding: [[top, bottom], [left, right]] } => {
            let [h, w, c] = image()?;
            let side = |n: usize, a: usize, b: usize| n.checked_add(a)?.checked_add(b);
            let sides = (side(h, *top, *bottom), side(w, *left, *right));
            let (Some(h), Some(w)) = sides else {
                return Err("padding overflows".to_owned());
            };
            plain(Shape(vec![h, w, c]))
        }
        Operator::MaxPooling2D(window) | Operator::AveragePooling2D(window) => {
            let Window { pool_size, strides, padding, .. } = window;
            let [h, w, c] = image()?;
            let [oh, ow] = slide([h, w], *pool_size, *strides, *padding, [1, 1])?;
            plain(Shape(vec![oh, ow, c]))
        }
        Operator::GlobalAveragePooling2D { keepdims } | Operator::GlobalMaxPooling2D { keepdims } => {
            let [_, _, c] = image()?;
            plain(Shape(if *keepdims { vec![1, 1, c] } else { vec![c] }))
        }
        Operator::Concatenate {} => {
            let rank = inputs[0].0.len();
            let front = &inputs[0].0[..rank - 1];
            if let Some(other) = inputs.iter().find(|s| s.0.len() != rank || s.0[..rank - 1] != *front) {
                return Err(format!("another input is {other}: all axes but the last must agree"));
            }
            let mut shape = front.to_vec();
            // Each summand is at most the largest side, and the number of inputs is limited, so the sum does not overflow.
            shape.push(inputs.iter().map(|s| s.channels()).fold(0, usize::saturating_add));
            plain(Shape(shape))
        }
        Operator::Take { indices } => {
            let channels = inputs[0].channels();
            if let Some(index) = indices.iter().find(|&&index| index >= channels) {
                return Err(format!("there is no channel {index} among {channels}, which are counted from 0"));
            }
            let mut shape = inputs[0].0.clone();
            shape.pop();
            shape.push(indices.len());
            plain(Shape(shape))
        }
        Operator::Add {} | Operator::Multiply {} => {
            let mut shape = inputs[0].0.clone();
            for other in &inputs[1..] {
                let fits = other.0.len() == shape.len()
                    && shape.iter().zip(&other.0).all(|(a, b)| a == b || *a == 1 || *b == 1);
                if !fits {
                    return Err(format!("another input is {other}: sides must be equal or 1"));
                }
                shape.iter_mut().zip(&other.0).for_each(|(a, b)| *a = (*a).max(*b));
            }
            plain(Shape(shape))
        }
        Operator::Dense { units, use_bias, .. } => {
            if inputs[0].0.is_empty() {
                return Err("expected at least one axis".to_owned());
            }
            let mut shape = inputs[0].0.clone();
            let features = inputs[0].channels();
            *shape.last_mut().expect("checked above") = *units;
            let mut parameters = vec![Parameter::new(Role::DenseKernel, &[features, *units])];
            parameters.extend(use_bias.then(|| Parameter::new(Role::Bias, &[*units])));
            Ok((Shape(shape), parameters))
        }
        Operator::Flatten {} => plain(Shape(vec![inputs[0].count()])),
        Operator::Reshape { target_shape } => {
            let target = target_shape.iter().try_fold(1_usize, |n, &side| n.checked_mul(side));
            if target != Some(inputs[0].count()) {
                return Err(format!("{} values do not fill {}", inputs[0].count(), Shape(target_shape.clone())));
            }
            plain(Shape(target_shape.clone()))
        }
    }
}

/// Gamma and beta of a normalisation, if it has them.
fn scale_and_shift(channels: usize, scale: bool, center: bool) -> Vec<Parameter> {
    let roles = [(scale, Role::Gamma), (center, Role::Beta)].into_iter().filter(|(has, _)| *has);
    roles.map(|(_, role)| Parameter::new(role, &[channels])).collect()
}

/// The sides of `[tokens, channels]`.
fn sequence(shape: &Shape) -> Result<[usize; 2], String> {
    shape.0.as_slice().try_into().map_err(|_| "expected [tokens, channels]".to_owned())
}

/// The sizes of an [`Operator::DotProductAttention`], for one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    /// Number of heads.
    pub heads: usize,
    /// Number of queries.
    pub tokens: usize,
    /// Number of keys, and of values.
    pub others: usize,
    /// Channels of all queries of a token, and of all keys.
    pub channels: usize,
    /// Channels of all values of a token, and of the output.
    pub value_channels: usize,
}

impl Attention {
    /// The sizes of an attention with these inputs.
    ///
    /// # Errors
    /// A message, if an input is not `[tokens, channels]`, or the inputs and the number of heads do not fit together.
    ///
    /// # Panics
    /// If there is no input.
    pub fn new(heads: usize, inputs: &[&Shape]) -> Result<Self, String> {
        let [tokens, channels] = sequence(inputs[0])?;
        let sizes = match inputs[1..] {
            [keys, values] => {
                let ([others, width], [count, value_channels]) = (sequence(keys)?, sequence(values)?);
                if width != channels || count != others {
                    return Err(format!("queries of {channels} channels do not fit keys {keys} and values {values}"));
                }
                Self { heads, tokens, others, channels, value_channels }
            }
            _ if channels.is_multiple_of(3) => {
                Self { heads, tokens, others: tokens, channels: channels / 3, value_channels: channels / 3 }
            }
            _ => return Err(format!("{channels} channels are not queries, keys and values of equal width")),
        };
        let whole = |channels: usize| heads > 0 && channels.is_multiple_of(heads);
        match whole(sizes.channels) && whole(sizes.value_channels) {
            true => Ok(sizes),
            false => {
                let Self { channels, value_channels, .. } = sizes;
                Err(format!("{heads} heads do not divide {channels} channels and {value_channels} channels of values"))
            }
        }
    }
}

/// Output height and width of a window that slides over an image.
pub(crate) fn slide(
    [h, w]: [usize; 2],
    window: [usize; 2],
    strides: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
) -> Result<[usize; 2], String> {
    if window.contains(&0) || strides.contains(&0) || dilation.contains(&0) {
        return Err("window, strides and dilation must be at least 1".to_owned());
    }
    let sides = match padding {
        Padding::Explicit(sides) => sides,
        Padding::Valid | Padding::Same => [[0, 0]; 2],
    };
    if [window, strides, dilation, sides[0], sides[1]].as_flattened().iter().any(|&n| n > LARGEST_SIDE) {
        return Err(format!("window, strides, dilation or padding are larger than {LARGEST_SIDE}"));
    }
    let axis = |axis: usize, length: usize| {
        window_padding(padding, axis, length, window[axis], strides[axis], dilation[axis])
            .map(|(_, out)| out)
            .ok_or_else(|| format!("a window of {} does not fit in {length}", window[axis]))
    };
    Ok([axis(0, h)?, axis(1, w)?])
}
