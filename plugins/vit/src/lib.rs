//! Vision transformers (Dosovitskiy et al., 2021), with timm's names, and DINOv2 (Oquab et al., 2023), whose blocks have layer scales.
//!
//! The embedding of positions keeps the grid that it was learned for, and is interpolated where images have another size.

mod network;
mod weights;

use injerto_plugin_sdk::{
    Activation, Backbone, Graph, GraphError, Interpolation, Preprocessing, WeightSet, choice, parameters, plugin,
};

choice! {
    /// The network, by timm's name.
    enum Variant {
        Small16 = "vit_small_patch16_224",
        Base16 = "vit_base_patch16_224",
        SmallDino = "vit_small_patch14_dinov2",
        BaseDino = "vit_base_patch14_dinov2",
    }
}

choice! {
    /// What becomes of the tokens.
    enum Pooling { Token = "token", Average = "avg", Both = "both", None = "none" }
}

parameters! {
    struct Parameters {
        /// the network, by timm's name
        variant: Variant = Variant::Small16,
        /// height and width of the images, multiples of the patch, which is 16 (DINOv2: 14)
        input_shape: [usize; 2] = [224, 224],
        /// "token": the class token, "avg": the mean of all other tokens, "both": one after the other, "none": all tokens
        pooling: Pooling = Pooling::Token,
        /// keep the network's own classifier, which reads the class token
        include_top: bool = false,
        /// outputs of the classifier
        classes: usize = 1000,
        /// activation of the classifier's outputs
        classifier_activation: Activation = Activation::Softmax,
        /// rate of stochastic depth in the last block; it rises linearly from 0 in the first
        drop_path_rate: f64 = 0.0,
    }
}

struct Vit;

impl Backbone for Vit {
    const NAME: &str = "vit";
    const SUMMARY: &str =
        "vision transformers: ViT-S/16 (21.7 million parameters without its top), B/16, DINOv2 S/14 and B/14";
    type Parameters = Parameters;

    fn check(parameters: &Parameters) -> Result<(), String> {
        let Parameters { variant, input_shape, include_top, pooling, drop_path_rate, .. } = *parameters;
        let patch = network::size(variant).patch;
        if input_shape.iter().any(|&side| side == 0 || side % patch != 0) {
            return Err(format!("input_shape must be multiples of the patch, {patch}, not {input_shape:?}"));
        }
        if include_top && network::size(variant).layer_scale {
            return Err("include_top: DINOv2 was trained without a classifier".to_owned());
        }
        if include_top && pooling != Pooling::Token {
            return Err("include_top: the classifier reads the class token; leave pooling at \"token\"".to_owned());
        }
        match (0.0..1.0).contains(&drop_path_rate) {
            true => Ok(()),
            false => Err(format!("drop_path_rate must be 0.0 to 1.0 (1.0 excluded), not {drop_path_rate}")),
        }
    }

    fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
        network::build(parameters)
    }

    fn preprocessing(parameters: &Parameters) -> Preprocessing {
        let (how, crop) = match network::size(parameters.variant).layer_scale {
            true => (Preprocessing::imagenet(), 1.0),
            false => (Preprocessing::minus_one_to_one(), 0.9),
        };
        Preprocessing { interpolation: Interpolation::Bicubic, crop: Some(crop), ..how }
    }

    fn weights(parameters: &Parameters) -> Vec<WeightSet> {
        weights::sets(parameters)
    }
}

plugin![Vit];
