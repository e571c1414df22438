use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{FreezePlan, Graph, Split};

/// The weights of the two costs of a cut: bytes that are kept per image, and work that is repeated in each epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CutOptions {
    /// Bytes per kept value: 4 for `f32`, 2 for half precision.
    pub bytes_per_value: usize,
    /// Number of repeated multiply-adds per epoch that cost as much as one kept byte. With 0 the cut repeats no work.
    pub multiply_adds_per_byte: f64,
}

impl Default for CutOptions {
    /// The default is `f32` and 32 multiply-adds per byte. A CPU core computes about 32 thousand million multiply-adds per second,
    /// and reads about a thousand million bytes per second from a memory-mapped file. If there are so many images that their features
    /// fill the memory, a byte costs more.
    fn default() -> Self {
        Self { bytes_per_value: size_of::<f32>(), multiply_adds_per_byte: 32.0 }
    }
}

/// A chosen [`Split`], and the figures that justify it.
///
/// [`Split::new`] cuts as late as possible, often in the middle of a block, where the tensors are widest. The frozen layers just
/// before that place may go to the tail instead, where they run again in each epoch, in inference mode. Of all cuts, this one
/// minimises the cost per image:
///
/// `bytes of the boundary * multiply_adds_per_byte + multiply-adds of the frozen layers in the tail`
///
/// Of several cuts with equal cost it is the latest. The choice is exact for every graph, branches included, because it is a
/// minimum cut of a flow network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Prefix and tail.
    pub split: Split,
    /// Frozen layers that the tail computes again in each epoch, in order.
    pub recomputed: Vec<usize>,
    /// Multiply-adds of [`Cut::recomputed`] per image.
    pub multiply_adds: u64,
    /// Bytes of the boundary per image.
    pub bytes: u64,
    /// Bytes of the boundary per image at the latest possible cut.
    pub latest_bytes: u64,
    /// Name of the first layer of the tail, if there is a tail.
    pub before: Option<String>,
}

impl Cut {
    /// Chooses where to cut `graph` under `plan`.
    pub fn new(graph: &Graph, plan: &FreezePlan, options: CutOptions) -> Self {
        let latest = Split::new(graph, plan);
        let bytes = |split: &Split| split.boundary_values(graph).saturating_mul(options.bytes_per_value) as u64;
        let latest_bytes = bytes(&latest);
        let split = if latest.tail.is_empty() { latest.clone() } else { cheapest(graph, &latest, options) };
        let recomputed: Vec<usize> = latest.prefix.iter().copied().filter(|at| split.tail.contains(at)).collect();
        Self {
            multiply_adds: recomputed.iter().map(|&at| graph.nodes()[at].multiply_adds()).fold(0, u64::saturating_add),
            recomputed,
            bytes: bytes(&split),
            latest_bytes,
            before: split.tail.first().map(|&at| graph.nodes()[at].name().to_owned()),
            split,
        }
    }
}

impl Split {
    /// Splits `graph` where kept bytes and repeated work cost least together; [`Cut`] states the objective.
    pub fn planned(graph: &Graph, plan: &FreezePlan, options: CutOptions) -> Self {
        Cut::new(graph, plan, options).split
    }
}

/// The cheapest prefix within the latest one.
///
/// A prefix contains the inputs of each of its layers. In the flow network, the prefix is the set of layers on the source's side of
/// the cut. A layer outside the prefix costs its multiply-adds, because it runs in every epoch (edge from the source to the layer).
/// A layer inside it that is read from outside costs its output bytes, because they are kept (edge from the layer to its gate; the
/// gate is inside only if all readers are).
fn cheapest(graph: &Graph, latest: &Split, options: CutOptions) -> Split {
    let n = graph.len();
    let (source, sink, gate) = (2 * n, 2 * n + 1, |layer: usize| n + layer);
    let mut flow = Flow::new(2 * n + 2);
    let mut frozen = vec![false; n];
    latest.prefix.iter().for_each(|&layer| frozen[layer] = true);
    for (layer, node) in graph.nodes().iter().enumerate() {
        for &input in node.inputs.iter().filter(|&&input| frozen[input]) {
            if frozen[layer] {
                flow.edge(layer, input, ENDLESS);
                flow.edge(gate(input), layer, ENDLESS);
            } else {
                flow.edge(gate(input), sink, ENDLESS);
            }
        }
        if frozen[layer] {
            let bytes = node.shape.count() as f64 * options.bytes_per_value as f64;
            // The input is given, not computed, so it always belongs to the prefix.
            let work = if layer == 0 { ENDLESS } else { u128::from(node.multiply_adds()) * SCALE };
            flow.edge(source, layer, work);
            flow.edge(layer, gate(layer), (bytes * options.multiply_adds_per_byte.max(0.0) * SCALE as f64) as u128);
        }
    }
    let in_tail = flow.reaching(source, sink);
    Split::along(graph, (0..n).map(|layer| !frozen[layer] || in_tail[layer]).collect())
}

/// More than any sum of costs, which are at most 2^40 values of some bytes per layer.
const ENDLESS: u128 = 1 << 120;

/// Costs are integers. One multiply-add costs this number, so that fractional weights are not rounded away.
const SCALE: u128 = 1 << 10;

/// A network of edges with capacities. An edge and its reverse are neighbours in the list.
struct Flow {
    to: Vec<usize>,
    capacity: Vec<u128>,
    out: Vec<Vec<usize>>,
}

impl Flow {
    fn new(nodes: usize) -> Self {
        Self { to: Vec::new(), capacity: Vec::new(), out: vec![Vec::new(); nodes] }
    }

    fn edge(&mut self, from: usize, to: usize, capacity: u128) {
        for (from, to, capacity) in [(from, to, capacity.min(ENDLESS)), (to, from, 0)] {
            self.out[from].push(self.to.len());
            self.to.push(to);
            self.capacity.push(capacity);
        }
    }

    /// Computes a maximum flow from `source` to `sink` along shortest paths (Edmonds and Karp). Returns for each node whether the sink
    /// can still be reached from it; these nodes are the smallest sink side of a minimum cut.
    fn reaching(mut self, source: usize, sink: usize) -> Vec<bool> {
        loop {
            let mut by: Vec<Option<usize>> = vec![None; self.out.len()];
            let mut queue = VecDeque::from([source]);
            while let Some(node) = queue.pop_front() {
                if node == sink {
                    break;
                }
                for &edge in &self.out[node] {
                    let next = self.to[edge];
                    if self.capacity[edge] > 0 && by[next].is_none() && next != source {
                        by[next] = Some(edge);
                        queue.push_back(next);
                    }
                }
            }
            let mut path = Vec::new();
            let mut node = sink;
            while let Some(edge) = by[node] {
                path.push(edge);
                node = self.to[edge ^ 1];
            }
            let Some(least) = path.iter().map(|&edge| self.capacity[edge]).min() else { break };
            for edge in path {
                self.capacity[edge] -= least;
                self.capacity[edge ^ 1] += least;
            }
        }
        let mut reaching = vec![false; self.out.len()];
        reaching[sink] = true;
        let mut stack = vec![sink];
        while let Some(node) = stack.pop() {
            for &edge in &self.out[node] {
                let before = self.to[edge];
                if self.capacity[edge ^ 1] > 0 && !reaching[before] {
                    reaching[before] = true;
                    stack.push(before);
                }
            }
        }
        reaching
    }
}
