//! EfficientNet-B0 (Tan and Le, 2019), with Keras's layers and names, and EfficientNet-Lite0.
//!
//! - `variant = "keras"`: B0 as Keras builds it; its ImageNet weights need `imagenet_rescaling`, a layer more.
//! - `variant = "torch"`: the same list of layers with torchvision's padding, normalisation and epsilon.
//! - `variant = "lite0"`: without squeeze-and-excitation and with ReLU6, for small devices; images are scaled outside.

mod network;
mod weights;

use injerto_plugin_sdk::{
    Activation, Backbone, Graph, GraphError, Interpolation, Preprocessing, WeightSet, at_least, choice, export,
    parameters,
};

choice! {
    /// Which network, and whose padding and normalisation.
    enum Variant { Keras = "keras", Torch = "torch", Lite0 = "lite0" }
}

parameters! {
    struct Parameters {
        /// height and width of the images, at least 32
        input_shape: [usize; 2] = [224, 224],
        /// keep the classifier
        include_top: bool = false,
        /// outputs of the classifier
        classes: usize = 1000,
        /// what the classifier applies to its outputs
        classifier_activation: Activation = Activation::Softmax,
        /// "keras" or "torch" for B0, or "lite0"
        variant: Variant = Variant::Keras,
        /// the second rescaling that Keras adds for its ImageNet weights (set by them)
        imagenet_rescaling: bool = false,
    }
}

struct EfficientNet;

impl Backbone for EfficientNet {
    const NAME: &str = "efficientnet";
    const SUMMARY: &str = "EfficientNet-B0: 237 layers, 4.0 million parameters without its top; and Lite0";
    type Parameters = Parameters;

    fn check(parameters: &Parameters) -> Result<(), String> {
        at_least("input_shape", parameters.input_shape, 32)?;
        match parameters.imagenet_rescaling && parameters.variant != Variant::Keras {
            true => Err("imagenet_rescaling belongs to variant \"keras\"".to_owned()),
            false => Ok(()),
        }
    }

    fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
        network::build(parameters)
    }

    fn preprocessing(parameters: &Parameters) -> Preprocessing {
        let published =
            Preprocessing { interpolation: Interpolation::Bicubic, crop: Some(0.875), ..Preprocessing::none() };
        match parameters.variant {
            Variant::Keras => Preprocessing::none(),
            Variant::Torch => published,
            Variant::Lite0 => Preprocessing { mean: [127.0; 3], std: [128.0; 3], ..published },
        }
    }

    fn weights(parameters: &Parameters) -> Vec<WeightSet> {
        weights::sets(parameters)
    }
}

export![EfficientNet];
