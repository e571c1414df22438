use std::collections::HashMap;

use injerto_files::nearest;
use serde::{Deserialize, Serialize};

use crate::infer::infer;
use crate::{GraphError, Operator, Parameter, ParameterId, Shape, limits, work};

/// A layer as a description writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Name, which is unique in the graph.
    pub name: String,
    /// The operation of the layer.
    #[serde(flatten)]
    pub operator: Operator,
    /// Names of the layers whose outputs this layer takes, in order.
    #[serde(default)]
    pub inputs: Vec<String>,
}

/// A graph as a description writes it, not yet checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphSpec {
    /// Name of the network.
    pub name: String,
    /// Layers, each of which comes after its inputs.
    pub layers: Vec<Layer>,
}

/// A checked layer, whose inputs, shape and parameters are known.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The layer as the description writes it.
    pub layer: Layer,
    /// Positions of its inputs, each of which is smaller than its own position.
    pub inputs: Vec<usize>,
    /// Shape of its output for one sample, channels last.
    pub shape: Shape,
    /// Its parameters in Keras's order.
    pub parameters: Vec<Parameter>,
    multiply_adds: u64,
    working_values: usize,
}

impl Node {
    /// The layer's name.
    pub fn name(&self) -> &str {
        &self.layer.name
    }

    /// The operation of the layer.
    pub fn operator(&self) -> &Operator {
        &self.layer.operator
    }

    /// Number of values in its parameters.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(Parameter::count).sum()
    }

    /// Multiply-adds of a forward pass per sample: those of the kernel or of the window, or one for each value that an element-wise
    /// layer reads. A layer that only moves values has none.
    pub fn multiply_adds(&self) -> u64 {
        self.multiply_adds
    }

    /// Number of values per sample that the operator may need beside its inputs and its output: the zeros around an input whose windows
    /// are padded, and the scores of an attention.
    pub fn working_values(&self) -> usize {
        self.working_values
    }

    /// Number of values that an optimiser may change.
    pub fn trainable_count(&self) -> usize {
        self.parameters.iter().filter(|p| p.trainable()).map(Parameter::count).sum()
    }
}

/// A consistent network: it has one input (the first layer) and one output (the last layer), and every layer is used.
///
/// Only [`Graph::new`] makes a graph (deserialisation calls it), so its shapes need no further check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "GraphSpec", into = "GraphSpec")]
pub struct Graph {
    name: String,
    nodes: Vec<Node>,
}

impl Graph {
    /// Checks a description and infers shapes and parameters.
    ///
    /// # Errors
    /// The first inconsistency, with the layer's name and position.
    pub fn new(spec: GraphSpec) -> Result<Self, GraphError> {
        let GraphSpec { name, layers } = spec;
        limits::check_name(&name).map_err(|reason| GraphError::GraphName { reason })?;
        if layers.is_empty() {
            return Err(GraphError::Empty { graph: name });
        }
        if layers.len() > limits::MOST_LAYERS {
            return Err(GraphError::Layers { graph: name, found: layers.len() });
        }
        let mut size = Size::default();
        let mut position: HashMap<String, usize> = HashMap::with_capacity(layers.len());
        let mut nodes: Vec<Node> = Vec::with_capacity(layers.len());
        let mut used = vec![false; layers.len()];
        for (index, layer) in layers.into_iter().enumerate() {
            limits::check_name(&layer.name).map_err(|reason| GraphError::Name { index, reason })?;
            if matches!(layer.operator, Operator::InputLayer { .. }) != (index == 0) {
                return Err(GraphError::Input { index, layer: layer.name });
            }
            let mut inputs = Vec::with_capacity(layer.inputs.len());
            for input in &layer.inputs {
                let Some(&at) = position.get(input) else {
                    return Err(GraphError::UnknownInput { index, layer: layer.name, input: input.clone() });
                };
                used[at] = true;
                inputs.push(at);
            }
            if let Some(&first) = position.get(&layer.name) {
                return Err(GraphError::DuplicateName { index, layer: layer.name, first });
            }
            position.insert(layer.name.clone(), index);
            let input_shapes: Vec<&Shape> = inputs.iter().map(|&at| &nodes[at].shape).collect();
            let (shape, parameters) = infer(index, (&layer.name, &layer.operator), &input_shapes)?;
            let too_large = |reason: String| {
                let class = layer.operator.class();
                GraphError::TooLarge { index, layer: layer.name.clone(), class, reason }
            };
            let beside = work::working_values(&layer.operator, &input_shapes);
            size.add_memory(beside, &shape, &parameters).map_err(too_large)?;
            let multiply_adds = work::multiply_adds(&layer.operator, &input_shapes, &shape, &parameters);
            size.add_work(multiply_adds, inputs.len()).map_err(too_large)?;
            let working_values = beside.unwrap_or(0);
            nodes.push(Node { layer, inputs, shape, parameters, multiply_adds, working_values });
        }
        let last = nodes.len() - 1;
        if let Some(index) = used[..last].iter().position(|used| !used) {
            return Err(GraphError::Unused { index, layer: nodes[index].name().to_owned() });
        }
        Ok(Self { name, nodes })
    }

    /// Name of the network.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All layers in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Number of layers.
    #[expect(clippy::len_without_is_empty, reason = "a graph has at least its input")]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Shape of one input sample, `[height, width, channels]`.
    pub fn input_shape(&self) -> &Shape {
        &self.nodes[0].shape
    }

    /// Height and width of the images that the network takes.
    ///
    /// # Errors
    /// [`GraphError::NotImages`] if the input is not `[height, width, 3]`, or has more pixels than [`limits::MOST_PIXELS`].
    pub fn image_size(&self) -> Result<[usize; 2], GraphError> {
        match self.input_shape().0[..] {
            [height, width, 3] if height * width <= limits::MOST_PIXELS => Ok([height, width]),
            _ => Err(GraphError::NotImages { graph: self.name.clone(), shape: self.input_shape().clone() }),
        }
    }

    /// Shape of one output sample.
    pub fn output_shape(&self) -> &Shape {
        &self.nodes[self.nodes.len() - 1].shape
    }

    /// Position of the layer with this name.
    ///
    /// # Errors
    /// [`GraphError::NoSuchLayer`], with the nearest name.
    pub fn position(&self, name: &str) -> Result<usize, GraphError> {
        self.nodes.iter().position(|node| node.name() == name).ok_or_else(|| GraphError::NoSuchLayer {
            name: name.to_owned(),
            graph: self.name.clone(),
            // A block, such as `blocks.10`, begins with its first layer.
            nearest: (self.nodes.iter().map(Node::name))
                .find(|known| known.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '/', '_'])))
                .or_else(|| nearest(name, self.nodes.iter().map(Node::name)))
                .map(str::to_owned),
        })
    }

    /// Multiply-adds of a forward pass of the whole network for one sample.
    pub fn multiply_adds(&self) -> u64 {
        self.nodes.iter().map(Node::multiply_adds).fold(0, u64::saturating_add)
    }

    /// Number of values in all parameters.
    pub fn parameter_count(&self) -> usize {
        self.nodes.iter().map(Node::parameter_count).sum()
    }

    /// One parameter.
    ///
    /// # Panics
    /// If the graph has no such parameter.
    pub fn parameter(&self, id: ParameterId) -> &Parameter {
        &self.nodes[id.layer()].parameters[id.place()]
    }

    /// `LAYER/PARAMETER`, the name of a parameter in files.
    ///
    /// # Panics
    /// If the graph has no such parameter.
    pub fn parameter_name(&self, id: ParameterId) -> String {
        format!("{}/{}", self.nodes[id.layer()].name(), self.parameter(id).name())
    }

    /// All parameters of these layers, in order.
    ///
    /// # Panics
    /// If the graph has no such layer.
    pub fn parameters_of<'a>(&'a self, layers: &'a [usize]) -> impl Iterator<Item = ParameterId> + 'a {
        let of_layer = |&layer: &usize| {
            let places = 0..self.nodes[layer].parameters.len();
            places.map(move |place| ParameterId::new(layer, place))
        };
        layers.iter().flat_map(of_layer)
    }

    /// The network whose last layer is the one at `last`: all layers that it needs, in the same order.
    ///
    /// # Errors
    /// [`GraphError::IndexOutOfRange`].
    pub fn truncate(&self, last: usize) -> Result<Self, GraphError> {
        if last >= self.len() {
            return Err(GraphError::IndexOutOfRange { at: last, graph: self.name.clone(), layers: self.len() });
        }
        let mut needed = vec![false; last + 1];
        needed[last] = true;
        for index in (0..=last).rev() {
            if needed[index] {
                self.nodes[index].inputs.iter().for_each(|&input| needed[input] = true);
            }
        }
        let layers = (0..=last).filter(|&i| needed[i]).map(|i| self.nodes[i].layer.clone()).collect();
        Self::new(GraphSpec { name: self.name.clone(), layers })
    }

    /// This network with further layers at the end. If the first of them names no input, it takes the output of this network.
    ///
    /// # Errors
    /// Those of [`Graph::new`], such as a name that is already taken, or shapes that do not fit.
    pub fn graft(&self, name: &str, mut layers: Vec<Layer>) -> Result<Self, GraphError> {
        if let Some(first) = layers.first_mut().filter(|layer| layer.inputs.is_empty()) {
            first.inputs.push(self.nodes[self.len() - 1].name().to_owned());
        }
        let mut all: Vec<Layer> = self.nodes.iter().map(|node| node.layer.clone()).collect();
        all.append(&mut layers);
        Self::new(GraphSpec { name: name.to_owned(), layers: all })
    }
}

/// Size of all layers of a network so far.
#[derive(Default)]
struct Size {
    values: usize,
    parameters: usize,
    multiply_adds: u64,
    connections: usize,
}

impl Size {
    /// Adds a layer's memory: what it needs beside its input, its output and its parameters. The error names the limit that is exceeded.
    fn add_memory(&mut self, beside: Option<usize>, shape: &Shape, parameters: &[Parameter]) -> Result<(), String> {
        self.values = beside
            .and_then(|beside| self.values.checked_add(beside)?.checked_add(limits::values(&shape.0)?))
            .filter(|&values| values <= limits::MOST_VALUES)
            .ok_or_else(|| format!("the limit is {} values per image, padding included", limits::MOST_VALUES))?;
        let own = parameters.iter().try_fold(0_usize, |all, one| all.checked_add(limits::product(&one.shape)?));
        self.parameters = own
            .and_then(|own| self.parameters.checked_add(own))
            .filter(|&parameters| parameters <= limits::MOST_PARAMETERS)
            .ok_or_else(|| format!("the limit is {} values of all parameters", limits::MOST_PARAMETERS))?;
        Ok(())
    }

    /// Adds a layer's work and its number of inputs. The error names the limit that is exceeded.
    fn add_work(&mut self, multiply_adds: u64, inputs: usize) -> Result<(), String> {
        self.multiply_adds = self.multiply_adds.saturating_add(multiply_adds);
        if self.multiply_adds > limits::MOST_MULTIPLY_ADDS {
            return Err(format!("the limit is {} multiply-adds per image", limits::MOST_MULTIPLY_ADDS));
        }
        self.connections = self.connections.saturating_add(inputs);
        if self.connections > limits::MOST_CONNECTIONS {
            return Err(format!("the limit is {} inputs of all layers", limits::MOST_CONNECTIONS));
        }
        Ok(())
    }
}

impl TryFrom<GraphSpec> for Graph {
    type Error = GraphError;
    fn try_from(spec: GraphSpec) -> Result<Self, GraphError> {
        Self::new(spec)
    }
}

impl From<Graph> for GraphSpec {
    fn from(graph: Graph) -> Self {
        Self { name: graph.name, layers: graph.nodes.into_iter().map(|node| node.layer).collect() }
    }
}
