//! VGG16 (Simonyan and Zisserman, 2014), with Keras's layers and names.
//!
//! `variant = "torch"` is the same network with torchvision's preprocessing. Its dropout between the classifier's layers is
//! left out, as in Keras's.

mod network;
mod weights;

use injerto_graph::{Activation, Description, Descriptor, ParameterDoc, Preprocessing};
use serde::Deserialize;
use serde_json::{Value, json};

injerto_plugin_abi::export_plugin! {
    name: "vgg",
    version: env!("CARGO_PKG_VERSION"),
    descriptors: descriptors,
    describe: describe,
}

const NAME: &str = "vgg";

/// Whose preprocessing.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Variant {
    Keras,
    Torch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    input_shape: [usize; 2],
    include_top: bool,
    classes: usize,
    classifier_activation: Activation,
    variant: Variant,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            input_shape: [224, 224],
            include_top: false,
            classes: 1000,
            classifier_activation: Activation::Softmax,
            variant: Variant::Keras,
        }
    }
}

fn descriptors() -> Result<String, String> {
    let parameter =
        |key: &str, default: Value, doc: &str| (key.to_owned(), ParameterDoc { default, doc: doc.to_owned() });
    let descriptor = Descriptor {
        name: NAME.to_owned(),
        summary: "VGG16: 19 layers, 14.7 million parameters without its top".to_owned(),
        parameters: [
            parameter("input_shape", json!([224, 224]), "height and width of the images, at least 32"),
            parameter("include_top", json!(false), "keep the classifier"),
            parameter("classes", json!(1000), "outputs of the classifier"),
            parameter("classifier_activation", json!("softmax"), "what the classifier applies to its outputs"),
            parameter("variant", json!("keras"), "whose preprocessing: \"keras\" or \"torch\""),
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
    let preprocessing = match parameters.variant {
        Variant::Keras => Preprocessing::caffe(),
        Variant::Torch => Preprocessing { crop: Some(0.875), ..Preprocessing::imagenet() },
    };
    let graph = network::build(&parameters).map_err(|error| error.to_string())?;
    serde_json::to_string(&Description { graph, preprocessing, weights: weights::sets(&parameters) })
        .map_err(|error| error.to_string())
}
