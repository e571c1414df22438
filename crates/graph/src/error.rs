use injerto_files::printable;

use crate::{Shape, limits};

/// Why a description is not a network. Every message names the layer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GraphError {
    // --- structure -------------------------------------------------------------------------------------------------
    /// The list of layers is empty.
    #[error("the graph '{graph}' has no layers")]
    Empty {
        /// Name of the graph.
        graph: String,
    },
    /// The first layer must be the only `InputLayer`.
    #[error("layer {index} '{layer}': the first layer, and no other, must be an InputLayer")]
    Input {
        /// Position in the list.
        index: usize,
        /// Name of the layer.
        layer: String,
    },
    /// Two layers with one name.
    #[error("layer {index} '{layer}': the name is already taken by layer {first}")]
    DuplicateName {
        /// Position of the second layer.
        index: usize,
        /// The name.
        layer: String,
        /// Position of the first layer.
        first: usize,
    },
    /// An input that is not a layer before this one.
    #[error("layer {index} '{layer}': its input '{}' is not a layer before it", limits::beginning(.input))]
    UnknownInput {
        /// Position in the list.
        index: usize,
        /// Name of the layer.
        layer: String,
        /// The input's name.
        input: String,
    },
    /// A name that is empty, absurdly long, or that does more than show itself.
    #[error("layer {index}: its name cannot be used: {reason}")]
    Name {
        /// Position in the list.
        index: usize,
        /// What is wrong with it; the name is escaped.
        reason: String,
    },
    /// A name of the whole network that cannot be used.
    #[error("the graph's name cannot be used: {reason}")]
    GraphName {
        /// What is wrong with it; the name is escaped.
        reason: String,
    },
    /// A wrong number of inputs.
    #[error("layer {index} '{layer}' ({class}): takes {expected}, has {found}")]
    InputCount {
        /// Position in the list.
        index: usize,
        /// Name of the layer.
        layer: String,
        /// Its class.
        class: &'static str,
        /// Such as "one input".
        expected: &'static str,
        /// How many it has.
        found: usize,
    },
    /// A layer whose output nobody reads.
    #[error("layer {index} '{layer}': nothing uses its output, and it is not the last layer")]
    Unused {
        /// Position in the list.
        index: usize,
        /// Name of the layer.
        layer: String,
    },

    // --- size ------------------------------------------------------------------------------------------------------
    /// More layers than a network may have.
    #[error("'{graph}' has {found} layers, the most are {}", limits::MOST_LAYERS)]
    Layers {
        /// Name of the graph.
        graph: String,
        /// How many there are.
        found: usize,
    },
    /// A layer with which the network is larger than [`limits`] allow.
    #[error("layer {index} '{layer}' ({class}): the network is too large: {reason}")]
    TooLarge {
        /// Position in the list.
        index: usize,
        /// Name of the layer.
        layer: String,
        /// Its class.
        class: &'static str,
        /// How much of what, and the limit.
        reason: String,
    },

    // --- options ---------------------------------------------------------------------------------------------------
    /// An option outside its range, whatever the input.
    #[error("layer {index} '{layer}' ({class}): {reason}")]
    Option {
        /// Position in the list.
        index: usize,
        /// Name of the layer.
        layer: String,
        /// Its class.
        class: &'static str,
        /// Which option, what it may be, and what it is.
        reason: String,
    },

    // --- images ----------------------------------------------------------------------------------------------------
    /// A network that does not take RGB images.
    #[error(
        "'{graph}' takes inputs of shape {shape}, and only [height, width, 3] with at most {} pixels is an image",
        limits::MOST_PIXELS
    )]
    NotImages {
        /// Name of the graph.
        graph: String,
        /// Shape of its input.
        shape: Shape,
    },
    /// Preprocessing that is no use.
    #[error("its preprocessing cannot be used: {reason}")]
    Preprocessing {
        /// Which number, and what it may be.
        reason: String,
    },

    // --- shapes ----------------------------------------------------------------------------------------------------
    /// An operator that cannot take its input's shape.
    #[error("layer {index} '{layer}' ({class}): cannot take an input of shape {input}: {reason}")]
    Shape {
        /// Position in the list.
        index: usize,
        /// Name of the layer.
        layer: String,
        /// Its class.
        class: &'static str,
        /// Shape of the input.
        input: Shape,
        /// What was expected.
        reason: String,
    },

    // --- selection -------------------------------------------------------------------------------------------------
    /// A layer that a user named and that is not there.
    #[error("no layer '{}' in '{graph}'{}", printable(.name), suggestion(.nearest))]
    NoSuchLayer {
        /// What was asked for.
        name: String,
        /// Name of the graph.
        graph: String,
        /// A name that is like it.
        nearest: Option<String>,
    },
    /// An index beyond the end.
    #[error("no layer {at} in '{graph}': it has {layers} layers, 0 to {}", layers - 1)]
    IndexOutOfRange {
        /// What was asked for.
        at: usize,
        /// Name of the graph.
        graph: String,
        /// How many layers there are.
        layers: usize,
    },
    /// A pattern that no layer's name matches.
    #[error("the pattern '{}' matches no layer of '{graph}'", printable(.pattern))]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// Name of the graph.
        graph: String,
    },
    /// A fraction outside 0 to 1.
    #[error("{fraction} is not a fraction of the layers: expected 0.0 to 1.0")]
    Fraction {
        /// What was given.
        fraction: f64,
    },
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean '{name}'?")).unwrap_or_default()
}
