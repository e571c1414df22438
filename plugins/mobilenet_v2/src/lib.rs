//! MobileNetV2 (Sandler et al., 2018), with Keras's layers and names.
//!
//! `variant = "keras"` pads and normalises as Keras does; `"torch"` has the same list of layers, so that
//! `from_layer = 100` means the same, but PyTorch's symmetric padding and its batch-normalisation epsilon: weights that
//! were trained with one do not fit the other.

mod network;
mod weights;

use injerto_graph::{Description, Descriptor, ParameterDoc, Preprocessing};
use serde::Deserialize;
use serde_json::{Value, json};

injerto_plugin_abi::export_plugin! {
    name: "mobilenet_v2",
    version: env!("CARGO_PKG_VERSION"),
    descriptors: descriptors,
    describe: describe,
}

const NAME: &str = "mobilenet_v2";

/// Whose padding and normalisation.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Variant {
    Keras,
    Torch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    alpha: f64,
    input_shape: [usize; 2],
    include_top: bool,
    classes: usize,
    classifier_activation: injerto_graph::Activation,
    variant: Variant,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            alpha: 1.0,
            input_shape: [224, 224],
            include_top: false,
            classes: 1000,
            classifier_activation: injerto_graph::Activation::Softmax,
            variant: Variant::Keras,
        }
    }
}

fn descriptors() -> Result<String, String> {
    let parameter =
        |key: &str, default: Value, doc: &str| (key.to_owned(), ParameterDoc { default, doc: doc.to_owned() });
    let descriptor = Descriptor {
        name: NAME.to_owned(),
        summary: "MobileNetV2: 154 layers, 2.3 million parameters without its top".to_owned(),
        parameters: [
            parameter("alpha", json!(1.0), "width: every layer's filters are multiplied by it"),
            parameter("input_shape", json!([224, 224]), "height and width of the images, at least 32"),
            parameter("include_top", json!(false), "keep the classifier"),
            parameter("classes", json!(1000), "outputs of the classifier"),
            parameter("classifier_activation", json!("softmax"), "what the classifier applies to its outputs"),
            parameter("variant", json!("keras"), "whose padding and normalisation: \"keras\" or \"torch\""),
        ]
        .into(),
        weights: weights::sets().into_iter().map(|set| set.id).collect(),
    };
    serde_json::to_string(&[descriptor]).map_err(|error| error.to_string())
}

fn describe(name: &str, parameters: &str) -> Result<String, String> {
    if name != NAME {
        return Err(format!("no backbone '{name}' in this library (it has '{NAME}')"));
    }
    let parameters: Parameters = serde_json::from_str(parameters).map_err(|error| error.to_string())?;
    if !(parameters.alpha > 0.0 && parameters.alpha <= 10.0) {
        return Err(format!("alpha must be larger than 0 and at most 10, not {}", parameters.alpha));
    }
    if parameters.input_shape.iter().any(|side| *side < 32) {
        return Err(format!("input_shape must be at least [32, 32], not {:?}", parameters.input_shape));
    }
    let preprocessing = match parameters.variant {
        Variant::Keras => Preprocessing::minus_one_to_one(),
        Variant::Torch => Preprocessing::imagenet(),
    };
    let graph = network::build(&parameters).map_err(|error| error.to_string())?;
    let description = Description { graph, preprocessing, weights: weights::sets() };
    serde_json::to_string(&description).map_err(|error| error.to_string())
}
