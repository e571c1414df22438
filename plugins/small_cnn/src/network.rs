use injerto_plugin_sdk::{
    BatchNormalization, Builder, Conv2D, Dense, GlobalAveragePooling2D, Graph, GraphError, MaxPooling2D, Operator,
    numbered,
};

use crate::Parameters;

/// The network with the names that Keras gives to unnamed layers.
pub(crate) fn build(parameters: &Parameters) -> Result<Graph, GraphError> {
    let [height, width] = parameters.input_shape;
    let mut net = Builder::new("small_cnn");
    net.add("input_1", Operator::InputLayer { shape: vec![height, width, 3] }, &[]);
    for (stage, &filters) in parameters.filters.iter().enumerate() {
        if stage > 0 {
            net.then(numbered("max_pooling2d", stage - 1), MaxPooling2D::new(2));
        }
        for n in [2 * stage, 2 * stage + 1] {
            net.then(numbered("conv2d", n), Conv2D::new(filters, 3).same().relu());
            let norm = BatchNormalization::new().momentum(parameters.momentum);
            net.then(numbered("batch_normalization", n), norm);
        }
    }
    if parameters.include_top {
        net.then("global_average_pooling2d", GlobalAveragePooling2D::new());
        net.then("dense", Dense::new(parameters.dense_units).relu());
        net.then("dense_1", Dense::new(parameters.classes).activation(parameters.classifier_activation));
    }
    net.finish()
}
