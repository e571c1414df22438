//! ResNet-50, 101 and 152 (He et al., 2015), with Keras's layers and names, and ResNet-18 and 34 with torchvision's.
//!
//! `variant = "torch"` has the same list of layers. As in torchvision, the stride of 2 is in the 3×3 convolution of a block and not in
//! the 1×1 convolution before it, and there are no biases. Weights that were trained with one variant do not fit the other.

mod network;
mod weights;

use injerto_plugin_sdk::{
    Activation, Backbone, Graph, GraphError, Preprocessing, Variant, WeightSet, at_least, parameters, plugin,
};

parameters! {
    struct Parameters {
        /// depth of the network: 18, 34, 50, 101 or 152
        depth: usize = 50,
        /// height and width of the images, at least 32
        input_shape: [usize; 2] = [224, 224],
        /// keep the network's own classifier
        include_top: bool = false,
        /// outputs of the classifier
        classes: usize = 1000,
        /// activation of the classifier's outputs
        classifier_activation: Activation = Activation::Softmax,
        /// the framework whose strides and biases the network has: "keras" or "torch"; depths 18 and 34 are always torchvision's
        variant: Variant = Variant::Keras,
    }
}

struct ResNet;

impl Backbone for ResNet {
    const NAME: &str = "resnet";
    const SUMMARY: &str = "ResNet-50: 175 layers, 23.6 million parameters without its top (also 18, 34, 101 and 152)";
    type Parameters = Parameters;

    fn check(parameters: &Parameters) -> Result<(), String> {
        at_least("input_shape", parameters.input_shape, 32)?;
        match network::stacks(parameters.depth) {
            Some(_) => Ok(()),
            None => Err(format!("depth must be 18, 34, 50, 101 or 152, not {}", parameters.depth)),
        }
    }

    fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
        network::build(parameters)
    }

    fn preprocessing(parameters: &Parameters) -> Preprocessing {
        match parameters.variant {
            Variant::Keras if !network::is_basic(parameters.depth) => Preprocessing::caffe(),
            _ => Preprocessing { crop: Some(0.875), ..Preprocessing::imagenet() },
        }
    }

    fn weights(parameters: &Parameters) -> Vec<WeightSet> {
        weights::sets(parameters)
    }
}

plugin![ResNet];
