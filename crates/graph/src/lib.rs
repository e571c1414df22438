//! Describes a backbone: its layers, shapes and parameters, without any tensor.
//!
//! A [`Graph`] is an ordered list of layers in Keras's vocabulary. It is checked when it is made, so every `Graph` has consistent
//! shapes, and later code (summary, freezing, splitting, execution) need not check again. Order and names of layers are Keras's,
//! because users write `from_layer = 100` or `block_13_expand` and mean Keras's layers.
//!
//! - [`Graph`], [`Layer`], [`Node`], [`Builder`]: a network, and how to build it;
//! - [`Operator`], [`Activation`], [`Padding`]: what a layer does, with its options in Keras's spelling;
//! - [`layers`]: constructors of operators, with Keras's defaults;
//! - [`Shape`], [`Parameter`]: the results of shape inference;
//! - [`Description`], [`Preprocessing`], [`WeightSet`], [`Descriptor`]: the answers of a plugin about a backbone;
//! - [`Selection`], [`FreezePlan`]: the layers that train, as plain data;
//! - [`Split`], [`Cut`]: the frozen prefix and the trainable tail, and the cheapest place for the cut;
//! - [`summary`]: the table that Keras users know;
//! - [`Taps`]: how the embedding of positions is interpolated;
//! - [`limits`]: upper limits of a network's size.
//!
//! *Architecture invariant:* this crate has no tensors, no Burn, no files and no network.

mod builder;
mod cut;
mod description;
mod dropout;
mod error;
mod freeze;
mod infer;
pub mod layers;
pub mod limits;
mod network;
mod operator;
mod parameter;
mod preprocessing;
mod shape;
mod split;
pub mod summary;
mod taps;
mod weight_set;
mod window;
mod words;
mod work;

pub use builder::{Builder, LayerId, numbered};
pub use cut::{Cut, CutOptions};
pub use description::{Description, Descriptor, ParameterDoc, of_images};
pub use dropout::dropout_factor;
pub use error::GraphError;
pub use freeze::{FreezePlan, LayerRef, Selection, matches_pattern};
pub use infer::{Attention, window_padding};
pub use network::{Graph, GraphSpec, Layer, Node};
pub use operator::{Activation, Operator, Resample};
pub use parameter::{Parameter, ParameterId, Role};
pub use preprocessing::{ChannelOrder, Interpolation, PerChannel, Preprocessing};
pub use shape::Shape;
pub use split::Split;
pub use taps::Taps;
pub use weight_set::{Checksum, Format, Layout, Source, TensorMap, TensorName, WeightSet};
pub use window::{Padding, Window};
