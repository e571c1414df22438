//! DenseNet-121 (Huang et al., 2017), with Keras's layers and names.
//!
//! `variant = "torch"` has the same layers with torchvision's epsilon.

mod network;
mod weights;

use injerto_plugin_sdk::{
    Activation, Backbone, Graph, GraphError, Preprocessing, Variant, WeightSet, at_least, parameters, plugin,
};

parameters! {
    struct Parameters {
        /// height and width of the images, at least 32
        input_shape: [usize; 2] = [224, 224],
        /// keep the network's own classifier
        include_top: bool = false,
        /// outputs of the classifier
        classes: usize = 1000,
        /// activation of the classifier's outputs
        classifier_activation: Activation = Activation::Softmax,
        /// the framework whose epsilon the network has: "keras" or "torch"
        variant: Variant = Variant::Keras,
    }
}

struct DenseNet;

impl Backbone for DenseNet {
    const NAME: &str = "densenet";
    const SUMMARY: &str = "DenseNet-121: 427 layers, 7.0 million parameters without its top";
    type Parameters = Parameters;

    fn check(parameters: &Parameters) -> Result<(), String> {
        at_least("input_shape", parameters.input_shape, 32)
    }

    fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
        network::build(parameters)
    }

    fn preprocessing(parameters: &Parameters) -> Preprocessing {
        let crop = (parameters.variant == Variant::Torch).then_some(0.875);
        Preprocessing { crop, ..Preprocessing::imagenet() }
    }

    fn weights(parameters: &Parameters) -> Vec<WeightSet> {
        weights::sets(parameters)
    }
}

plugin![DenseNet];
