//! ConvNeXt (Liu et al., 2022) with Keras's names, and ConvNeXt V2 (Woo et al., 2023), named alike.
//!
//! Keras nests the stem and the layers between stages in models of their own; here they are layers like all others. Pixels are scaled
//! before the network.

mod network;
mod weights;

use injerto_plugin_sdk::{
    Activation, Backbone, Graph, GraphError, Interpolation, Preprocessing, WeightSet, at_least, choice, parameters,
    plugin,
};

choice! {
    /// The network.
    enum Variant {
        Tiny = "convnext_tiny",
        Small = "convnext_small",
        AttoV2 = "convnextv2_atto",
        FemtoV2 = "convnextv2_femto",
        PicoV2 = "convnextv2_pico",
        NanoV2 = "convnextv2_nano",
        TinyV2 = "convnextv2_tiny",
    }
}

choice! {
    /// What becomes of the last stage's output.
    enum Pooling { Average = "avg", None = "none" }
}

parameters! {
    struct Parameters {
        /// the network
        variant: Variant = Variant::Tiny,
        /// height and width of the images, at least 32
        input_shape: [usize; 2] = [224, 224],
        /// "avg": the mean over height and width, normalised with the published layer, "none": the last stage's output
        pooling: Pooling = Pooling::Average,
        /// keep the network's own classifier
        include_top: bool = false,
        /// outputs of the classifier
        classes: usize = 1000,
        /// activation of the classifier's outputs
        classifier_activation: Activation = Activation::Softmax,
        /// rate of stochastic depth in the last block; it rises linearly from 0 in the first
        drop_path_rate: f64 = 0.0,
    }
}

struct ConvNeXt;

impl Backbone for ConvNeXt {
    const NAME: &str = "convnext";
    const SUMMARY: &str = "ConvNeXt tiny (27.8 million parameters without its top) and small, ConvNeXt V2 atto to tiny";
    type Parameters = Parameters;

    fn check(parameters: &Parameters) -> Result<(), String> {
        let Parameters { input_shape, pooling, include_top, drop_path_rate, .. } = *parameters;
        at_least("input_shape", input_shape, 32)?;
        if include_top && pooling != Pooling::Average {
            return Err("include_top: the classifier reads the mean; leave pooling at \"avg\"".to_owned());
        }
        match (0.0..1.0).contains(&drop_path_rate) {
            true => Ok(()),
            false => Err(format!("drop_path_rate must be 0.0 to 1.0 (1.0 excluded), not {drop_path_rate}")),
        }
    }

    fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
        network::build(parameters)
    }

    fn preprocessing(_: &Parameters) -> Preprocessing {
        Preprocessing { interpolation: Interpolation::Bicubic, crop: Some(0.875), ..Preprocessing::imagenet() }
    }

    fn weights(parameters: &Parameters) -> Vec<WeightSet> {
        weights::sets(parameters)
    }
}

plugin![ConvNeXt];
