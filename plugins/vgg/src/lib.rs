//! VGG16 (Simonyan and Zisserman, 2014), with Keras's layers and names.
//!
//! `variant = "torch"` is the same network with torchvision's preprocessing. As in Keras, there is no dropout between the layers of
//! the classifier.

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
        /// the framework whose preprocessing the network has: "keras" or "torch"
        variant: Variant = Variant::Keras,
    }
}

struct Vgg16;

impl Backbone for Vgg16 {
    const NAME: &str = "vgg";
    const SUMMARY: &str = "VGG16: 19 layers, 14.7 million parameters without its top";
    type Parameters = Parameters;

    fn check(parameters: &Parameters) -> Result<(), String> {
        at_least("input_shape", parameters.input_shape, 32)
    }

    fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
        network::build(parameters)
    }

    fn preprocessing(parameters: &Parameters) -> Preprocessing {
        match parameters.variant {
            Variant::Keras => Preprocessing::caffe(),
            Variant::Torch => Preprocessing { crop: Some(0.875), ..Preprocessing::imagenet() },
        }
    }

    fn weights(parameters: &Parameters) -> Vec<WeightSet> {
        weights::sets(parameters)
    }
}

plugin![Vgg16];
