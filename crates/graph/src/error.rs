use injerto_files::printable;

use crate::{Shape, limits};

/// The reason why a description is not a valid network. Messages name the layer.
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
    /// Two layers have the same name.
    #[error("layer {index} '{layer}': the name is already taken by layer {first}")]
    DuplicateName {
        /// Position of the second layer.
        index: usize,
        /// The name.
        layer: String,
        /// Position of the first layer.
        first: usize,
    },
    /// An input is not the name of an earlier layer.
    #[error("layer {index} '{layer}': its input '{}' is not a layer before it", limits::beginning(.input))]
    UnknownInput {
        /// Position in the list.
        index: usize,
        /// Name of the layer.
        layer: String,
        /// The input's name.
        input: String,
    },
    /// The name of a layer is empty, too long or not printable.
    #[error("layer {index}: its name cannot be used: {reason}")]
    Name {
        /// Position in the list.
        index: usize,
        /// The problem with the name, which is escaped.
        reason: String,
    },
    /// The name of the network is empty, too long or not printable.
    #[error("the graph's name cannot be used: {reason}")]
    GraphName {
        /// The problem with the name, which is escaped.
        reason: String,
    },
    /// A layer has a wrong number of inputs.
    #[error("layer {index} '{layer}' ({class}): it takes {expected}, but has {found}")]
    InputCount {
        /// Position in the list.
        index: usize,
        /// Name of the layer.
        layer: String,
        /// Its class.
        class: &'static str,
        /// The number that it must have, such as "one input".
        expected: &'static str,
        /// The number that it has.
        found: usize,
    },
    /// No layer reads the output of a layer that is not the last one.
    #[error("layer {index} '{layer}': nothing uses its output, and it is not the last layer")]
    Unused {
        /// Position in the list.
        index: usize,
        /// Name of the layer.
        layer: String,
    },

    // --- size ------------------------------------------------------------------------------------------------------
    /// The network has more layers than [`limits`] allow.
    #[error("'{graph}' has {found} layers, but the limit is {}", limits::MOST_LAYERS)]
    Layers {
        /// Name of the graph.
        graph: String,
        /// Number of layers.
        found: usize,
    },
    /// With this layer, the network exceeds [`limits`].
    #[error("layer {index} '{layer}' ({class}): the network is too large: {reason}")]
    TooLarge {
        /// Position in the list.
        index: usize,
        /// Name of the layer.
        layer: String,
        /// Its class.
        class: &'static str,
        /// Which limit is exceeded.
        reason: String,
    },

    // --- options ---------------------------------------------------------------------------------------------------
    /// An option is outside its range for every input.
    #[error("layer {index} '{layer}' ({class}): {reason}")]
    Option {
        /// Position in the list.
        index: usize,
        /// Name of the layer.
        layer: String,
        /// Its class.
        class: &'static str,
        /// Name, range and value of the option.
        reason: String,
    },

    // --- images ----------------------------------------------------------------------------------------------------
    /// The network does not take RGB images.
    #[error(
        "'{graph}' takes inputs of shape {shape}, but an image has the shape [height, width, 3] and at most {} pixels",
        limits::MOST_PIXELS
    )]
    NotImages {
        /// Name of the graph.
        graph: String,
        /// Shape of its input.
        shape: Shape,
    },
    /// The preprocessing would lose the image.
    #[error("its preprocessing cannot be used: {reason}")]
    Preprocessing {
        /// Name and range of the number.
        reason: String,
    },

    // --- shapes ----------------------------------------------------------------------------------------------------
    /// An operator cannot take an input of this shape.
    #[error("layer {index} '{layer}' ({class}): it cannot take an input of shape {input}: {reason}")]
    Shape {
        /// Position in the list.
        index: usize,
        /// Name of the layer.
        layer: String,
        /// Its class.
        class: &'static str,
        /// Shape of the input.
        input: Shape,
        /// The expected shape.
        reason: String,
    },

    // --- selection -------------------------------------------------------------------------------------------------
    /// There is no layer with the name that a user gave.
    #[error("there is no layer '{}' in '{graph}'{}", printable(.name), suggestion(.nearest))]
    NoSuchLayer {
        /// The name or position that the user gave.
        name: String,
        /// Name of the graph.
        graph: String,
        /// A similar name.
        nearest: Option<String>,
    },
    /// There is no layer at the position that a user gave.
    #[error("there is no layer {at} in '{graph}': it has {layers} layers, 0 to {}", layers - 1)]
    IndexOutOfRange {
        /// The name or position that the user gave.
        at: usize,
        /// Name of the graph.
        graph: String,
        /// Number of layers.
        layers: usize,
    },
    /// A pattern matches no layer's name.
    #[error("the pattern '{}' matches no layer of '{graph}'", printable(.pattern))]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// Name of the graph.
        graph: String,
    },
    /// A fraction is outside 0 to 1.
    #[error("{fraction} is not a fraction of the layers: expected 0.0 to 1.0")]
    Fraction {
        /// The given number.
        fraction: f64,
    },
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean '{name}'?")).unwrap_or_default()
}
