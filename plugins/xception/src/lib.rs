//! Xception (Chollet, 2016), with Keras's layers and names.

mod network;

use injerto_plugin_sdk::{
    Activation, Backbone, Graph, GraphError, Preprocessing, WeightSet, at_least, parameters, plugin, published,
};

parameters! {
    struct Parameters {
        /// height and width of the images, at least 71
        input_shape: [usize; 2] = [299, 299],
        /// keep the network's own classifier
        include_top: bool = false,
        /// outputs of the classifier
        classes: usize = 1000,
        /// activation of the classifier's outputs
        classifier_activation: Activation = Activation::Softmax,
    }
}

struct Xception;

impl Backbone for Xception {
    const NAME: &str = "xception";
    const SUMMARY: &str = "Xception: 132 layers, 20.9 million parameters without its top";
    type Parameters = Parameters;

    fn check(parameters: &Parameters) -> Result<(), String> {
        at_least("input_shape", parameters.input_shape, 71)
    }

    fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
        network::build(parameters)
    }

    fn preprocessing(_: &Parameters) -> Preprocessing {
        Preprocessing::minus_one_to_one()
    }

    /// The author's weights, as Keras publishes them.
    fn weights(parameters: &Parameters) -> Vec<WeightSet> {
        let top = parameters.include_top;
        let (ending, md5) = match top {
            true => ("", "0a58e3b7378bc2990ea3b43d5981f1f6"),
            false => ("_notop", "b0042744bf5b25fce3cb969f33bebb97"),
        };
        let file = format!("xception/xception_weights_tf_dim_ordering_tf_kernels{ending}.h5");
        let set = published::keras(&format!("tensorflow/keras-applications/{file}"), top).md5(md5);
        let set = set.requires("include_top", top);
        let set = if top { set.requires("classes", 1000) } else { set };
        vec![set.clone().named("imagenet"), set]
    }
}

plugin![Xception];
