//! MobileNetV3 large and small (Howard et al., 2019), with Keras's layers and names.
//!
//! `variant = "torch"` has the same list of layers with torchvision's padding, and scales pixels by ImageNet's statistics.

mod network;
mod weights;

use injerto_plugin_sdk::{
    Activation, Backbone, Graph, GraphError, Interpolation, Preprocessing, Variant, WeightSet, at_least, choice,
    parameters, plugin,
};

choice! {
    /// How large the network is.
    enum Size { Small = "small", Large = "large" }
}

parameters! {
    struct Parameters {
        /// "small" or "large"
        size: Size = Size::Large,
        /// height and width of the images, at least 32
        input_shape: [usize; 2] = [224, 224],
        /// width multiplier of the filters
        alpha: f64 = 1.0,
        /// keep the network's own classifier
        include_top: bool = false,
        /// outputs of the classifier
        classes: usize = 1000,
        /// activation of the classifier's outputs
        classifier_activation: Activation = Activation::Softmax,
        /// the framework whose padding and scaling of pixels the network has: "keras" or "torch"
        variant: Variant = Variant::Keras,
    }
}

struct MobileNetV3;

impl Backbone for MobileNetV3 {
    const NAME: &str = "mobilenet_v3";
    const SUMMARY: &str = "MobileNetV3-large: 3.0 million parameters without its top; and small";
    type Parameters = Parameters;

    fn check(parameters: &Parameters) -> Result<(), String> {
        at_least("input_shape", parameters.input_shape, 32)?;
        match parameters.alpha > 0.0 && parameters.alpha <= 8.0 {
            true => Ok(()),
            false => Err(format!("alpha must be above 0.0 and at most 8.0, not {}", parameters.alpha)),
        }
    }

    fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
        network::build(parameters)
    }

    /// The network scales pixels itself.
    fn preprocessing(parameters: &Parameters) -> Preprocessing {
        match parameters.variant {
            Variant::Keras => Preprocessing { interpolation: Interpolation::Bicubic, ..Preprocessing::none() },
            Variant::Torch => Preprocessing { crop: Some(0.875), ..Preprocessing::none() },
        }
    }

    fn weights(parameters: &Parameters) -> Vec<WeightSet> {
        weights::sets(parameters)
    }
}

plugin![MobileNetV3];
