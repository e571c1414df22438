//! What a backbone plugin in Rust is written with. A plugin says what its backbone is; this crate makes the library of it.
//!
//! - [`Backbone`]: the trait, with the network, its preprocessing and its weights;
//! - [`parameters!`], [`choice!`]: what a backbone can be asked for, each parameter with its default and its
//!   documentation in one place;
//! - [`export!`]: the library of these backbones;
//! - [`published`]: weight sets of Keras, torchvision and Python packages;
//! - all of [`graph`]: [`Builder`], the layers, [`Preprocessing`], [`WeightSet`], [`TensorMap`].
//!
//! ```
//! use injerto_plugin_sdk::*;
//!
//! parameters! {
//!     struct Parameters {
//!         /// height and width of the images, at least 32
//!         input_shape: [usize; 2] = [160, 160],
//!         /// filters of each stage
//!         filters: Vec<usize> = vec![16, 32],
//!     }
//! }
//!
//! struct Stages;
//!
//! impl Backbone for Stages {
//!     const NAME: &str = "stages";
//!     const SUMMARY: &str = "convolutions with pooling after each";
//!     type Parameters = Parameters;
//!
//!     fn check(parameters: &Parameters) -> Result<(), String> {
//!         at_least("input_shape", parameters.input_shape, 32)
//!     }
//!
//!     fn graph(parameters: &Parameters) -> Result<Graph, GraphError> {
//!         let mut net = Builder::new(Self::NAME);
//!         net.image(parameters.input_shape);
//!         for (stage, &filters) in parameters.filters.iter().enumerate() {
//!             net.then(format!("conv{stage}"), Conv2D::new(filters, 3).same().relu());
//!             net.then(format!("pool{stage}"), MaxPooling2D::new(2));
//!         }
//!         net.finish()
//!     }
//!
//!     fn preprocessing(_: &Parameters) -> Preprocessing {
//!         Preprocessing::zero_to_one()
//!     }
//! }
//!
//! export![Stages];
//! # fn main() {}
//! ```
//!
//! *Architecture invariant:* a plugin needs no other crate of the workspace, and the host does not link this one.

mod entry;
mod parameters;
pub mod published;

pub use entry::Entry;
pub use injerto_graph as graph;
pub use injerto_graph::layers::*;
pub use injerto_graph::*;
#[doc(hidden)]
pub use injerto_plugin_abi as plugin_abi;
pub use parameters::{Parameter, Parameters, at_least};
pub use serde_json::{Map, Value, json};

/// What the macros of this crate expand to.
#[doc(hidden)]
pub mod macros {
    pub use crate::parameters::{document, one_of, read_one};
}

/// A backbone: a network and its weights, as its parameters ask.
pub trait Backbone {
    /// What users write as `backbone.plugin`.
    const NAME: &str;
    /// One line about it.
    const SUMMARY: &str;
    /// What it can be asked for; see [`parameters!`].
    type Parameters: Parameters;

    /// Refuses values that no network can be made of, with a message that names the parameter.
    ///
    /// # Errors
    /// That message.
    fn check(_parameters: &Self::Parameters) -> Result<(), String> {
        Ok(())
    }

    /// The network.
    ///
    /// # Errors
    /// Layers that do not fit together.
    fn graph(parameters: &Self::Parameters) -> Result<Graph, GraphError>;

    /// How an image becomes its input.
    fn preprocessing(parameters: &Self::Parameters) -> Preprocessing;

    /// The weight sets that it knows, the first one the first choice.
    fn weights(_parameters: &Self::Parameters) -> Vec<WeightSet> {
        Vec::new()
    }

    /// Weight files that the library carries: the identifier of a set whose source is [`Source::Embedded`], and the bytes.
    fn embedded() -> &'static [(&'static str, &'static [u8])] {
        &[]
    }
}

/// Exports a library of these backbones: its name is the first one's, its version the crate's.
#[macro_export]
macro_rules! export {
    [$first:ty $(, $more:ty)* $(,)?] => {
        const INJERTO_BACKBONES: &[$crate::Entry] = &[$crate::Entry::of::<$first>(), $($crate::Entry::of::<$more>()),*];
        $crate::plugin_abi::export_plugin! {
            name: <$first as $crate::Backbone>::NAME,
            version: env!("CARGO_PKG_VERSION"),
            descriptors: || $crate::Entry::descriptors(INJERTO_BACKBONES),
            describe: |name: &str, parameters: &str| $crate::Entry::describe(INJERTO_BACKBONES, name, parameters),
            weights: |id: &str| $crate::Entry::weights(INJERTO_BACKBONES, id),
        }
    };
}
