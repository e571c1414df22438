//! Random networks that hold together, and random wishes about which of their layers train.

use injerto_graph::{Activation, Builder, Graph, LayerId, LayerRef, Operator, Padding, PerChannel, Selection, Window};
use proptest::collection::vec;
use proptest::prelude::*;

/// Networks of up to `layers` random layers with branches, and whatever it takes to join their loose ends.
pub fn graphs(layers: usize) -> impl Strategy<Value = Graph> {
    let input = (3_usize..7, 3_usize..7, 1_usize..4);
    (input, vec(any::<[u8; 4]>(), 1..=layers)).prop_map(|((h, w, c), steps)| {
        let mut net = Growing::new([h, w, c]);
        for step in steps {
            net.grow(step);
        }
        net.finish()
    })
}

/// Every form in which a user can say what trains, made from a graph's own names and length.
pub fn selection(graph: &Graph, [form, a, b]: [u8; 3]) -> Selection {
    let n = graph.len();
    let at = usize::from(a) % n;
    let name = |at: usize| graph.nodes()[at].name().to_owned();
    match form % 8 {
        0 => Selection::None,
        1 => Selection::All,
        2 => Selection::FromLayer(LayerRef::Index(at)),
        3 => Selection::FromLayer(LayerRef::Name(name(at))),
        4 => Selection::Patterns(vec![name(at), name(usize::from(b) % n)]),
        5 => Selection::Patterns(vec![format!("{}*", &name(at)[..1])]),
        6 => Selection::Last(usize::from(b) % (n + 3)),
        _ => Selection::Fraction(f64::from(a) / 255.0),
    }
}

/// A network under construction that remembers shapes and which outputs nobody reads yet.
struct Growing {
    net: Builder,
    layers: Vec<(LayerId, Vec<usize>)>,
    read: Vec<bool>,
}

impl Growing {
    fn new(shape: [usize; 3]) -> Self {
        let mut net = Builder::new("random");
        let input = net.input(shape);
        Self { net, layers: vec![(input, shape.to_vec())], read: vec![false] }
    }

    fn add(&mut self, what: &str, operator: Operator, inputs: &[usize], shape: Vec<usize>) -> usize {
        let ids: Vec<LayerId> = inputs.iter().map(|&at| self.layers[at].0).collect();
        let id = self.net.add(format!("{what}_{}", self.layers.len()), operator, &ids);
        inputs.iter().for_each(|&at| self.read[at] = true);
        self.layers.push((id, shape));
        self.read.push(false);
        self.layers.len() - 1
    }

    /// One more layer: its kind, which layer it reads (recent ones more often), and two numbers for its options.
    fn grow(&mut self, [kind, from, a, b]: [u8; 4]) {
        let from = self.layers.len() - 1 - usize::from(from) % self.layers.len().min(4);
        let shape = self.layers[from].1.clone();
        match shape[..] {
            [h, w, c] => self.on_image(kind, from, [h, w, c], (usize::from(a), usize::from(b))),
            _ => self.on_features(kind, from, shape[0], usize::from(a)),
        };
    }

    fn on_image(&mut self, kind: u8, from: usize, [h, w, c]: [usize; 3], (a, b): (usize, usize)) -> usize {
        let same = vec![h, w, c];
        let strides = [1 + a % 2, 1 + b % 2];
        let shrunk = |channels| vec![h.div_ceil(strides[0]), w.div_ceil(strides[1]), channels];
        let activation = [Activation::Linear, Activation::Relu6, Activation::Tanh, Activation::Swish][a % 4];
        // Another layer of the same shape, if there is one.
        let twin = (0..from).rev().find(|&at| self.layers[at].1 == same);
        match kind % 16 {
            0 => {
                let (filters, side) = (1 + a % 3, if h >= 3 && w >= 3 { 3 } else { 1 });
                let operator = convolution(filters, [side, side], [1, 1], Padding::Valid, 1, activation);
                self.add("conv", operator, &[from], vec![h - side + 1, w - side + 1, filters])
            }
            1 => {
                let groups = if c % 2 == 0 { 2 } else { 1 };
                let filters = groups * (1 + b % 2);
                let operator = convolution(filters, [3, 2], strides, Padding::Same, groups, activation);
                self.add("conv", operator, &[from], shrunk(filters))
            }
            2 => {
                let operator = convolution(2, [3, 3], [1, 1], Padding::around(1), 1, activation);
                self.add("conv", operator, &[from], vec![h, w, 2])
            }
            3 => {
                let operator = Operator::DepthwiseConv2D {
                    kernel_size: [2, 3],
                    strides,
                    padding: Padding::Same,
                    dilation_rate: [1, 1],
                    depth_multiplier: 1 + a % 2,
                    use_bias: b % 2 == 0,
                    activation: Activation::Linear,
                };
                self.add("depthwise", operator, &[from], shrunk(c * (1 + a % 2)))
            }
            4 | 5 => {
                let (center, scale) = (a % 4 != 0, b % 4 != 0);
                let operator = Operator::BatchNormalization { epsilon: 1e-3, momentum: 0.9, center, scale };
                self.add("bn", operator, &[from], same)
            }
            6 => self.add("relu", Operator::ReLU { max_value: (a % 2 == 0).then_some(6.0) }, &[from], same),
            7 => self.add("activation", Operator::Activation { activation }, &[from], same),
            8 => self.add("max", Operator::MaxPooling2D(window(strides)), &[from], shrunk(c)),
            9 => self.add("mean", Operator::AveragePooling2D(window(strides)), &[from], shrunk(c)),
            10 => {
                let padding = [[a % 2, b % 2], [1, 0]];
                let padded = vec![h + a % 2 + b % 2, w + 1, c];
                self.add("pad", Operator::ZeroPadding2D { padding }, &[from], padded)
            }
            11 => match twin {
                Some(twin) => self.add("sum", Operator::Add {}, &[twin, from], same),
                None => self.add("double", Operator::Add {}, &[from, from], same),
            },
            12 => match twin {
                Some(twin) => self.add("join", Operator::Concatenate {}, &[twin, from], vec![h, w, 2 * c]),
                None => self.add("scale", rescaling(), &[from], same),
            },
            13 => {
                let squeezed =
                    self.add("squeeze", Operator::GlobalAveragePooling2D { keepdims: true }, &[from], vec![1, 1, c]);
                self.add("excite", Operator::Multiply {}, &[from, squeezed], same)
            }
            14 => self.add("dropout", Operator::Dropout { rate: 0.25, per_sample: a % 2 == 0 }, &[from], same),
            _ if a % 2 == 0 => self.add("flatten", Operator::Flatten {}, &[from], vec![h * w * c]),
            _ => self.add("global", Operator::GlobalAveragePooling2D { keepdims: false }, &[from], vec![c]),
        }
    }

    fn on_features(&mut self, kind: u8, from: usize, features: usize, a: usize) -> usize {
        let same = vec![features];
        match kind % 6 {
            0 | 1 => self.add("dense", dense(1 + a % 4, Activation::Relu), &[from], vec![1 + a % 4]),
            2 => {
                let operator = Operator::BatchNormalization { epsilon: 1e-3, momentum: 0.9, center: true, scale: true };
                self.add("bn", operator, &[from], same)
            }
            3 => self.add("softmax", Operator::Softmax {}, &[from], same),
            4 => self.add("dropout", Operator::Dropout { rate: 0.5, per_sample: false }, &[from], same),
            _ => {
                let target_shape = vec![1, features, 1];
                self.add("reshape", Operator::Reshape { target_shape: target_shape.clone() }, &[from], target_shape)
            }
        }
    }

    /// Every loose end is pooled, all are joined, and a dense layer ends it.
    fn finish(mut self) -> Graph {
        let loose: Vec<usize> = (0..self.layers.len()).filter(|&at| !self.read[at]).collect();
        let mut ends = Vec::new();
        for at in loose {
            let shape = self.layers[at].1.clone();
            let pool = Operator::GlobalMaxPooling2D { keepdims: false };
            ends.push(if shape.len() == 3 { self.add("end", pool, &[at], vec![shape[2]]) } else { at });
        }
        let features = ends.iter().map(|&at| self.layers[at].1[0]).sum();
        let last = match ends[..] {
            [only] => only,
            _ => self.add("ends", Operator::Concatenate {}, &ends, vec![features]),
        };
        let last = self.add("output", dense(2, Activation::Sigmoid), &[last], vec![2]);
        let expected: Vec<Vec<usize>> = self.layers.into_iter().map(|(_, shape)| shape).collect();
        let graph = self.net.finish().expect("it was grown to hold together");
        let found: Vec<Vec<usize>> = graph.nodes().iter().map(|node| node.shape.0.clone()).collect();
        assert_eq!((found, graph.len()), (expected, last + 1), "shape inference disagrees with the strategy");
        graph
    }
}

fn convolution(
    filters: usize,
    kernel_size: [usize; 2],
    strides: [usize; 2],
    padding: Padding,
    groups: usize,
    activation: Activation,
) -> Operator {
    let (dilation_rate, use_bias) = ([1, 1], filters.is_multiple_of(2));
    Operator::Conv2D { filters, kernel_size, strides, padding, dilation_rate, groups, use_bias, activation }
}

fn window(strides: [usize; 2]) -> Window {
    Window { pool_size: [2, 2], strides, padding: Padding::Same, count_include_pad: false }
}

fn rescaling() -> Operator {
    Operator::Rescaling { scale: PerChannel::One(0.5), offset: PerChannel::One(-0.1) }
}

fn dense(units: usize, activation: Activation) -> Operator {
    Operator::Dense { units, use_bias: true, activation }
}
