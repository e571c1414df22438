//! EfficientNet-B0 to B7 (Tan and Le, 2019) and EfficientNetV2-S (Tan and Le, 2021), with Keras's layers and names, and
//! EfficientNet-Lite0.
//!
//! - `variant = "keras"` is the network as in Keras. Its ImageNet weights for B0 to B7 need a further layer, `imagenet_rescaling`.
//! - `variant = "torch"` has the same list of layers with torchvision's padding, normalisation and epsilon.
//! - `variant = "transformers"` is B0 as the library transformers has it: Keras's network and weights, with the normalisation of the
//!   pixels outside of the weights.
//! - `variant = "lite0"`, for small devices, has ReLU6 and no squeeze-and-excitation; images are scaled before the network.

mod network;
mod sizes;
mod weights;

use injerto_plugin_sdk::{
    Activation, Backbone, Graph, GraphError, Interpolation, Preprocessing, WeightSet, at_least, choice, parameters,
    plugin,
};
use sizes::Size;

choice! {
    /// The network, and the framework whose padding and normalisation it has.
    enum Variant { Keras = "keras", Torch = "torch", Lite0 = "lite0", Transformers = "transformers" }
}

parameters! {
    struct Parameters {
        /// the network: "b0" to "b7" or "v2-s"
        size: Size = Size::B0,
        /// height and width of the images, at least 32; without it those that the size was published for, 224 for B0 to 600 for B7
        input_shape: Option<[usize; 2]> = None,
        /// keep the network's own classifier
        include_top: bool = false,
        /// outputs of the classifier
        classes: usize = 1000,
        /// activation of the classifier's outputs
        classifier_activation: Activation = Activation::Softmax,
        /// the network and its framework: "keras" or "torch", "transformers" for B0, or "lite0" for small devices
        variant: Variant = Variant::Keras,
        /// add the second rescaling, which Keras's ImageNet weights for B0 to B7 need (they set it)
        imagenet_rescaling: bool = false,
    }
}

impl Parameters {
    /// Height and width of the images.
    fn image(&self) -> [usize; 2] {
        self.input_shape.unwrap_or([self.size.architecture().image; 2])
    }
}

struct EfficientNet;

impl Backbone for EfficientNet {
    const NAME: &str = "efficientnet";
    const SUMMARY: &str =
        "EfficientNet-B0: 237 layers, 4.0 million parameters without its top; B1 to B7, V2-S and Lite0";
    type Parameters = Parameters;

    fn check(parameters: &Parameters) -> Result<(), String> {
        at_least("input_shape", parameters.image(), 32)?;
        let Parameters { size, variant, imagenet_rescaling, .. } = *parameters;
        if matches!(variant, Variant::Lite0 | Variant::Transformers) && size != Size::B0 {
            return Err(format!("variant {:?} has no size {:?}: leave size out", variant.name(), size.name()));
        }
        match imagenet_rescaling && (variant != Variant::Keras || size == Size::V2S) {
            true => Err("imagenet_rescaling belongs to variant \"keras\" of B0 to B7".to_owned()),
            false => Ok(()),
        }
    }

    fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
        network::build(parameters)
    }

    fn preprocessing(parameters: &Parameters) -> Preprocessing {
        let crop = parameters.size.architecture().crop;
        let interpolation = match parameters.size {
            Size::V2S => Interpolation::Bilinear,
            _ => Interpolation::Bicubic,
        };
        let published = Preprocessing { interpolation, crop: Some(crop), ..Preprocessing::none() };
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

plugin![EfficientNet];
