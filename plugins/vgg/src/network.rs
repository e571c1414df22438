use injerto_plugin_sdk::{Builder, Conv2D, Dense, Graph, GraphError, MaxPooling2D, Operator};

use crate::Parameters;

/// Number of convolutions and filters of each block, from column D of table 1 of the paper.
pub(crate) const BLOCKS: [(usize, usize); 5] = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];

/// The network with Keras's names and order.
pub(crate) fn build(parameters: &Parameters) -> Result<Graph, GraphError> {
    let mut net = Builder::new("vgg16");
    net.image(parameters.input_shape);
    for (block, (convolutions, filters)) in (1..).zip(BLOCKS) {
        for at in 1..=convolutions {
            net.then(format!("block{block}_conv{at}"), Conv2D::new(filters, 3).same().relu());
        }
        net.then(format!("block{block}_pool"), MaxPooling2D::new(2));
    }
    if parameters.include_top {
        net.then("flatten", Operator::Flatten {});
        net.then("fc1", Dense::new(4096).relu());
        net.then("fc2", Dense::new(4096).relu());
        net.then("predictions", Dense::new(parameters.classes).activation(parameters.classifier_activation));
    }
    net.finish()
}
