//! EfficientNet-B0 (Tan and Le, 2019), with Keras's layers and names, and EfficientNet-Lite0.
//!
//! - `variant = "keras"`: B0 as Keras builds it; its ImageNet weights need `imagenet_rescaling`, a layer more.
//! - `variant = "torch"`: the same list of layers with torchvision's padding, normalisation and epsilon.
//! - `variant = "lite0"`: without squeeze-and-excitation and with ReLU6, for small devices; images are scaled outside.

mod network;
mod weights;

use injerto_graph::{Activation, Description, Descriptor, Interpolation, ParameterDoc, Preprocessing};
use serde::Deserialize;
use serde_json::{Value, json};

injerto_plugin_abi::export_plugin! {
    name: "efficientnet",
    version: env!("CARGO_PKG_VERSION"),
    descriptors: descriptors,
    describe: describe,
}

const NAME: &str = "efficientnet";

/// Which network, and whose padding and normalisation.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Variant {
    Keras,
    Torch,
    Lite0,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    input_shape: [usize; 2],
    include_top: bool,
    classes: usize,
    classifier_activation: Activation,
    variant: Variant,
    imagenet_rescaling: bool,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            input_shape: [224, 224],
            include_top: false,
            classes: 1000,
            classifier_activation: Activation::Softmax,
            variant: Variant::Keras,
            imagenet_rescaling: false,
        }
    }
}

fn descriptors() -> Result<String, String> {
    let parameter =
        |key: &str, default: Value, doc: &str| (key.to_owned(), ParameterDoc { default, doc: doc.to_owned() });
    let descriptor = Descriptor {
        name: NAME.to_owned(),
        summary: "EfficientNet-B0: 237 layers, 4.0 million parameters without its top; and Lite0".to_owned(),
        parameters: [
            parameter("input_shape", json!([224, 224]), "height and width of the images, at least 32"),
            parameter("include_top", json!(false), "keep the classifier"),
            parameter("classes", json!(1000), "outputs of the classifier"),
            parameter("classifier_activation", json!("softmax"), "what the classifier applies to its outputs"),
            parameter("variant", json!("keras"), "\"keras\" or \"torch\" for B0, or \"lite0\""),
            parameter(
                "imagenet_rescaling",
                json!(false),
                "the second rescaling that Keras adds for its ImageNet weights (set by them)",
            ),
        ]
        .into(),
        weights: weights::sets(&Parameters::default()).into_iter().map(|set| set.id).collect(),
    };
    serde_json::to_string(&[descriptor]).map_err(|error| error.to_string())
}

fn describe(name: &str, parameters: &str) -> Result<String, String> {
    if name != NAME {
        return Err(format!("no backbone '{name}' in this library (it has '{NAME}')"));
    }
    let parameters: Parameters = serde_json::from_str(parameters).map_err(|error| error.to_string())?;
    if parameters.input_shape.iter().any(|side| *side < 32) {
        return Err(format!("input_shape must be at least [32, 32], not {:?}", parameters.input_shape));
    }
    if parameters.imagenet_rescaling && parameters.variant != Variant::Keras {
        return Err("imagenet_rescaling belongs to variant \"keras\"".to_owned());
    }
    let (plain, interpolation) = (Preprocessing::none(), Interpolation::Bicubic);
    let preprocessing = match parameters.variant {
        Variant::Keras => plain,
        Variant::Torch => Preprocessing { interpolation, crop: Some(0.875), ..plain },
        Variant::Lite0 => {
            Preprocessing { mean: [127.0; 3], deviation: [128.0; 3], interpolation, crop: Some(0.875), ..plain }
        }
    };
    let graph = network::build(&parameters).map_err(|error| error.to_string())?;
    serde_json::to_string(&Description { graph, preprocessing, weights: weights::sets(&parameters) })
        .map_err(|error| error.to_string())
}
