//! Weights on the host: read from files, checked against a graph, fetched, initialised, saved.
//!
//! Everything is in Keras's names (`LAYER/PARAMETER`) and axes; files in other conventions are converted when they are
//! read. Weights are data: a pickle is read as a table of tensors and nothing in it is executed.
//!
//! - [`WeightFile`]: a file that is open, of whatever format its contents are, read once;
//! - [`Fit`]: which of its tensors is which parameter, and what is wrong;
//! - [`BackboneCard`]: what a file of this program says of the backbone in it;
//! - [`fetch`], [`Cache`]: published files.

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
    /// Sides, kernels `[height, width, in, out]`.
    pub shape: Vec<usize>,
    /// Row by row.
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

    /// Takes in all parameters of `other`, over any of the same name.
    pub fn extend(&mut self, other: Self) {
        self.values.extend(other.values);
    }

    /// Only the parameters of `graph`.
    pub fn restricted_to(mut self, graph: &Graph) -> Self {
        let names = names(graph);
        self.values.retain(|name, _| names.contains_key(name.as_str()));
        self
    }
}

/// Names of all parameters of a graph with what they are and their shapes.
fn names(graph: &Graph) -> BTreeMap<String, (injerto_graph::Role, Vec<usize>)> {
    let of = |node: &injerto_graph::Node| -> Vec<_> {
        let name = |p: &injerto_graph::Parameter| format!("{}/{}", node.name(), p.name());
        node.parameters.iter().map(|p| (name(p), (p.role, p.shape.clone()))).collect()
    };
    graph.nodes().iter().flat_map(of).collect()
}
