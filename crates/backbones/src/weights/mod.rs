//! Weights on the host. This module reads them from files, checks them against a graph, fetches, initialises and saves them.
//!
//! All weights have Keras's names (`LAYER/PARAMETER`) and axes; files with other conventions are converted when they are
//! read. Weights are data: a pickle is read as a table of tensors, and nothing in it is executed.
//!
//! - [`WeightFile`]: an open file of any format, which is read once;
//! - [`Fit`]: which tensor of a file is which parameter, and what does not fit;
//! - [`BackboneCard`]: the description of the backbone in a file of this program;
//! - [`fetch`], [`Cache`]: published files, and where they are kept.

mod axes;
mod card;
mod checksum;
mod error;
mod fetch;
mod file;
mod hdf5;
mod initialise;
mod read;
mod save;
mod table;

use std::collections::BTreeMap;

use injerto_graph::Graph;

pub use card::{BackboneCard, BackboneName};
pub use error::{Problems, WeightError};
pub use fetch::{Cache, Fetched, fetch};
pub use file::WeightFile;
pub use save::Precision;
pub use table::{Fit, Rest};

/// Values of one parameter in Keras's axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    /// Shape; that of a kernel is `[height, width, in, out]`.
    pub shape: Vec<usize>,
    /// Values, row by row.
    pub data: Vec<f32>,
}

/// Parameters by name, `LAYER/PARAMETER`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weights {
    values: BTreeMap<String, Values>,
}

impl Weights {
    /// Values of a parameter.
    pub fn get(&self, name: &str) -> Option<&Values> {
        self.values.get(name)
    }

    /// Sets the values of a parameter.
    ///
    /// # Panics
    /// If `data` does not fill `shape`.
    pub fn insert(&mut self, name: impl Into<String>, shape: Vec<usize>, data: Vec<f32>) {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "data must fill the shape");
        self.values.insert(name.into(), Values { shape, data });
    }

    /// All parameters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Values)> {
        self.values.iter().map(|(name, values)| (name.as_str(), values))
    }

    /// Number of values in all parameters.
    pub fn count(&self) -> usize {
        self.values.values().map(|values| values.data.len()).sum()
    }

    /// Adds all parameters of `other`, which replace those with the same name.
    pub fn extend(&mut self, other: Self) {
        self.values.extend(other.values);
    }

    /// Keeps only the parameters of `graph`.
    pub fn restricted_to(mut self, graph: &Graph) -> Self {
        let names = names(graph.nodes());
        self.values.retain(|name, _| names.contains_key(name.as_str()));
        self
    }
}

/// Names of all parameters of some layers, with their roles and shapes.
fn names(nodes: &[injerto_graph::Node]) -> BTreeMap<String, (injerto_graph::Role, Vec<usize>)> {
    let of = |node: &injerto_graph::Node| -> Vec<_> {
        let name = |p: &injerto_graph::Parameter| format!("{}/{}", node.name(), p.name());
        node.parameters.iter().map(|p| (name(p), (p.role, p.shape.clone()))).collect()
    };
    nodes.iter().flat_map(of).collect()
}
