use injerto_plugin_sdk::{
    Activation, BatchNormalization, Builder, Conv2D, Graph, GraphError, LayerId, MaxPooling2D, Operator,
    SeparableConv2D, classifier, numbered,
};

use crate::Parameters;

/// The filters of the blocks that halve the size: of each separable convolution.
const ENTRY: [[usize; 2]; 3] = [[128, 128], [256, 256], [728, 728]];
const EXIT: [usize; 2] = [728, 1024];

/// The network with Keras's names and order.
pub(crate) fn build(parameters: &Parameters) -> Result<Graph, GraphError> {
    let mut net = Net { builder: Builder::new("xception"), shortcuts: 0, sums: 0 };
    let mut x = net.builder.image(parameters.input_shape);
    for (name, conv) in [("block1_conv1", Conv2D::new(32, 3).strides(2)), ("block1_conv2", Conv2D::new(64, 3))] {
        net.builder.then(name, conv.use_bias(false));
        net.builder.then(format!("{name}_bn"), BatchNormalization::new());
        x = net.builder.then(format!("{name}_act"), Activation::Relu);
    }
    for (at, filters) in ENTRY.into_iter().enumerate() {
        x = net.halving(at + 2, x, filters);
    }
    for block in 5..13 {
        let entry = x;
        for number in 1..=3 {
            x = net.separable(block, number, 728, true);
        }
        x = net.sum(&[x, entry]);
    }
    net.halving(13, x, EXIT);
    for (number, filters) in [(1, 1536), (2, 2048)] {
        net.separable(14, number, filters, false);
        net.builder.then(format!("block14_sepconv{number}_act"), Activation::Relu);
    }
    if parameters.include_top {
        classifier(&mut net.builder, parameters.classes, parameters.classifier_activation);
    }
    net.builder.finish_in_keras_order()
}

struct Net {
    builder: Builder,
    /// How many convolutions beside a block, and how many sums, Keras has numbered.
    shortcuts: usize,
    sums: usize,
}

impl Net {
    /// A separable convolution with its normalisation, and a ReLU before it where the block begins with one.
    fn separable(&mut self, block: usize, number: usize, filters: usize, activates: bool) -> LayerId {
        let name = format!("block{block}_sepconv{number}");
        if activates {
            self.builder.then(format!("{name}_act"), Activation::Relu);
        }
        self.builder.then(name.as_str(), SeparableConv2D::new(filters, 3).same().use_bias(false));
        self.builder.then(format!("{name}_bn"), BatchNormalization::new())
    }

    /// A block that halves the size, beside a convolution that does the same.
    fn halving(&mut self, block: usize, entry: LayerId, filters: [usize; 2]) -> LayerId {
        let number = self.shortcuts;
        self.shortcuts += 1;
        self.builder.then(numbered("conv2d", number), Conv2D::new(filters[1], 1).strides(2).same().use_bias(false));
        let shortcut = self.builder.then(numbered("batch_normalization", number), BatchNormalization::new());
        self.builder.from(entry);
        for (at, filters) in filters.into_iter().enumerate() {
            // The second block begins after a ReLU.
            self.separable(block, at + 1, filters, block > 2 || at > 0);
        }
        let pool = self.builder.then(format!("block{block}_pool"), MaxPooling2D::new(3).strides(2).same());
        self.sum(&[pool, shortcut])
    }

    fn sum(&mut self, both: &[LayerId]) -> LayerId {
        self.sums += 1;
        self.builder.add(numbered("add", self.sums - 1), Operator::Add {}, both)
    }
}
