//! MobileNetV2 (Sandler et al., 2018), with Keras's layers and names.
//!
//! `variant = "keras"` pads and normalises as Keras does. `"torch"` has the same list of layers, so `from_layer = 100` means the same
//! layer, but it has PyTorch's symmetric padding and its epsilon of batch normalisation. Weights that were trained with one variant
//! do not fit the other.

mod network;
mod weights;

use injerto_plugin_sdk::{
    Activation, Backbone, Graph, GraphError, Preprocessing, Variant, WeightSet, at_least, parameters, plugin,
};

parameters! {
    struct Parameters {
        /// width multiplier of the filters of every layer
        alpha: f64 = 1.0,
        /// height and width of the images, at least 32
        input_shape: [usize; 2] = [224, 224],
        /// keep the network's own classifier
        include_top: bool = false,
        /// outputs of the classifier
        classes: usize = 1000,
        /// activation of the classifier's outputs
        classifier_activation: Activation = Activation::Softmax,
        /// the framework whose padding and normalisation the network has: "keras" or "torch"
        variant: Variant = Variant::Keras,
    }
}

struct MobileNetV2;

impl Backbone for MobileNetV2 {
    const NAME: &str = "mobilenet_v2";
    const SUMMARY: &str = "MobileNetV2: 154 layers, 2.3 million parameters without its top";
    type Parameters = Parameters;

    fn check(parameters: &Parameters) -> Result<(), String> {
        let alpha = parameters.alpha;
        if !(alpha > 0.0 && alpha <= 10.0) {
            return Err(format!("alpha must be larger than 0 and at most 10, not {alpha}"));
        }
        at_least("input_shape", parameters.input_shape, 32)
    }

    fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
        network::build(parameters)
    }

    fn preprocessing(parameters: &Parameters) -> Preprocessing {
        match parameters.variant {
            Variant::Keras => Preprocessing::minus_one_to_one(),
            Variant::Torch => Preprocessing::imagenet(),
        }
    }

    fn weights(_: &Parameters) -> Vec<WeightSet> {
        weights::sets()
    }
}

plugin![MobileNetV2];
