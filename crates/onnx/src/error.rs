use std::path::PathBuf;

use injerto_files::{printable, shown};
use injerto_graph::GraphError;

/// The reason why a file is not read or not written. Messages name the file, the node or the layer.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The file cannot be opened, read or written.
    #[error("{}: {source}", shown(.path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file is not a model, or is damaged.
    #[error("it cannot be read as an ONNX model: {reason}")]
    Damaged {
        /// The fault.
        reason: String,
    },
    /// The model is not a classifier of images.
    #[error("it cannot be a backbone: {reason}")]
    Unsuited {
        /// What is missing, and how to change it.
        reason: String,
    },
    /// Nodes that the backbone needs cannot be expressed by layers. All of them are listed.
    #[error(
        "{} of its nodes cannot be read as layers:\n{}\na network that ends before them can be used: name its last node as \
         `backbone.last_layer`",
        .nodes.len(),
        refused(.nodes)
    )]
    Nodes {
        /// The nodes.
        nodes: Vec<RefusedNode>,
    },
    /// The layers do not make a network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A parameter of a layer has no values.
    #[error("parameter '{}' has no values, or a wrong number of values", printable(.name))]
    Parameter {
        /// `LAYER/PARAMETER`.
        name: String,
    },
    /// A value is too large for half precision.
    #[error("'{}' has values above 65504, which half precision cannot hold; export with --precision f32", printable(.name))]
    Overflow {
        /// `LAYER/PARAMETER`.
        name: String,
    },
    /// A layer cannot be written.
    #[error("layer '{}' cannot be written as ONNX: {reason}", printable(.layer))]
    Layer {
        /// The layer.
        layer: String,
        /// The reason.
        reason: String,
    },
    /// The file would be larger than its format allows.
    #[error("the model needs {bytes} bytes, but an ONNX file has at most 2 GiB; export with --precision f16")]
    TooLarge {
        /// Size of the file.
        bytes: usize,
    },
}

/// A node that cannot be read as a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedNode {
    /// The operator, with its domain if it is not ONNX's own.
    pub operator: String,
    /// Name of the node, or of its first output.
    pub node: String,
    /// The reason.
    pub reason: String,
}

/// Limit for the number of nodes that a message lists.
const MOST_LISTED: usize = 40;

fn refused(nodes: &[RefusedNode]) -> String {
    let line = |node: &RefusedNode| {
        let reason = if node.reason.is_empty() { String::new() } else { format!(": {}", printable(&node.reason)) };
        format!("  {} '{}'{reason}", printable(&node.operator), printable(&node.node))
    };
    let mut lines: Vec<String> = nodes.iter().take(MOST_LISTED).map(line).collect();
    if let Some(more) = nodes.len().checked_sub(MOST_LISTED).filter(|&more| more > 0) {
        lines.push(format!("  and {more} more"));
    }
    lines.join("\n")
}
