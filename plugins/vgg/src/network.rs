use injerto_graph::{Activation, Builder, Graph, GraphError, Operator, Padding, Window};

use crate::Parameters;

/// Convolutions and filters of each block: column D of the paper's table 1.
pub(crate) const BLOCKS: [(usize, usize); 5] = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];

/// The network with Keras's names and order.
pub(crate) fn build(parameters: &Parameters) -> Result<Graph, GraphError> {
    let [height, width] = parameters.input_shape;
    let mut net = Builder::new("vgg16");
    let mut x = net.input([height, width, 3]);
    for (block, (convolutions, filters)) in BLOCKS.into_iter().enumerate() {
        let block = block + 1;
        for at in 1..=convolutions {
            let conv = Operator::Conv2D {
                filters,
                kernel_size: [3, 3],
                strides: [1, 1],
                padding: Padding::Same,
                dilation_rate: [1, 1],
                groups: 1,
                use_bias: true,
                activation: Activation::Relu,
            };
            x = net.add(format!("block{block}_conv{at}"), conv, &[x]);
        }
        let window = Window { pool_size: [2, 2], strides: [2, 2], padding: Padding::Valid, count_include_pad: false };
        x = net.add(format!("block{block}_pool"), Operator::MaxPooling2D(window), &[x]);
    }
    if parameters.include_top {
        let dense = |units, activation| Operator::Dense { units, use_bias: true, activation };
        x = net.add("flatten", Operator::Flatten {}, &[x]);
        x = net.add("fc1", dense(4096, Activation::Relu), &[x]);
        x = net.add("fc2", dense(4096, Activation::Relu), &[x]);
        net.add("predictions", dense(parameters.classes, parameters.classifier_activation), &[x]);
    }
    net.finish()
}
