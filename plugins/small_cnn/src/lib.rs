//! A small convolutional network to train from scratch, as a baseline for transfer learning.
//!
//! It has stages of two 3×3 convolutions, each followed by batch normalisation, with max pooling between the stages. With its top
//! (global average pooling, a dense layer with 128 units, one sigmoid unit) and filters 128, 256 and 512, it has 4,649,345
//! parameters. Without its top it is a backbone like any other.

mod network;
mod weights;

use injerto_plugin_sdk::{Activation, Backbone, Graph, GraphError, Preprocessing, WeightSet, parameters, plugin};

parameters! {
    struct Parameters {
        /// height and width of the images
        input_shape: [usize; 2] = [160, 160],
        /// filters of each stage; pooling halves the image between stages
        filters: Vec<usize> = vec![128, 256, 512],
        /// share of its running statistics that a batch normalisation keeps at each step; take less if there are few steps
        momentum: f64 = 0.99,
        /// add the network's own classifier
        include_top: bool = false,
        /// units of the classifier's hidden layer
        dense_units: usize = 128,
        /// outputs of the classifier
        classes: usize = 1,
        /// activation of the classifier's outputs
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

plugin![SmallCnn];
