//! A backbone *described*: layers, shapes, parameters. No tensor lives here.
//!
//! A [`Graph`] is an ordered list of layers in Keras's vocabulary, checked when it is made: a `Graph` that exists has
//! consistent shapes, so everything after it (summary, freezing, splitting, execution) need not check again.
//! Order and names matter, because users say `from_layer = 100` or `block_13_expand` and mean Keras's.
//!
//! - [`Graph`], [`Layer`], [`Node`], [`Builder`]: the network and how to write one down;
//! - [`Operator`], [`Activation`], [`Padding`]: what a layer does, with its options in Keras's spelling;
//! - [`layers`]: constructors of operators, with Keras's defaults;
//! - [`Shape`], [`Parameter`]: what shape inference finds;
//! - [`Description`], [`Preprocessing`], [`WeightSet`], [`Descriptor`]: what a plugin says about a backbone;
//! - [`Selection`], [`FreezePlan`]: which layers train, as plain data;
//! - [`Split`], [`Cut`]: the frozen prefix and the trainable tail, and where it pays to cut;
//! - [`summary`]: the table that Keras users know;
//! - [`limits`]: how large a network may be.
//!
//! *Architecture invariant:* this crate has no tensors, no Burn, no files and no network.

mod builder;
mod cut;
mod description;
mod dropout;
mod error;
mod freeze;
pub mod layers;
pub mod limits;
mod network;
mod operator;
mod shape;
mod split;
pub mod summary;

pub use builder::{Builder, LayerId, numbered};
pub use cut::{Cut, CutOptions};
pub use description::{
    ChannelOrder, Checksum, Description, Descriptor, Format, Interpolation, Layout, ParameterDoc, PerChannel,
    Preprocessing, Source, TensorMap, TensorName, WeightSet, of_images,
};
pub use dropout::dropout_factor;
pub use error::GraphError;
pub use freeze::{FreezePlan, LayerRef, Selection, matches_pattern};
pub use network::{Graph, GraphSpec, Layer, Node};
pub use operator::{Activation, Operator, Padding, Window};
pub use shape::{Parameter, ParameterId, Role, Shape, window_padding};
pub use split::Split;
