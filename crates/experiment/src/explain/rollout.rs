use injerto_backbones::network::Network;
use injerto_graph::{Attention, Graph, Operator, Preprocessing, Shape};
use injerto_insight::attention::Heads;
use injerto_trainer::Runner;

use super::{Batch, Map, Maps, is_map, largest};
use crate::ExperimentError;

/// The way of attention through a transformer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flow {
    /// The attentions, in order.
    attentions: Vec<Layer>,
    /// Number of tokens.
    tokens: usize,
    /// Rows and columns of the patches, which are the last tokens.
    grid: [usize; 2],
    /// Whether the first token is one that gathers what the network knows of the image; otherwise all patches do.
    gathers: bool,
}

/// One attention.
#[derive(Debug, Clone, PartialEq)]
struct Layer {
    /// The layers that put out queries and keys; the same if they are side by side.
    inputs: [usize; 2],
    sizes: Attention,
}

impl Flow {
    /// The flow of a network in which all attentions are between the same tokens, or why there is none.
    pub fn of(graph: &Graph) -> Result<Self, String> {
        let nodes = graph.nodes();
        let mut attentions = Vec::new();
        for node in nodes {
            let Operator::DotProductAttention { num_heads } = node.operator() else { continue };
            let shapes: Vec<&Shape> = node.inputs.iter().map(|&input| &nodes[input].shape).collect();
            let sizes = Attention::new(*num_heads, &shapes).expect("shape inference has seen these inputs");
            let inputs = [node.inputs[0], *node.inputs.get(1).unwrap_or(&node.inputs[0])];
            attentions.push((node, Layer { inputs, sizes }));
        }
        let Some((first, Layer { sizes, inputs })) = attentions.first() else {
            return Err("the network has no attention".to_owned());
        };
        let (tokens, entry) = (sizes.tokens, inputs[0]);
        let other = attentions.iter().find(|(_, it)| [it.sizes.tokens, it.sizes.others] != [tokens; 2]);
        if let Some((node, _)) = other {
            let name = injerto_files::printable(node.name());
            return Err(format!("the attention '{name}' is not between all tokens of the image"));
        }
        let patches = (1..entry).rev().find(|&at| is_map(&nodes[at].shape));
        let grid = patches.and_then(|at| nodes[at].shape.image()).map(|[rows, columns, _]| [rows, columns]);
        let Some(grid) = grid.filter(|[rows, columns]| rows * columns <= tokens) else {
            let name = injerto_files::printable(first.name());
            return Err(format!("the tokens of the attention '{name}' are not the places of a map"));
        };
        let gathers = nodes[..entry].iter().any(|node| matches!(node.operator(), Operator::PrependTokens { .. }));
        let attentions = attentions.into_iter().map(|(_, layer)| layer).collect();
        Ok(Self { attentions, tokens, grid, gathers })
    }

    /// How much each patch contributes to what the network knows at its end. `outputs` has queries and keys of each attention for one
    /// image.
    fn follow(&self, outputs: &[[&[f32]; 2]]) -> Vec<f32> {
        let tokens = self.tokens;
        // A row: how much each token contributes to what is followed. It is carried from the last attention back to the first.
        let mut share = vec![0.0_f64; tokens];
        match self.gathers {
            true => share[0] = 1.0,
            false => share.fill(1.0 / tokens as f64),
        }
        for (layer, [queries, keys]) in self.attentions.iter().zip(outputs).rev() {
            share = layer.heads(queries, keys).carried_back(&share);
        }
        let [rows, columns] = self.grid;
        share[tokens - rows * columns..].iter().map(|share| *share as f32).collect()
    }
}

impl Layer {
    /// Whether one layer puts out queries, keys and values side by side.
    fn is_joint(&self) -> bool {
        self.inputs[0] == self.inputs[1]
    }

    /// The layers that put out queries and keys.
    fn read(&self) -> impl Iterator<Item = usize> {
        self.inputs.into_iter().take(if self.is_joint() { 1 } else { 2 })
    }

    /// Queries and keys of one image, as the layers put them out.
    fn heads<'a>(&self, queries: &'a [f32], keys: &'a [f32]) -> Heads<'a> {
        let Attention { heads, channels, .. } = self.sizes;
        // Side by side, keys come after the queries of the same token.
        let (step, keys) = if self.is_joint() { (3 * channels, &keys[channels..]) } else { (channels, keys) };
        Heads { queries, keys, step, heads, width: channels / heads }
    }
}

/// Attention rollout, from the queries and keys that a runner reads.
#[derive(Debug)]
pub(super) struct Rollout {
    runner: Runner,
    flow: Flow,
}

impl Rollout {
    /// The rollout of a network, or why there is none.
    pub fn new(
        network: Network,
        preprocessing: Preprocessing,
        kernels: bool,
    ) -> Result<Result<Self, String>, ExperimentError> {
        let flow = match Flow::of(network.graph()) {
            Ok(flow) => flow,
            Err(reason) => return Ok(Err(reason)),
        };
        let last = network.graph().len() - 1;
        let wanted = flow.attentions.iter().flat_map(Layer::read).chain([last]).collect();
        Ok(Ok(Self { runner: Runner::at(network, preprocessing, wanted, kernels)?, flow }))
    }

    pub fn maps(&self, batch: &Batch<'_>, of: Option<usize>) -> Result<Maps, ExperimentError> {
        let mut values = self.runner.values(batch.pixels, batch.images)?;
        let outputs = values.pop().expect("the last layer is always wanted");
        let probabilities = batch.probabilities(&outputs, batch.images);
        let width = probabilities.len() / batch.images;
        let classes = probabilities.chunks_exact(width).map(|row| of.unwrap_or_else(|| largest(row))).collect();
        let [rows, columns] = self.flow.grid;
        let map = |image: usize| {
            let mut own = values.iter().map(|values| {
                let size = values.len() / batch.images;
                &values[image * size..][..size]
            });
            let mut next = || own.next().expect("there are outputs of each layer that is read");
            let pair = |layer: &Layer| {
                let queries = next();
                [queries, if layer.is_joint() { queries } else { next() }]
            };
            let pairs: Vec<[&[f32]; 2]> = self.flow.attentions.iter().map(pair).collect();
            let shares = self.flow.follow(&pairs);
            // What every patch has tells no place from another.
            let least = shares.iter().copied().fold(f32::INFINITY, f32::min);
            Map::new(rows, columns, shares.into_iter().map(|share| share - least).collect())
        };
        let maps = (0..batch.images).map(map).collect();
        Ok(Maps { probabilities, classes, maps })
    }
}
