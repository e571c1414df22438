//! The tensors of a layer.

/// The purpose of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Convolution kernel, `[height, width, in / groups, out]`.
    ConvolutionKernel,
    /// Depthwise kernel, `[height, width, in, multiplier]`.
    DepthwiseKernel,
    /// Dense kernel, `[in, out]`.
    DenseKernel,
    /// Bias, which is added at the end.
    Bias,
    /// Scale of a normalisation, or of a layer scale.
    Gamma,
    /// Shift of a normalisation.
    Beta,
    /// Learned tokens or positions, `[…, channels]`.
    Embedding,
    /// Running mean of a batch normalisation.
    MovingMean,
    /// Running variance of a batch normalisation.
    MovingVariance,
    /// Mean of a `Normalization` layer.
    Mean,
    /// Variance of a `Normalization` layer.
    Variance,
    /// Number of images that a `Normalization` layer was adapted to. It is kept because Keras counts it as a parameter.
    Count,
}

/// A named tensor of a layer, in Keras's axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Purpose.
    pub role: Role,
    /// Keras's name, where it is not that of all parameters with this purpose.
    own_name: Option<&'static str>,
    /// Shape, channels last; that of a kernel is `[height, width, in, out]`.
    pub shape: Vec<usize>,
}

impl Parameter {
    pub(crate) fn new(role: Role, shape: &[usize]) -> Self {
        Self { role, own_name: None, shape: shape.to_vec() }
    }

    pub(crate) fn named(self, name: &'static str) -> Self {
        Self { own_name: Some(name), ..self }
    }

    /// Keras's name: `kernel`, `bias`, `gamma`, `beta`, `embeddings`, `moving_mean`, `moving_variance`, …
    pub fn name(&self) -> &'static str {
        if let Some(name) = self.own_name {
            return name;
        }
        match self.role {
            Role::ConvolutionKernel | Role::DepthwiseKernel | Role::DenseKernel => "kernel",
            Role::Bias => "bias",
            Role::Gamma => "gamma",
            Role::Beta => "beta",
            Role::Embedding => "embeddings",
            Role::MovingMean => "moving_mean",
            Role::MovingVariance => "moving_variance",
            Role::Mean => "mean",
            Role::Variance => "variance",
            Role::Count => "count",
        }
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether an optimiser may change the parameter. Running statistics are updated by the forward pass instead.
    pub fn trainable(&self) -> bool {
        matches!(
            self.role,
            Role::ConvolutionKernel
                | Role::DepthwiseKernel
                | Role::DenseKernel
                | Role::Bias
                | Role::Gamma
                | Role::Beta
                | Role::Embedding
        )
    }
}

/// Identifies a parameter of a graph by the position of its layer and its place in the layer's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParameterId {
    /// Position of the layer in [`Graph::nodes`](crate::Graph::nodes).
    pub layer: u32,
    /// Place in [`Node::parameters`](crate::Node::parameters).
    pub place: u32,
}

impl ParameterId {
    /// The parameter at `place` of the layer at `layer`.
    ///
    /// # Panics
    /// If a number does not fit into 32 bits, which would be far more layers than [`limits`](crate::limits) allow.
    pub fn new(layer: usize, place: usize) -> Self {
        let narrow = |number: usize| u32::try_from(number).expect("a graph has far fewer layers and parameters");
        Self { layer: narrow(layer), place: narrow(place) }
    }

    /// Position of the layer, as an index.
    pub fn layer(self) -> usize {
        self.layer as usize
    }

    /// Place in the layer's list, as an index.
    pub fn place(self) -> usize {
        self.place as usize
    }
}

impl From<(usize, usize)> for ParameterId {
    /// Converts a pair of layer and place.
    fn from((layer, place): (usize, usize)) -> Self {
        Self::new(layer, place)
    }
}
