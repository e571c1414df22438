//! The kit for backbone plugins in Rust. A plugin describes its backbone, and this crate makes the library.
//!
//! - [`Backbone`]: the trait of a backbone, with its network, its preprocessing and its weights;
//! - [`parameters!`], [`choice!`]: the parameters of a backbone, each with its default and its documentation in one
//!   place;
//! - [`export!`]: makes the library of some backbones; [`plugin!`]: makes a plugin of them that can be linked into a program;
//! - [`Variant`], [`classifier`]: what many networks have in common;
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
pub use injerto_plugin_abi::Linked;
pub use parameters::{Parameter, Parameters, Variant, at_least};
pub use serde_json::{Map, Value, json};

/// Items to which the macros of this crate expand.
#[doc(hidden)]
pub mod macros {
    pub use crate::parameters::{document, one_of, read_one};
}

/// A backbone: a network and its weights, which depend on its parameters.
pub trait Backbone {
    /// Name that users write as `backbone.plugin`.
    const NAME: &str;
    /// One line about the backbone.
    const SUMMARY: &str;
    /// Parameters of the backbone; see [`parameters!`].
    type Parameters: Parameters;

    /// Refuses values with which no network can be built.
    ///
    /// # Errors
    /// A message that names the parameter.
    fn check(_parameters: &Self::Parameters) -> Result<(), String> {
        Ok(())
    }

    /// The network.
    ///
    /// # Errors
    /// Layers that do not fit together.
    fn graph(parameters: &Self::Parameters) -> Result<Graph, GraphError>;

    /// How an image becomes the input of the network.
    fn preprocessing(parameters: &Self::Parameters) -> Preprocessing;

    /// The weight sets of the backbone. The first one is the preferred one.
    fn weights(_parameters: &Self::Parameters) -> Vec<WeightSet> {
        Vec::new()
    }

    /// The weight files that the library carries: the identifier of each set whose source is [`Source::Embedded`], and its bytes.
    fn embedded() -> &'static [(&'static str, &'static [u8])] {
        &[]
    }
}

/// Ends a network with the classifier that most of Keras's have: the mean of each channel (`avg_pool`), and a dense layer (`predictions`).
pub fn classifier(net: &mut Builder, classes: usize, activation: Activation) {
    net.then("avg_pool", GlobalAveragePooling2D::new());
    net.then("predictions", Dense::new(classes).activation(activation));
}

/// Defines `PLUGIN`, a plugin of these backbones: a [`Linked`], which a program may have inside and a library may
/// [export](crate::export_plugin). Its name is that of the first backbone, and its version is that of the crate.
#[macro_export]
macro_rules! plugin {
    [$first:ty $(, $more:ty)* $(,)?] => {
        const INJERTO_BACKBONES: &[$crate::Entry] = &[$crate::Entry::of::<$first>(), $($crate::Entry::of::<$more>()),*];

        /// The plugin: its table, which answers as `injerto_plugin.h` says.
        pub static PLUGIN: $crate::Linked = $crate::plugin_abi::plugin_table! {
            name: <$first as $crate::Backbone>::NAME,
            version: env!("CARGO_PKG_VERSION"),
            descriptors: || $crate::Entry::descriptors(INJERTO_BACKBONES),
            describe: |name: &str, parameters: &str| $crate::Entry::describe(INJERTO_BACKBONES, name, parameters),
            weights: |id: &str| $crate::Entry::weights(INJERTO_BACKBONES, id),
        };
    };
}

/// Exports a `PLUGIN` of another crate from this library: defines the symbol by which a host finds it.
///
/// A crate that defines the symbol can be linked into no program beside another that does. A plugin that should be a library and
/// part of programs therefore defines [`plugin!`](crate::plugin) in its crate, and this in a library of its own, such as an example
/// with `crate-type = ["cdylib"]`.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:path) => {
        $crate::plugin_abi::export_table!($plugin);
    };
}

/// Exports a library of these backbones. Its name is that of the first backbone, and its version is that of the crate.
#[macro_export]
macro_rules! export {
    [$($backbone:ty),+ $(,)?] => {
        $crate::plugin![$($backbone),+];
        $crate::export_plugin!(PLUGIN);
    };
}
