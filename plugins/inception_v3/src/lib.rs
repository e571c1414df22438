//! InceptionV3 (Szegedy et al., 2015), with Keras's layers and names.
//!
//! `variant = "torch"` has the same list of layers. As in torchvision, every batch normalisation has a scale, and average pooling counts
//! the zeros of the border. Weights that were trained with one variant do not fit the other.

mod network;
mod weights;

use injerto_plugin_sdk::{
    Activation, Backbone, Graph, GraphError, Preprocessing, Variant, WeightSet, at_least, parameters, plugin,
};

parameters! {
    struct Parameters {
        /// height and width of the images, at least 75
        input_shape: [usize; 2] = [299, 299],
        /// keep the network's own classifier
        include_top: bool = false,
        /// outputs of the classifier
        classes: usize = 1000,
        /// activation of the classifier's outputs
        classifier_activation: Activation = Activation::Softmax,
        /// the framework whose normalisation and pooling the network has: "keras" or "torch"
        variant: Variant = Variant::Keras,
    }
}

struct InceptionV3;

impl Backbone for InceptionV3 {
    const NAME: &str = "inception_v3";
    const SUMMARY: &str = "InceptionV3: 311 layers, 21.8 million parameters without its top";
    type Parameters = Parameters;

    fn check(parameters: &Parameters) -> Result<(), String> {
        at_least("input_shape", parameters.input_shape, 75)
    }

    fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
        network::build(parameters).map(|(graph, _)| graph)
    }

    /// torchvision normalises with ImageNet's statistics, and its network undoes this (`transform_input`), so the numbers are the same.
    fn preprocessing(_: &Parameters) -> Preprocessing {
        Preprocessing::minus_one_to_one()
    }

    fn weights(parameters: &Parameters) -> Vec<WeightSet> {
        weights::sets(parameters)
    }
}

plugin![InceptionV3];
