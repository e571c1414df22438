//! A small convolutional network to train from scratch: the baseline of a course on transfer learning.
//!
//! Stages of two 3×3 convolutions, each followed by batch normalisation, with max pooling between stages. With its top
//! (global average pooling, a dense layer of 128, one sigmoid unit), at 160×160 and filters 128, 256, 512, it has
//! 4,649,345 parameters. Without top it is a backbone like any other.

mod network;
mod weights;

use injerto_plugin_sdk::{Activation, Backbone, Graph, GraphError, Preprocessing, WeightSet, export, parameters};

parameters! {
    struct Parameters {
        /// height and width of the images
        input_shape: [usize; 2] = [160, 160],
        /// filters of each stage; pooling halves the image between them
        filters: Vec<usize> = vec![128, 256, 512],
        /// how much of its old statistics a batch normalisation keeps at each step; less where there are few steps
        momentum: f64 = 0.99,
        /// end in a classifier of its own
        include_top: bool = false,
        /// units of the top's hidden layer
        dense_units: usize = 128,
        /// outputs of the top
        classes: usize = 1,
        /// what the top applies to its outputs
        classifier_activation: Activation = Activation::Sigmoid,
    }
}

struct SmallCnn;

impl Backbone for SmallCnn {
    const NAME: &str = "small_cnn";
    const SUMMARY: &str = "stages of two 3x3 convolutions with batch normalisation, to train from scratch";
    type Parameters = Parameters;

    fn check(parameters: &Parameters) -> Result<(), String> {
        match parameters.filters.len() {
            1..=8 => Ok(()),
            stages => Err(format!("filters must name 1 to 8 stages, not {stages}")),
        }
    }

    fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
        network::build(parameters)
    }

    fn preprocessing(_: &Parameters) -> Preprocessing {
        Preprocessing::zero_to_one()
    }

    fn weights(_: &Parameters) -> Vec<WeightSet> {
        weights::sets()
    }

    fn embedded() -> &'static [(&'static str, &'static [u8])] {
        &[("shapes", weights::SHAPES)]
    }
}

export![SmallCnn];
