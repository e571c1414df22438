use std::sync::{Arc, Mutex, PoisonError};

use injerto_backbones::network::Network;
use injerto_graph::{Activation, Graph, GraphError, GraphSpec, Operator, Preprocessing, Split};
use injerto_kernels::inference::Arithmetic;
use injerto_kernels::training::Program;

use crate::{Model, Runner, TrainError};

/// Gradients of a trained network's logits with respect to the output of one of its layers.
///
/// Nothing trains: the network is that of inference. A runner computes the values that enter the layers that depend on the layer, and a
/// program of these layers, which is compiled for the CPU whatever device the model is on, runs forward and backward.
#[derive(Debug)]
pub struct Slopes {
    runner: Runner,
    /// The layers whose outputs the program takes.
    boundary: Vec<usize>,
    layer: usize,
    /// The program, which holds the values of a pass.
    program: Mutex<Program>,
}

/// What a network puts out for some images.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Number of images.
    pub images: usize,
    /// Outputs of the last layer, `[images, units]`.
    pub outputs: Vec<f32>,
    /// Outputs of the boundary.
    boundary: Vec<Vec<f32>>,
    /// Place of the layer among them.
    place: usize,
}

impl Seen {
    /// What the layer puts out, `[images, …]`, channels last.
    pub fn values(&self) -> &[f32] {
        &self.boundary[self.place]
    }
}

impl Slopes {
    /// Compiles the layers that depend on `layer` (a position in the graph). With `kernels`, the rest of the network is compiled too.
    ///
    /// # Errors
    /// The kernels cannot compile the network, or no layer with a slope comes after `layer`.
    pub fn new(
        network: Network,
        preprocessing: Preprocessing,
        layer: usize,
        kernels: bool,
    ) -> Result<Self, TrainError> {
        let graph = logits(network.graph())?;
        if layer + 1 >= graph.len() {
            let (at, layers) = (layer, graph.len().saturating_sub(1));
            return Err(GraphError::IndexOutOfRange { at, graph: graph.name().to_owned(), layers }.into());
        }
        let Split { tail, boundary, .. } = Split::after(&graph, layer);
        let mut program = Program::compile_towards(Arithmetic::f32(), &graph, &tail, &boundary, &[layer])?;
        for (id, values) in network.parameters_of(&tail) {
            program.set(id, &values)?;
        }
        let wanted = boundary.iter().copied().chain([network.graph().len() - 1]).collect();
        let runner = Runner::at(network, preprocessing, wanted, kernels)?;
        Ok(Self { runner, boundary, layer, program: Mutex::new(program) })
    }

    /// The slopes of a model, as [`Slopes::new`] gives them.
    ///
    /// # Errors
    /// Those of [`Slopes::new`].
    pub fn of(model: &Model, layer: usize, kernels: bool) -> Result<Self, TrainError> {
        Self::new(model.network.clone(), model.card.preprocessing.clone(), layer, kernels)
    }

    /// Position of the layer.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// What the network puts out for RGB pixels `[images, height, width, 3]`, 0 to 255.
    ///
    /// # Errors
    /// There is not enough memory.
    ///
    /// # Panics
    /// In the cases of [`Runner::values`].
    pub fn look(&self, pixels: &[f32], images: usize) -> Result<Seen, TrainError> {
        let mut boundary = self.runner.values(pixels, images)?;
        let outputs = boundary.pop().expect("the last layer is always wanted");
        let place = self.boundary.iter().position(|at| *at == self.layer).expect("the layer is in its boundary");
        Ok(Seen { images, outputs, boundary, place })
    }

    /// The gradient of `sum(logits * direction)` with respect to what the layer puts out, as long as [`Seen::values`]. `direction` is
    /// `[images, units]`, like the outputs.
    ///
    /// # Errors
    /// There is not enough memory.
    ///
    /// # Panics
    /// If `direction` is not as long as the outputs.
    pub fn gradient(&self, seen: &Seen, direction: &[f32]) -> Result<Vec<f32>, TrainError> {
        assert_eq!(direction.len(), seen.outputs.len(), "the direction is not as long as the outputs");
        let inputs: Vec<&[f32]> = seen.boundary.iter().map(Vec::as_slice).collect();
        // A pass that failed has left nothing that the next one reads.
        let mut program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        program.forward_train(&inputs, seen.images, &mut || 0)?;
        program.backward(direction);
        Ok(program.input_gradient(self.layer).expect("the program is compiled towards this layer").to_vec())
    }
}

/// The network up to its logits: without the activation of its output, and with the same layers in the same places.
pub(crate) fn logits(graph: &Arc<Graph>) -> Result<Graph, GraphError> {
    let last = graph.len() - 1;
    let node = &graph.nodes()[last];
    match node.operator() {
        Operator::Activation { .. } | Operator::Softmax {} => graph.truncate(node.inputs[0]),
        Operator::Dense { activation, .. } if *activation != Activation::Linear => {
            let GraphSpec { name, mut layers } = GraphSpec::from(Graph::clone(graph));
            if let Operator::Dense { activation, .. } = &mut layers[last].operator {
                *activation = Activation::Linear;
            }
            Graph::new(GraphSpec { name, layers })
        }
        _ => Ok(Graph::clone(graph)),
    }
}
