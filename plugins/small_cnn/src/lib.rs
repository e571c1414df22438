//! A small convolutional network to train from scratch: the baseline of a course on transfer learning.
//!
//! Stages of two 3×3 convolutions, each followed by batch normalisation, with max pooling between stages. With its top
//! (global average pooling, a dense layer of 128, one sigmoid unit), at 160×160 and filters 128, 256, 512, it has
//! 4,649,345 parameters. Without top it is a backbone like any other.

use injerto_graph::{
    Activation, Builder, Checksum, Description, Descriptor, Format, Graph, GraphError, Layout, Operator, Padding,
    ParameterDoc, Preprocessing, Source, TensorMap, WeightSet, Window,
};
use serde::Deserialize;
use serde_json::{Value, json};

injerto_plugin_abi::export_plugin! {
    name: "small_cnn",
    version: env!("CARGO_PKG_VERSION"),
    descriptors: descriptors,
    describe: describe,
    weights: weights,
}

const NAME: &str = "small_cnn";

/// The weights that this library carries: what `configs/quickstart_source.toml` says how to make.
const SHAPES: &[u8] = include_bytes!("../weights/shapes.safetensors");

fn weights(id: &str) -> Result<&'static [u8], String> {
    match id {
        "shapes" => Ok(SHAPES),
        _ => Err(format!("no weights '{id}' in this library (it has 'shapes')")),
    }
}

fn weight_sets() -> Vec<WeightSet> {
    let requires = [("filters", json!([16, 32, 64])), ("include_top", json!(false))];
    vec![WeightSet {
        id: "shapes".to_owned(),
        summary: "ten plain drawn figures, by configs/quickstart_source.toml".to_owned(),
        licence: "MIT OR Apache-2.0".to_owned(),
        source: Source::Embedded,
        checksum: Some(Checksum::Sha256(include_str!("../weights/shapes.sha256").trim().to_owned())),
        format: Format::Safetensors,
        tensors: TensorMap { layout: Layout::Keras, names: Vec::new(), ignore: Vec::new() },
        requires: requires.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    }]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Parameters {
    input_shape: [usize; 2],
    filters: Vec<usize>,
    momentum: f64,
    include_top: bool,
    dense_units: usize,
    classes: usize,
    classifier_activation: Activation,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            input_shape: [160, 160],
            filters: vec![128, 256, 512],
            momentum: 0.99,
            include_top: false,
            dense_units: 128,
            classes: 1,
            classifier_activation: Activation::Sigmoid,
        }
    }
}

fn descriptors() -> Result<String, String> {
    let parameter =
        |key: &str, default: Value, doc: &str| (key.to_owned(), ParameterDoc { default, doc: doc.to_owned() });
    let descriptor = Descriptor {
        name: NAME.to_owned(),
        summary: "stages of two 3x3 convolutions with batch normalisation, to train from scratch".to_owned(),
        parameters: [
            parameter("input_shape", json!([160, 160]), "height and width of the images"),
            parameter(
                "filters",
                json!([128, 256, 512]),
                "filters of each stage; pooling halves the image between them",
            ),
            parameter(
                "momentum",
                json!(0.99),
                "how much of its old statistics a batch normalisation keeps at each step; less where there are few steps",
            ),
            parameter("include_top", json!(false), "end in a classifier of its own"),
            parameter("dense_units", json!(128), "units of the top's hidden layer"),
            parameter("classes", json!(1), "outputs of the top"),
            parameter("classifier_activation", json!("sigmoid"), "what the top applies to its outputs"),
        ]
        .into(),
        weights: weight_sets().into_iter().map(|set| set.id).collect(),
    };
    serde_json::to_string(&[descriptor]).map_err(|error| error.to_string())
}

fn describe(name: &str, parameters: &str) -> Result<String, String> {
    if name != NAME {
        return Err(format!("no backbone '{name}' in this library (it has '{NAME}')"));
    }
    let parameters: Parameters = serde_json::from_str(parameters).map_err(|error| error.to_string())?;
    if parameters.filters.is_empty() || parameters.filters.len() > 8 {
        return Err(format!("filters must name 1 to 8 stages, not {}", parameters.filters.len()));
    }
    let graph = network(&parameters).map_err(|error| error.to_string())?;
    let description = Description { graph, preprocessing: Preprocessing::zero_to_one(), weights: weight_sets() };
    serde_json::to_string(&description).map_err(|error| error.to_string())
}

/// The network with the names that Keras gives to unnamed layers.
fn network(parameters: &Parameters) -> Result<Graph, GraphError> {
    let [height, width] = parameters.input_shape;
    let numbered = |base: &str, n: usize| if n == 0 { base.to_owned() } else { format!("{base}_{n}") };
    let mut net = Builder::new(NAME);
    let mut x = net.add("input_1", Operator::InputLayer { shape: vec![height, width, 3] }, &[]);
    for (stage, &filters) in parameters.filters.iter().enumerate() {
        for half in 0..2 {
            let conv = Operator::Conv2D {
                filters,
                kernel_size: [3, 3],
                strides: [1, 1],
                padding: Padding::Same,
                dilation_rate: [1, 1],
                groups: 1,
                use_bias: true,
                activation: Activation::Relu,
            };
            let n = 2 * stage + half;
            x = net.add(numbered("conv2d", n), conv, &[x]);
            let norm = Operator::BatchNormalization {
                epsilon: 1e-3,
                momentum: parameters.momentum,
                center: true,
                scale: true,
            };
            x = net.add(numbered("batch_normalization", n), norm, &[x]);
        }
        if stage + 1 < parameters.filters.len() {
            let window =
                Window { pool_size: [2, 2], strides: [2, 2], padding: Padding::Valid, count_include_pad: false };
            x = net.add(numbered("max_pooling2d", stage), Operator::MaxPooling2D(window), &[x]);
        }
    }
    if parameters.include_top {
        let dense = |units, activation| Operator::Dense { units, use_bias: true, activation };
        x = net.add("global_average_pooling2d", Operator::GlobalAveragePooling2D { keepdims: false }, &[x]);
        x = net.add("dense", dense(parameters.dense_units, Activation::Relu), &[x]);
        net.add("dense_1", dense(parameters.classes, parameters.classifier_activation), &[x]);
    }
    net.finish()
}
