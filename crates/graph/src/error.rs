use crate::Shape;

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
    #[error("layer {index} '{layer}': its input '{input}' is not a layer before it")]
    UnknownInput {
        /// Position in the list.
        index: usize,
        /// Name of the layer.
        layer: String,
        /// The input's name.
        input: String,
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
    #[error("no layer '{name}' in '{graph}'{}", suggestion(.nearest))]
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
    #[error("the pattern '{pattern}' matches no layer of '{graph}'")]
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
