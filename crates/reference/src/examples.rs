use injerto_graph::layers::{
    AveragePooling2D, BatchNormalization, Conv2D, Dense, DepthwiseConv2D, DotProductAttention, Dropout,
    GlobalAveragePooling2D, GlobalMaxPooling2D, GlobalResponseNormalization, GroupNormalization, LayerNormalization,
    MaxPooling2D, PositionEmbedding, PrependTokens, ReLU, Rescaling, SeparableConv2D, ZeroPadding2D,
};
use injerto_graph::{Activation, Builder, Graph, LayerId, Operator, Padding, PerChannel, Resample};

/// The classes of all operators.
///
/// The list and the match come from one place, so a new operator does not compile until it stands here, and then the suite
/// asks for its examples.
macro_rules! classes {
    ($($class:ident)*) => {
        /// Classes of all operators there are, as [`Operator::class`] names them.
        pub fn classes() -> &'static [&'static str] {
            &[$(stringify!($class)),*]
        }

        #[cfg(test)]
        fn listed(operator: &Operator) -> &'static str {
            match operator { $(Operator::$class { .. } => stringify!($class)),* }
        }
    };
}

classes! {
    InputLayer Rescaling Normalization Conv2D DepthwiseConv2D BatchNormalization ReLU Activation Softmax ZeroPadding2D
    MaxPooling2D AveragePooling2D GlobalAveragePooling2D GlobalMaxPooling2D Concatenate Add Multiply Dense Dropout Flatten
    Reshape LayerNormalization GroupNormalization GlobalResponseNormalization LayerScale DotProductAttention PrependTokens
    PositionEmbedding Cropping1D SeparableConv2D Take
}

/// One operator with some attributes, on an input.
#[derive(Debug, Clone)]
pub struct Example {
    /// Class of the operator that it is an example of.
    pub class: &'static str,
    /// Shape of the image that comes in.
    pub input: [usize; 3],
    /// Layers; the numbers are what they read, 0 for the image and n for the n-th of these layers.
    pub layers: Vec<(Operator, Vec<usize>)>,
}

impl Example {
    /// A network of nothing else.
    pub fn alone(&self) -> Graph {
        let mut net = Builder::new("alone");
        let image = net.input(self.input);
        self.finish(net, image)
    }

    /// The same after a pointwise convolution: its gradients show whether the operator hands on those of its input.
    pub fn after_a_convolution(&self) -> Graph {
        let mut net = Builder::new("after_a_convolution");
        let image = net.input(self.input);
        let image = net.add("before", Conv2D::new(self.input[2], 1), &[image]);
        self.finish(net, image)
    }

    fn finish(&self, mut net: Builder, image: LayerId) -> Graph {
        let mut made = vec![image];
        for (at, (operator, inputs)) in self.layers.iter().enumerate() {
            let inputs: Vec<LayerId> = inputs.iter().map(|&input| made[input]).collect();
            made.push(net.add(format!("layer_{}", at + 1), operator.clone(), &inputs));
        }
        net.finish().expect("examples hold together")
    }
}

/// Every operator alone, over the grid of its attributes. There is an example of each of the [`classes`].
pub fn examples() -> Vec<Example> {
    let mut all = vec![Example { class: "InputLayer", input: [3, 4, 2], layers: Vec::new() }];
    windows(&mut all);
    for activation in Activation::ALL {
        one(&mut all, [5, 4, 7], Operator::Activation { activation });
        one(&mut all, [3, 3, 18], Conv2D::new(20, 3).activation(activation));
        one(&mut all, [3, 3, 18], DepthwiseConv2D::new(3).activation(activation));
        one(&mut all, [2, 3, 5], Dense::new(6).activation(activation));
        one(&mut all, [5, 4, 7], SeparableConv2D::new(6, 3).same().activation(activation));
    }
    for max_value in [None, Some(6.0), Some(0.4), Some(0.0)] {
        one(&mut all, [5, 4, 7], ReLU::new().max_value(max_value));
        one(&mut all, [5, 4, 7], ReLU::new().max_value(max_value).negative_slope(0.3));
    }
    for channels in [1, 3, 17] {
        one(&mut all, [3, 4, channels], Operator::Softmax {});
        one(&mut all, [3, 4, channels], Operator::Normalization {});
        one(&mut all, [3, 4, channels], Rescaling::new(-1.5).offset(0.25));
        one(&mut all, [3, 4, channels], Rescaling::new(each(channels, 0.5)).offset(each(channels, -1.0)));
        one(&mut all, [3, 4, channels], Dense::new(33).use_bias(false));
        one(&mut all, [3, 4, channels], Operator::Flatten {});
        for (center, scale) in [(true, true), (true, false), (false, true), (false, false)] {
            one(&mut all, [3, 4, channels], BatchNormalization::new().epsilon(0.1).center(center).scale(scale));
        }
        for keepdims in [false, true] {
            one(&mut all, [5, 4, channels], GlobalAveragePooling2D::new().keepdims(keepdims));
            one(&mut all, [5, 4, channels], GlobalMaxPooling2D::new().keepdims(keepdims));
        }
        for padding in [[[0, 0], [0, 0]], [[1, 1], [1, 1]], [[0, 1], [2, 0]], [[3, 0], [0, 5]]] {
            one(&mut all, [5, 4, channels], ZeroPadding2D::new(padding));
        }
        for (rate, per_sample) in [(0.0, false), (0.25, false), (0.25, true), (0.9, false)] {
            one(&mut all, [5, 4, channels], Dropout::new(rate).per_sample(per_sample));
        }
    }
    for target_shape in [vec![2, 6, 10], vec![120], vec![1, 1, 120], vec![4, 30], vec![2, 2, 5, 6]] {
        one(&mut all, [4, 6, 5], Operator::Reshape { target_shape });
    }
    separable(&mut all);
    takes(&mut all);
    several(&mut all);
    normalisations(&mut all);
    tokens(&mut all);
    all
}

/// Two convolutions that are one layer.
fn separable(all: &mut Vec<Example>) {
    for channels in [1, 5, 18] {
        for (kernel, strides, dilation) in
            [([3, 3], [1, 1], [1, 1]), ([1, 5], [2, 1], [1, 1]), ([3, 2], [1, 1], [2, 1])]
        {
            for padding in [Padding::Valid, Padding::Same, Padding::Explicit([[1, 0], [0, 2]])] {
                let layer = SeparableConv2D::new(9, kernel).strides(strides).dilation_rate(dilation).padding(padding);
                one(all, [7, 6, channels], layer.clone().use_bias(false));
                one(all, [7, 6, channels], layer.depth_multiplier(3));
            }
        }
    }
    one(all, [7, 9, 70], SeparableConv2D::new(48, 3).same().relu());
}

/// Parts, shuffles and repetitions of channels.
fn takes(all: &mut Vec<Example>) {
    for indices in [vec![2], vec![0, 1, 2], vec![3, 4, 5], vec![0, 3, 1, 4, 2, 5], vec![5, 0, 0, 5, 1]] {
        one(all, [3, 4, 6], Operator::Take { indices: indices.clone() });
        on_tokens(all, [4, 5, 6], &[], Operator::Take { indices });
    }
    one(all, [3, 4, 40], Operator::Take { indices: (0..20).flat_map(|c| [c, c + 20]).collect() });
    one(all, [3, 4, 40], Operator::Take { indices: (7..33).collect() });
}

/// Normalisations that use no statistics of a batch, and the scaling of channels.
fn normalisations(all: &mut Vec<Example>) {
    for channels in [1, 3, 16, 35] {
        for (center, scale) in [(true, true), (true, false), (false, true), (false, false)] {
            let layer = LayerNormalization::new().epsilon(0.03).center(center).scale(scale);
            one(all, [3, 4, channels], layer);
            let group = GroupNormalization::new().epsilon(0.03).center(center).scale(scale);
            one(all, [3, 4, channels], group.clone().groups(1));
            one(all, [5, 2, channels], group.groups(channels));
        }
        one(all, [3, 4, channels], GlobalResponseNormalization::new());
        one(all, [3, 4, channels], Operator::LayerScale {});
    }
    one(all, [3, 4, 12], GroupNormalization::new().groups(4));
    // On tokens too.
    for operator in [
        LayerNormalization::new().into(),
        GroupNormalization::new().groups(3).into(),
        GlobalResponseNormalization::new().into(),
        Operator::LayerScale {},
    ] {
        on_tokens(all, [4, 5, 18], &[], operator);
    }
}

/// Operators on `[tokens, channels]`.
fn tokens(all: &mut Vec<Example>) {
    for (image, heads) in [([2, 3, 6], 1), ([2, 3, 12], 2), ([1, 1, 9], 3), ([5, 7, 60], 5), ([9, 9, 192], 4)] {
        on_tokens(all, image, &[], DotProductAttention::new(heads).into());
    }
    // Queries, keys and values apart, and other numbers of keys and of channels.
    let dense = |units: usize| -> Operator { Dense::new(units).into() };
    let crop = Operator::Cropping1D { cropping: [3, 1] };
    for (others, width, value_width, heads) in [(false, 8, 6, 2), (true, 4, 10, 1), (true, 33, 35, 1)] {
        let keys: Operator = if others { crop.clone() } else { Operator::Activation { activation: Activation::Tanh } };
        let mut layers = vec![(Operator::Reshape { target_shape: vec![12, 5] }, vec![0]), (keys, vec![1])];
        layers.extend([(dense(width), vec![1]), (dense(width), vec![2]), (dense(value_width), vec![2])]);
        layers.push((DotProductAttention::new(heads).into(), vec![3, 4, 5]));
        all.push(Example { class: "DotProductAttention", input: [3, 4, 5], layers });
    }
    for channels in [1, 5, 16, 35] {
        on_tokens(all, [2, 3, channels], &[], PrependTokens::new().into());
        on_tokens(all, [2, 3, channels], &[], PrependTokens::new().count(5).into());
        on_tokens(all, [2, 3, channels], &[], PositionEmbedding::new().into());
        one(all, [2, 3, channels], PositionEmbedding::new());
        for (from, prefix) in [([2, 3], 0), ([4, 4], 1), ([1, 2], 2), ([7, 9], 1)] {
            let first: Vec<Operator> =
                (0..usize::from(prefix > 0)).map(|_| PrependTokens::new().count(prefix).into()).collect();
            let resample = Resample { from, to: [2, 3] };
            on_tokens(all, [2, 3, channels], &first, PositionEmbedding::new().resample(resample).into());
        }
        for cropping in [[0, 0], [0, 5], [1, 0], [2, 3]] {
            on_tokens(all, [2, 3, channels], &[], Operator::Cropping1D { cropping });
        }
    }
}

/// An operator on the tokens of an image, after some others.
fn on_tokens(all: &mut Vec<Example>, [height, width, channels]: [usize; 3], first: &[Operator], operator: Operator) {
    let class = operator.class();
    let reshape = Operator::Reshape { target_shape: vec![height * width, channels] };
    let operators = std::iter::once(reshape).chain(first.iter().cloned()).chain([operator]);
    let layers = operators.enumerate().map(|(at, operator)| (operator, vec![at])).collect();
    all.push(Example { class, input: [height, width, channels], layers });
}

fn one(all: &mut Vec<Example>, input: [usize; 3], operator: impl Into<Operator>) {
    let operator = operator.into();
    all.push(Example { class: operator.class(), input, layers: vec![(operator, vec![0])] });
}

/// A number per channel, none like another.
fn each(channels: usize, first: f64) -> PerChannel {
    PerChannel::Each((0..channels).map(|c| first + 0.1 * c as f64).collect())
}

/// Operators with a window, over windows, strides, padding and dilation.
fn windows(all: &mut Vec<Example>) {
    let kernels = [[1, 1], [3, 3], [2, 3], [5, 1], [1, 4], [4, 4]];
    let paddings = [Padding::Valid, Padding::Same, Padding::Explicit([[0, 1], [2, 1]])];
    let mut count = 0;
    for kernel in kernels {
        for strides in [[1, 1], [2, 2], [1, 3]] {
            for padding in paddings {
                for dilation in [[1, 1], [2, 1], [2, 2]] {
                    count += 1;
                    let input = [9, 10, [1, 4, 6, 18][count % 4]];
                    if kernel[0].max(kernel[1]) == 4 && dilation == [2, 2] {
                        continue;
                    }
                    let convolution = Conv2D::new([2, 5, 17, 34][count / 2 % 4], kernel);
                    let convolution = convolution.strides(strides).padding(padding).dilation_rate(dilation);
                    one(all, input, convolution.clone().use_bias(count.is_multiple_of(3)));
                    let groups = if input[2] == 1 { 1 } else { 2 };
                    let grouped = Conv2D::new(groups * [1, 3, 16][count % 3], kernel).groups(groups);
                    one(all, input, grouped.strides(strides).padding(padding).dilation_rate(dilation));
                    let depthwise = DepthwiseConv2D::new(kernel).depth_multiplier([1, 1, 2, 3][count / 3 % 4]);
                    let depthwise = depthwise.strides(strides).padding(padding).dilation_rate(dilation);
                    one(all, input, depthwise.use_bias(count.is_multiple_of(2)));
                }
                // Padding that is at most half a window, so that each window holds a part of the image.
                let halves = kernel.map(|side: usize| [side / 2, (side - 1) / 2]);
                let padding = if let Padding::Explicit(_) = padding { Padding::Explicit(halves) } else { padding };
                let input = [9, 10, [1, 4, 18][count % 3]];
                one(all, input, MaxPooling2D::new(kernel).strides(strides).padding(padding));
                for count_include_pad in [false, true] {
                    let average = AveragePooling2D::new(kernel).strides(strides).padding(padding);
                    one(all, input, average.count_include_pad(count_include_pad));
                }
            }
        }
    }
    // Each channel by itself, written as a convolution with groups.
    for channels in [1, 6, 18] {
        one(all, [7, 6, channels], Conv2D::new(channels, 3).groups(channels).same());
    }
    // As many channels as the methods want that save products: squares of three, and lines.
    for (kernel, channels, filters) in
        [([3, 3], 48, 64), ([3, 3], 33, 48), ([3, 3], 64, 96), ([1, 7], 48, 64), ([7, 1], 64, 50), ([1, 1], 70, 100)]
    {
        for padding in [Padding::Valid, Padding::Same] {
            one(all, [13, 17, channels], Conv2D::new(filters, kernel).padding(padding).relu());
        }
    }
    for multiplier in [1, 2] {
        one(all, [7, 9, 70], DepthwiseConv2D::new(3).depth_multiplier(multiplier).same().relu());
        one(all, [7, 9, 70], DepthwiseConv2D::new(5).depth_multiplier(multiplier).strides(2).same());
    }
}

/// Operators that join several values.
fn several(all: &mut Vec<Example>) {
    let scaled: Operator = Rescaling::new(0.5).offset(-0.75).into();
    let wide: Operator = Conv2D::new(17, 1).into();
    let pooled: Operator = GlobalAveragePooling2D::new().keepdims(true).into();
    let line: Operator = Conv2D::new(1, [4, 1]).into();
    let mut join = |input, operator: Operator, first: &[Operator], inputs: &[usize]| {
        let mut layers: Vec<(Operator, Vec<usize>)> = first.iter().map(|first| (first.clone(), vec![0])).collect();
        layers.push((operator.clone(), inputs.to_vec()));
        all.push(Example { class: operator.class(), input, layers });
    };
    for channels in [1, 5, 16] {
        let input = [4, 6, channels];
        for operator in [Operator::Add {}, Operator::Concatenate {}, Operator::Multiply {}] {
            join(input, operator.clone(), std::slice::from_ref(&scaled), &[0, 1]);
            join(input, operator.clone(), std::slice::from_ref(&scaled), &[1, 0, 1]);
            join(input, operator, &[], &[0, 0]);
        }
        join(input, Operator::Concatenate {}, std::slice::from_ref(&wide), &[1, 0, 1]);
        // Sides of length 1 are repeated, on any axis of any input.
        for operator in [Operator::Add {}, Operator::Multiply {}] {
            join(input, operator.clone(), std::slice::from_ref(&pooled), &[0, 1]);
            join(input, operator.clone(), std::slice::from_ref(&pooled), &[1, 0]);
            join(input, operator.clone(), &[pooled.clone(), line.clone()], &[0, 1, 2]);
            join(input, operator, &[pooled.clone(), line.clone()], &[2, 1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_examples_of_every_operator() {
        let found: Vec<&str> = examples().iter().map(|example| example.class).collect();
        assert!(classes().iter().all(|class| found.contains(class)), "{:?} against {found:?}", classes());
        for example in examples() {
            let last = example.alone();
            let operator = last.nodes()[last.len() - 1].operator();
            assert_eq!((operator.class(), listed(operator)), (example.class, example.class));
        }
    }
}
