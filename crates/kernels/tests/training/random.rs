//! Small networks drawn at random.

use injerto_graph::{Activation, Builder, Graph, LayerId, Operator, Padding, PerChannel, Window};

/// A small generator of numbers (xorshift).
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1);
        for _ in 0..8 {
            random.bits();
        }
        random
    }

    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }

    /// From -1 to 1.
    pub fn value(&mut self) -> f64 {
        f64::from(self.bits()) / 2_147_483_648.0 - 1.0
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

const SMOOTH: [Activation; 8] = [
    Activation::Linear,
    Activation::Relu,
    Activation::Relu6,
    Activation::Swish,
    Activation::HardSwish,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Softmax,
];

struct Net {
    builder: Builder,
    random: Random,
    count: usize,
    x: LayerId,
    shape: Vec<usize>,
}

impl Net {
    fn add(&mut self, operator: Operator, inputs: &[LayerId]) -> LayerId {
        self.count += 1;
        self.builder.add(format!("layer_{}", self.count), operator, inputs)
    }

    fn push(&mut self, operator: Operator) {
        let x = self.x;
        self.x = self.add(operator, &[x]);
    }

    fn padding(&mut self, window: [usize; 2]) -> Padding {
        match self.random.below(3) {
            0 => Padding::Valid,
            1 => Padding::Same,
            _ => {
                let mut side = |n: usize| [self.random.below(n.div_ceil(2)), self.random.below(n.div_ceil(2))];
                Padding::Explicit([side(window[0]), side(window[1])])
            }
        }
    }

    /// A window that fits, with strides, padding and dilation, and the output's height and width.
    fn window(&mut self, dilates: bool) -> ([usize; 2], [usize; 2], Padding, [usize; 2]) {
        loop {
            let mut pair = |most: usize| [1 + self.random.below(most), 1 + self.random.below(most)];
            let (mut window, strides) = (pair(4), pair(3));
            let dilation = if dilates { pair(2) } else { [1, 1] };
            if self.random.chance(3) {
                window = [3, 3];
            }
            let strides = if self.random.chance(2) { [1, 1] } else { strides };
            let dilation = if strides == [1, 1] { dilation } else { [1, 1] };
            let padding = self.padding(window);
            let axis = |axis: usize| {
                let length = self.shape[axis];
                injerto_graph::window_padding(padding, axis, length, window[axis], strides[axis], dilation[axis])
            };
            if let (Some((_, height)), Some((_, width))) = (axis(0), axis(1)) {
                self.shape[0] = height;
                self.shape[1] = width;
                return (window, strides, padding, dilation);
            }
        }
    }

    fn convolution(&mut self) {
        let channels = self.shape[2];
        let groups = if self.random.chance(3) && channels.is_multiple_of(2) { 2 } else { 1 };
        let filters = groups * self.random.choose(&[1, 2, 3, 5, 8, 17, 40]);
        let (kernel_size, strides, padding, dilation_rate) = self.window(true);
        let pointwise = self.random.chance(3);
        let activation = if self.random.chance(2) { Activation::Linear } else { self.random.choose(&SMOOTH) };
        let use_bias = self.random.chance(2);
        let operator = |kernel_size, strides, padding, dilation_rate| Operator::Conv2D {
            filters,
            kernel_size,
            strides,
            padding,
            dilation_rate,
            groups,
            use_bias,
            activation,
        };
        if pointwise {
            // The window has already shrunk the shape: a pooling stands for it.
            self.push(operator(kernel_size, strides, padding, dilation_rate));
            self.push(operator_pointwise(filters, use_bias));
        } else {
            self.push(operator(kernel_size, strides, padding, dilation_rate));
        }
        self.shape[2] = filters;
    }

    fn depthwise(&mut self) {
        let depth_multiplier = self.random.choose(&[1, 1, 1, 2]);
        let (kernel_size, strides, padding, dilation_rate) = self.window(true);
        let activation = if self.random.chance(2) { Activation::Linear } else { self.random.choose(&SMOOTH) };
        let use_bias = self.random.chance(2);
        self.push(Operator::DepthwiseConv2D {
            kernel_size,
            strides,
            padding,
            dilation_rate,
            depth_multiplier,
            use_bias,
            activation,
        });
        self.shape[2] *= depth_multiplier;
    }

    fn normalisation(&mut self) {
        let (center, scale) = (!self.random.chance(4), !self.random.chance(4));
        self.push(Operator::BatchNormalization { epsilon: 0.1, momentum: 0.9, center, scale });
    }

    fn activation(&mut self) {
        let operator = match self.random.below(4) {
            0 => Operator::ReLU { max_value: None },
            1 => Operator::ReLU { max_value: Some(0.5) },
            2 => Operator::Softmax {},
            _ => Operator::Activation { activation: self.random.choose(&SMOOTH) },
        };
        self.push(operator);
    }

    fn branch(&mut self) {
        let entry = self.x;
        let shape = self.shape.clone();
        match self.random.below(4) {
            // A residual.
            0 => {
                self.push(operator_pointwise(shape[2], false));
                if self.random.chance(2) {
                    self.normalisation();
                }
                let x = self.x;
                self.x = self.add(Operator::Add {}, &[entry, x]);
            }
            // A value with itself, and a third.
            1 => {
                self.activation();
                let x = self.x;
                self.x = self.add(Operator::Add {}, &[x, entry, x]);
            }
            // Squeeze and excitation.
            2 => {
                let pool = if self.random.chance(2) {
                    Operator::GlobalAveragePooling2D { keepdims: true }
                } else {
                    Operator::GlobalMaxPooling2D { keepdims: true }
                };
                self.push(pool);
                self.push(operator_pointwise(shape[2], true));
                self.push(Operator::Activation { activation: Activation::Sigmoid });
                let x = self.x;
                self.x = self.add(Operator::Multiply {}, &[entry, x]);
            }
            _ => {
                self.push(operator_pointwise(3, true));
                let x = self.x;
                self.x = self.add(Operator::Concatenate {}, &[x, entry, x]);
                self.shape[2] += 6;
            }
        }
    }

    fn layer(&mut self) {
        match self.random.below(16) {
            0..=3 => self.convolution(),
            4..=5 => self.depthwise(),
            6..=7 => self.normalisation(),
            8..=9 => self.activation(),
            10 => {
                let (pool_size, strides, padding, _) = self.window(false);
                let largest = self.random.chance(2);
                let window = Window { pool_size, strides, padding, count_include_pad: self.random.chance(2) };
                self.push(if largest { Operator::MaxPooling2D(window) } else { Operator::AveragePooling2D(window) });
            }
            11 => {
                let padding = [[0, 1], [2, 1]];
                self.push(Operator::ZeroPadding2D { padding });
                self.shape[0] += 1;
                self.shape[1] += 3;
            }
            12 => {
                let per_sample = self.random.chance(2);
                self.push(Operator::Dropout { rate: 0.25, per_sample });
            }
            13 => {
                if self.random.chance(2) {
                    self.push(Operator::Normalization {});
                } else {
                    self.push(Operator::Rescaling { scale: PerChannel::One(0.5), offset: PerChannel::One(-0.25) });
                }
            }
            _ => self.branch(),
        }
    }
}

fn operator_pointwise(filters: usize, use_bias: bool) -> Operator {
    Operator::Conv2D {
        filters,
        kernel_size: [1, 1],
        strides: [1, 1],
        padding: Padding::Valid,
        dilation_rate: [1, 1],
        groups: 1,
        use_bias,
        activation: Activation::Linear,
    }
}

/// A network of a few layers with a small head.
pub fn network(seed: u64) -> Graph {
    let mut random = Random::new(seed);
    let shape = [3 + random.below(6), 3 + random.below(6), random.choose(&[1, 2, 3, 4, 6, 33])];
    let mut builder = Builder::new("random");
    let x = builder.input(shape);
    let mut net = Net { builder, random, count: 0, x, shape: shape.to_vec() };
    // Something that trains comes first, so that everything behind it is in the tail.
    net.push(operator_pointwise(shape[2], true));
    for _ in 0..2 + net.random.below(5) {
        net.layer();
    }
    if net.random.chance(3) {
        let count = net.shape.iter().product();
        net.push(Operator::Reshape { target_shape: vec![1, 1, count] });
        net.push(Operator::Flatten {});
    } else {
        net.push(Operator::GlobalAveragePooling2D { keepdims: false });
    }
    let activation = net.random.choose(&SMOOTH);
    net.push(Operator::Dense { units: 3, use_bias: true, activation });
    net.builder.finish().expect("it has been drawn with shapes that fit")
}
