//! Whole networks of the literature with random parameters, for tests and timing.

use injerto_graph::layers::{
    Conv2D, Dense, DepthwiseConv2D, DotProductAttention, GlobalAveragePooling2D, LayerNormalization, PositionEmbedding,
    PrependTokens,
};
use injerto_graph::{Activation, Builder, Graph, LayerId, Operator, Padding, Role, Window};

/// Random numbers from 0 to 1, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn step(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The next number from 0 to 1.
    pub fn number(&mut self) -> f32 {
        (self.step() >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// 32 bits.
    pub fn bits(&mut self) -> u32 {
        (self.step() >> 16) as u32
    }

    /// A whole number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }

    /// `count` numbers between two limits.
    pub fn values(&mut self, count: usize, low: f32, high: f32) -> Vec<f32> {
        (0..count).map(|_| low + (high - low) * self.number()).collect()
    }
}

/// Parameters that keep values near one through many layers.
pub fn parameters(graph: &Graph, seed: u64) -> Vec<Vec<Vec<f32>>> {
    let mut random = Random::new(seed);
    let mut of = |parameter: &injerto_graph::Parameter| {
        let n = parameter.count();
        let kernel = |random: &mut Random, inputs: usize| {
            let limit = (6.0 / inputs as f32).sqrt();
            random.values(n, -limit, limit)
        };
        match parameter.role {
            Role::ConvolutionKernel => kernel(&mut random, parameter.shape[..3].iter().product()),
            Role::DepthwiseKernel => kernel(&mut random, parameter.shape[..2].iter().product()),
            Role::DenseKernel => kernel(&mut random, parameter.shape[0]),
            Role::Bias | Role::Beta | Role::Embedding | Role::Mean | Role::MovingMean => random.values(n, -0.3, 0.3),
            Role::Gamma | Role::Variance | Role::MovingVariance => random.values(n, 0.5, 1.5),
            Role::Count => vec![0.0; n],
        }
    };
    graph.nodes().iter().map(|node| node.parameters.iter().map(&mut of).collect()).collect()
}

/// A convolution, its normalisation and a clipped ReLU (`limit` 0: none).
struct Net(Builder, usize);

impl Net {
    fn name(&mut self) -> String {
        self.1 += 1;
        format!("layer_{}", self.1)
    }

    fn add(&mut self, operator: impl Into<Operator>, inputs: &[LayerId]) -> LayerId {
        let name = self.name();
        self.0.add(name, operator, inputs)
    }

    fn norm(&mut self, x: LayerId) -> LayerId {
        self.add(Operator::BatchNormalization { epsilon: 1e-3, momentum: 0.99, center: true, scale: true }, &[x])
    }

    fn conv(
        &mut self,
        x: LayerId,
        filters: usize,
        kernel_size: [usize; 2],
        stride: usize,
        padding: Padding,
    ) -> LayerId {
        let x = self.add(Conv2D::new(filters, kernel_size).strides(stride).padding(padding).use_bias(false), &[x]);
        self.norm(x)
    }

    fn conv_relu(
        &mut self,
        x: LayerId,
        filters: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: Padding,
    ) -> LayerId {
        let x = self.conv(x, filters, kernel, stride, padding);
        self.add(Operator::Activation { activation: Activation::Relu }, &[x])
    }

    fn relu6(&mut self, x: LayerId) -> LayerId {
        self.add(Operator::ReLU { max_value: Some(6.0), negative_slope: 0.0 }, &[x])
    }
}

/// ViT-S/16 up to the class token.
pub fn vit_small(side: usize) -> Graph {
    let (mut net, patches) = (Net(Builder::new("vit_small"), 0), side / 16);
    let x = net.0.image([side, side]);
    let x = net.add(Conv2D::new(384, 16).strides(16), &[x]);
    let x = net.add(Operator::Reshape { target_shape: vec![patches * patches, 384] }, &[x]);
    let x = net.add(PrependTokens::new(), &[x]);
    let x = net.add(PositionEmbedding::new(), &[x]);
    transformer(net, x, 12, patches * patches + 1)
}

/// The last `blocks` blocks of ViT-S/16 on the tokens of an image of 224×224, and a dense layer with two outputs.
pub fn vit_small_tail(blocks: usize) -> Graph {
    let mut net = Net(Builder::new("vit_small_tail"), 0);
    let x = net.0.input([197, 1, 384]);
    let x = net.add(Operator::Reshape { target_shape: vec![197, 384] }, &[x]);
    let backbone = transformer(net, x, blocks, 197);
    let head = Dense::new(2).activation(Activation::Softmax).into();
    let layer = injerto_graph::Layer { name: "output".to_owned(), operator: head, inputs: Vec::new() };
    backbone.graft("vit_small_tail", vec![layer]).expect("a class token and a dense layer")
}

/// Blocks of a width of 384 with six heads, a normalisation, and the first token.
fn transformer(mut net: Net, mut x: LayerId, blocks: usize, tokens: usize) -> Graph {
    let normalise = || LayerNormalization::new().epsilon(1e-6);
    for _ in 0..blocks {
        let entry = x;
        x = net.add(normalise(), &[x]);
        x = net.add(Dense::new(3 * 384), &[x]);
        x = net.add(DotProductAttention::new(6), &[x]);
        x = net.add(Dense::new(384), &[x]);
        let middle = net.add(Operator::Add {}, &[entry, x]);
        x = net.add(normalise(), &[middle]);
        x = net.add(Dense::new(4 * 384), &[x]);
        x = net.add(Activation::Gelu, &[x]);
        x = net.add(Dense::new(384), &[x]);
        x = net.add(Operator::Add {}, &[middle, x]);
    }
    x = net.add(normalise(), &[x]);
    x = net.add(Operator::Cropping1D { cropping: [0, tokens - 1] }, &[x]);
    net.add(Operator::Flatten {}, &[x]);
    net.0.finish().expect("a transformer holds together")
}

/// ConvNeXt-tiny up to the normalised mean.
pub fn convnext_tiny(side: usize) -> Graph {
    let mut net = Net(Builder::new("convnext_tiny"), 0);
    let normalise = || LayerNormalization::new().epsilon(1e-6);
    let mut x = net.0.image([side, side]);
    for (stage, (blocks, width)) in [(3, 96), (3, 192), (9, 384), (3, 768)].into_iter().enumerate() {
        if stage == 0 {
            x = net.add(Conv2D::new(width, 4).strides(4), &[x]);
            x = net.add(normalise(), &[x]);
        } else {
            x = net.add(normalise(), &[x]);
            x = net.add(Conv2D::new(width, 2).strides(2), &[x]);
        }
        for _ in 0..blocks {
            let entry = x;
            x = net.add(Conv2D::new(width, 7).groups(width).same(), &[x]);
            x = net.add(normalise(), &[x]);
            x = net.add(Dense::new(4 * width), &[x]);
            x = net.add(Activation::Gelu, &[x]);
            x = net.add(Dense::new(width), &[x]);
            x = net.add(Operator::LayerScale {}, &[x]);
            x = net.add(Operator::Add {}, &[entry, x]);
        }
    }
    x = net.add(GlobalAveragePooling2D::new(), &[x]);
    net.add(normalise(), &[x]);
    net.0.finish().expect("a ConvNeXt holds together")
}

/// MobileNetV2 without its top, with Keras's padding.
pub fn mobilenet_v2(side: usize) -> Graph {
    let blocks =
        [(16, 1, 1, 1), (24, 2, 2, 6), (32, 3, 2, 6), (64, 4, 2, 6), (96, 3, 1, 6), (160, 3, 2, 6), (320, 1, 1, 6)];
    let mut net = Net(Builder::new("mobilenet_v2"), 0);
    let mut x = net.0.input([side, side, 3]);
    x = net.conv(x, 32, [3, 3], 2, Padding::Same);
    x = net.relu6(x);
    let mut channels = 32;
    let mut size = side.div_ceil(2);
    for (filters, repeats, first_stride, expansion) in blocks {
        for repeat in 0..repeats {
            let (entry, stride) = (x, if repeat == 0 { first_stride } else { 1 });
            if expansion > 1 {
                x = net.conv(x, channels * expansion, [1, 1], 1, Padding::Same);
                x = net.relu6(x);
            }
            if stride == 2 {
                x = net.add(Operator::ZeroPadding2D { padding: [[size % 2, 1]; 2] }, &[x]);
                size = size.div_ceil(2);
            }
            let padding = if stride == 2 { Padding::Valid } else { Padding::Same };
            let depthwise = DepthwiseConv2D::new(3).strides(stride).padding(padding).use_bias(false);
            x = net.add(depthwise, &[x]);
            x = net.norm(x);
            x = net.relu6(x);
            x = net.conv(x, filters, [1, 1], 1, Padding::Same);
            if stride == 1 && channels == filters {
                x = net.add(Operator::Add {}, &[entry, x]);
            }
            channels = filters;
        }
    }
    x = net.conv(x, 1280, [1, 1], 1, Padding::Valid);
    net.relu6(x);
    net.0.finish().expect("the network holds together")
}

/// InceptionV3 without its top.
pub fn inception_v3(side: usize) -> Graph {
    use Padding::{Same, Valid};
    let mut net = Net(Builder::new("inception_v3"), 0);
    let window = |size: usize, stride: usize, padding: Padding| Window {
        pool_size: [size; 2],
        strides: [stride; 2],
        padding,
        count_include_pad: false,
    };
    let input = net.0.input([side, side, 3]);
    let mut x = net.conv_relu(input, 32, [3, 3], 2, Valid);
    x = net.conv_relu(x, 32, [3, 3], 1, Valid);
    x = net.conv_relu(x, 64, [3, 3], 1, Same);
    x = net.add(Operator::MaxPooling2D(window(3, 2, Valid)), &[x]);
    x = net.conv_relu(x, 80, [1, 1], 1, Valid);
    x = net.conv_relu(x, 192, [3, 3], 1, Valid);
    x = net.add(Operator::MaxPooling2D(window(3, 2, Valid)), &[x]);
    let average = |net: &mut Net, x| net.add(Operator::AveragePooling2D(window(3, 1, Same)), &[x]);
    for pool_filters in [32, 64, 64] {
        let a = net.conv_relu(x, 64, [1, 1], 1, Same);
        let b = net.conv_relu(x, 48, [1, 1], 1, Same);
        let b = net.conv_relu(b, 64, [5, 5], 1, Same);
        let c = net.conv_relu(x, 64, [1, 1], 1, Same);
        let c = net.conv_relu(c, 96, [3, 3], 1, Same);
        let c = net.conv_relu(c, 96, [3, 3], 1, Same);
        let d = average(&mut net, x);
        let d = net.conv_relu(d, pool_filters, [1, 1], 1, Same);
        x = net.add(Operator::Concatenate {}, &[a, b, c, d]);
    }
    let a = net.conv_relu(x, 384, [3, 3], 2, Valid);
    let b = net.conv_relu(x, 64, [1, 1], 1, Same);
    let b = net.conv_relu(b, 96, [3, 3], 1, Same);
    let b = net.conv_relu(b, 96, [3, 3], 2, Valid);
    let c = net.add(Operator::MaxPooling2D(window(3, 2, Valid)), &[x]);
    x = net.add(Operator::Concatenate {}, &[a, b, c]);
    for inner in [128, 160, 160, 192] {
        let a = net.conv_relu(x, 192, [1, 1], 1, Same);
        let mut b = net.conv_relu(x, inner, [1, 1], 1, Same);
        for (filters, kernel) in [(inner, [1, 7]), (192, [7, 1])] {
            b = net.conv_relu(b, filters, kernel, 1, Same);
        }
        let mut c = net.conv_relu(x, inner, [1, 1], 1, Same);
        for (filters, kernel) in [(inner, [7, 1]), (inner, [1, 7]), (inner, [7, 1]), (192, [1, 7])] {
            c = net.conv_relu(c, filters, kernel, 1, Same);
        }
        let d = average(&mut net, x);
        let d = net.conv_relu(d, 192, [1, 1], 1, Same);
        x = net.add(Operator::Concatenate {}, &[a, b, c, d]);
    }
    let a = net.conv_relu(x, 192, [1, 1], 1, Same);
    let a = net.conv_relu(a, 320, [3, 3], 2, Valid);
    let mut b = net.conv_relu(x, 192, [1, 1], 1, Same);
    b = net.conv_relu(b, 192, [1, 7], 1, Same);
    b = net.conv_relu(b, 192, [7, 1], 1, Same);
    b = net.conv_relu(b, 192, [3, 3], 2, Valid);
    let c = net.add(Operator::MaxPooling2D(window(3, 2, Valid)), &[x]);
    x = net.add(Operator::Concatenate {}, &[a, b, c]);
    for _ in 0..2 {
        let a = net.conv_relu(x, 320, [1, 1], 1, Same);
        let b = net.conv_relu(x, 384, [1, 1], 1, Same);
        let b1 = net.conv_relu(b, 384, [1, 3], 1, Same);
        let b2 = net.conv_relu(b, 384, [3, 1], 1, Same);
        let b = net.add(Operator::Concatenate {}, &[b1, b2]);
        let c = net.conv_relu(x, 448, [1, 1], 1, Same);
        let c = net.conv_relu(c, 384, [3, 3], 1, Same);
        let c1 = net.conv_relu(c, 384, [1, 3], 1, Same);
        let c2 = net.conv_relu(c, 384, [3, 1], 1, Same);
        let c = net.add(Operator::Concatenate {}, &[c1, c2]);
        let d = average(&mut net, x);
        let d = net.conv_relu(d, 192, [1, 1], 1, Same);
        x = net.add(Operator::Concatenate {}, &[a, b, c, d]);
    }
    net.0.finish().expect("the network holds together")
}
