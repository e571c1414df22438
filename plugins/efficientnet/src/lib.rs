//! EfficientNet-B0 (Tan and Le, 2019), with Keras's layers and names, and EfficientNet-Lite0.
//!
//! - `variant = "keras"` is B0 as in Keras. Its ImageNet weights need a further layer, `imagenet_rescaling`.
//! - `variant = "torch"` has the same list of layers with torchvision's padding, normalisation and epsilon.
//! - `variant = "transformers"` is B0 as the library transformers has it: Keras's network and weights, with the normalisation of the
//!   pixels outside of the weights.
//! - `variant = "lite0"`, for small devices, has ReLU6 and no squeeze-and-excitation; images are scaled before the network.

mod network;
mod weights;

use injerto_plugin_sdk::{
    Activation, Backbone, Graph, GraphError, Interpolation, Preprocessing, WeightSet, at_least, choice, export,
    parameters,
};

choice! {
    /// The network, and the framework whose padding and normalisation it has.
    enum Variant { Keras = "keras", Torch = "torch", Lite0 = "lite0", Transformers = "transformers" }
}

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
        /// the network and its framework: "keras", "torch" or "transformers" for B0, or "lite0"
        variant: Variant = Variant::Keras,
        /// add the second rescaling, which Keras's ImageNet weights need (they set it)
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
            Variant::Keras | Variant::Transformers => Preprocessing::none(),
            Variant::Torch => published,
            Variant::Lite0 => Preprocessing { mean: [127.0; 3], std: [128.0; 3], ..published },
        }
    }

    fn weights(parameters: &Parameters) -> Vec<WeightSet> {
        weights::sets(parameters)
    }
}

export![EfficientNet];
