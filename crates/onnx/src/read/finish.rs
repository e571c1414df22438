//! Makes a network of the recognised layers.

use std::collections::BTreeMap;

use injerto_files::printable;
use injerto_graph::{Activation, Layer, Operator, PerChannel};

use super::reader::{Draft, Reader, Weight};
use super::{Ask, Folded, Network, Tensor, graph, producer};
use crate::OnnxError;

/// From this number of convolutions on, a network without any normalisation is unusual.
const MANY_CONVOLUTIONS: usize = 16;

impl Reader<'_> {
    /// The network, whose last layer is the output of the model or the layer that was asked for.
    pub(super) fn network(mut self, name: &str, ask: &Ask) -> Result<Network, OnnxError> {
        let asked = ask.last_layer.as_ref().and_then(|last| self.drafts.iter().position(|draft| draft.name == *last));
        let output = self.model.graph.outputs.first().map(|output| output.name.as_str()).unwrap_or_default();
        let output = match (asked, self.seen(output).cloned()) {
            (Some(layer), _) => layer,
            (None, Some(view)) => {
                // The output of a classifier is a row of numbers; any other output is left in the order of its layer.
                let unordered = |reason: String| OnnxError::Unsuited { reason: format!("its output: {reason}") };
                let view = self.whole(&view).map_err(unordered)?;
                match view.axes.len() {
                    2 => self.materialise(&view, &[1]).map_err(unordered)?,
                    _ => view.layer,
                }
            }
            (None, None) if let Some(last) = ask.last_layer.as_ref().filter(|last| !self.is_node(last)) => {
                let reason = format!("it has no node '{}' to be its last layer", printable(last));
                return Err(OnnxError::Unsuited { reason });
            }
            (None, None) if !self.refused.is_empty() => {
                let nodes = self.refused.into_iter().map(|(_, node)| node).collect();
                return Err(OnnxError::Nodes { nodes });
            }
            (None, None) => {
                let reason = "its first output does not depend on its image".to_owned();
                return Err(OnnxError::Unsuited { reason });
            }
        };
        let layers = Layers { drafts: std::mem::take(&mut self.drafts), output };
        let mut layers = layers.joined();
        // Joined layers have the name of the first one, but the user may have given the name of the last one.
        if let Some(last) = ask.last_layer.as_ref().filter(|_| asked.is_some()) {
            layers.drafts[layers.output].name.clone_from(last);
        }
        let (features, classes) = layers.features();
        let folded = self.folded(&layers.drafts);
        let features = layers.drafts[features].name.clone();
        let (graph, weights) = layers.finish(name)?;
        let producer = producer(self.model);
        let (is_resizable, channel_order) = (self.is_resizable, self.channel_order);
        let metadata = self.model.metadata.clone();
        Ok(Network { graph, weights, features, classes, is_resizable, channel_order, folded, producer, metadata })
    }

    /// Whether the model has a node of this name. Layers have the names of nodes.
    fn is_node(&self, name: &str) -> bool {
        self.model.graph.nodes.iter().any(|node| node.name == name)
    }

    /// Whether the file shows that batch normalisations were folded into convolutions.
    fn folded(&self, drafts: &[Draft]) -> Folded {
        // PyTorch gives folded kernels numbers instead of names, and tf2onnx says so.
        let is_folded =
            |name: &str| name.starts_with("onnx::Conv_") || name.contains("_fused_bn") || name.ends_with("_bn_folded");
        if self.model.graph.initialisers.iter().any(|tensor| is_folded(&tensor.name)) {
            return Folded::Surely;
        }
        let normalises = |draft: &Draft| {
            use Operator::{BatchNormalization, GroupNormalization, LayerNormalization};
            matches!(draft.operator, BatchNormalization { .. } | GroupNormalization { .. } | LayerNormalization { .. })
        };
        if drafts.iter().any(normalises) {
            return Folded::No;
        }
        let of_image =
            |draft: &&Draft| matches!(draft.operator, Operator::Conv2D { .. } | Operator::DepthwiseConv2D { .. });
        let has_bias = |draft: &Draft| draft.weights.len() == 2;
        let convolutions: Vec<&Draft> = drafts.iter().filter(of_image).collect();
        match convolutions.len() >= MANY_CONVOLUTIONS && convolutions.iter().all(|draft| has_bias(draft)) {
            true => Folded::Perhaps,
            false => Folded::No,
        }
    }
}

/// Layers in order, of which one is the output.
struct Layers {
    drafts: Vec<Draft>,
    output: usize,
}

impl Layers {
    fn users(&self) -> Vec<usize> {
        let mut users = vec![0; self.drafts.len()];
        self.drafts.iter().flat_map(|draft| &draft.inputs).for_each(|&input| users[input] += 1);
        users[self.output] += 1;
        users
    }

    /// Makes every reader of `from` a reader of `to`.
    fn redirect(&mut self, from: usize, to: usize) {
        for input in self.drafts.iter_mut().flat_map(|draft| &mut draft.inputs) {
            if *input == from {
                *input = to;
            }
        }
        if self.output == from {
            self.output = to;
        }
    }

    /// Joins layers that an exporter has divided: sums with a bias, and products with a sigmoid of the same value.
    fn joined(mut self) -> Self {
        let mut users = self.users();
        for at in 0..self.drafts.len() {
            match (&self.drafts[at].operator, self.drafts[at].inputs.as_slice()) {
                (
                    Operator::Rescaling { scale: PerChannel::Each(scale), offset: PerChannel::Each(offset) },
                    &[input],
                ) if scale.iter().all(|&scale| scale == 1.0) => {
                    let bias = offset.iter().map(|&value| value as f32).collect();
                    let is_nothing = offset.iter().all(|&offset| offset == 0.0);
                    if users[input] == 1 && self.drafts[input].take_bias(bias) || is_nothing {
                        self.redirect(at, input);
                        (users[input], users[at]) = (users[input] + users[at] - 1, 0);
                    }
                }
                (Operator::LayerScale {}, &[input]) if users[input] == 1 => {
                    let values = self.drafts[at].weights[0].values.clone();
                    if self.drafts[input].take_gamma(values) {
                        self.redirect(at, input);
                        (users[input], users[at]) = (users[at], 0);
                    }
                }
                (Operator::Multiply {}, &[a, b]) => {
                    let gated = |x: usize, gate: usize| (users[gate] == 1).then(|| self.gate(x, gate)).flatten();
                    if let Some((x, activation)) = gated(a, b).map(|g| (a, g)).or(gated(b, a).map(|g| (b, g))) {
                        self.drafts[at].operator = Operator::Activation { activation };
                        self.drafts[at].inputs = vec![x];
                        users = self.users();
                    }
                }
                _ => {}
            }
        }
        self
    }

    /// The activation `x * gate(x)`, if `gate` is the gate of one.
    fn gate(&self, x: usize, gate: usize) -> Option<Activation> {
        let draft = &self.drafts[gate];
        let &[input] = draft.inputs.as_slice() else { return None };
        let rescaled = |at: usize| match (&self.drafts[at].operator, self.drafts[at].inputs.as_slice()) {
            (Operator::Rescaling { scale: PerChannel::One(scale), offset: PerChannel::One(offset) }, &[input]) => {
                Some((*scale as f32, *offset as f32, input))
            }
            _ => None,
        };
        let sixth = 1.0_f32 / 6.0;
        match draft.operator {
            Operator::Activation { activation: Activation::Sigmoid } if input == x => Some(Activation::Swish),
            // One form of the gate is min(max(x / 6 + 1 / 2, 0), 1).
            Operator::ReLU { max_value: Some(1.0), negative_slope: 0.0 }
                if rescaled(input) == Some((sixth, 0.5, x)) =>
            {
                Some(Activation::HardSwish)
            }
            _ => match rescaled(gate) {
                // The other form is relu6(x + 3) / 6.
                Some((scale, 0.0, clip)) if scale == sixth => {
                    let clipped = &self.drafts[clip];
                    let is_clip =
                        matches!(clipped.operator, Operator::ReLU { max_value: Some(6.0), negative_slope: 0.0 });
                    let shifted = clipped.inputs.first().and_then(|&input| rescaled(input));
                    (is_clip && shifted == Some((1.0, 3.0, x))).then_some(Activation::HardSwish)
                }
                _ => None,
            },
        }
    }

    /// The layer before the classifier, and the number of classes. The classifier is the dense layer, or the convolution of an image
    /// of one pixel, from which only layers without parameters lead to the output.
    fn features(&self) -> (usize, Option<usize>) {
        let mut at = self.output;
        loop {
            let draft = &self.drafts[at];
            let &[input] = draft.inputs.as_slice() else { return (self.output, None) };
            match &draft.operator {
                Operator::Dense { units, .. } => return (self.before(input), Some(*units)),
                Operator::Conv2D { filters, kernel_size: [1, 1], .. } if draft.shape.0[..2] == [1, 1] => {
                    return (self.before(input), Some(*filters));
                }
                Operator::Softmax {}
                | Operator::Activation { .. }
                | Operator::Rescaling { .. }
                | Operator::Reshape { .. }
                | Operator::Flatten {}
                | Operator::Dropout { .. } => at = input,
                _ => return (self.output, None),
            }
        }
    }

    /// The layer at `at`, or the one before it if it is a dropout, which belongs to the classifier.
    fn before(&self, at: usize) -> usize {
        match (&self.drafts[at].operator, self.drafts[at].inputs.as_slice()) {
            (Operator::Dropout { .. }, &[input]) => self.before(input),
            _ => at,
        }
    }

    /// The graph of all layers that the output needs, and their parameters.
    fn finish(self, name: &str) -> Result<(injerto_graph::Graph, Vec<Tensor>), OnnxError> {
        let mut needed = vec![false; self.drafts.len()];
        needed[self.output] = true;
        for at in (0..self.drafts.len()).rev().filter(|&at| at <= self.output) {
            if needed[at] {
                self.drafts[at].inputs.iter().for_each(|&input| needed[input] = true);
            }
        }
        let names: BTreeMap<usize, String> =
            self.drafts.iter().enumerate().map(|(at, draft)| (at, draft.name.clone())).collect();
        let (mut layers, mut weights) = (Vec::new(), Vec::new());
        for (at, draft) in self.drafts.into_iter().enumerate().filter(|(at, _)| needed[*at]) {
            debug_assert!(at <= self.output);
            let inputs = draft.inputs.iter().map(|input| names[input].clone()).collect();
            weights.extend(draft.weights.into_iter().map(|Weight { parameter, shape, values }| Tensor {
                name: format!("{}/{parameter}", draft.name),
                shape,
                values,
            }));
            layers.push(Layer { name: draft.name, operator: draft.operator, inputs });
        }
        Ok((graph(name, layers)?, weights))
    }
}

impl Draft {
    /// Makes a sum after the layer its bias, if it has none.
    fn take_bias(&mut self, values: Vec<f32>) -> bool {
        if self.shape.channels() == values.len()
            && let Some([_, beta]) = self.own_of_groups()
            && beta.values.iter().all(|&value| value == 0.0)
        {
            beta.values = values;
            return true;
        }
        let (use_bias, parameter) = match &mut self.operator {
            Operator::Conv2D { use_bias, activation: Activation::Linear, .. }
            | Operator::DepthwiseConv2D { use_bias, activation: Activation::Linear, .. }
            | Operator::Dense { use_bias, activation: Activation::Linear, .. } => (use_bias, "bias"),
            Operator::LayerNormalization { center, .. } | Operator::GroupNormalization { center, .. } => {
                (center, "beta")
            }
            _ => return false,
        };
        if *use_bias || self.shape.channels() != values.len() {
            return false;
        }
        *use_bias = true;
        self.weights.push(Weight { parameter, shape: vec![values.len()], values });
        true
    }

    /// Makes a layer scale after a normalisation its gamma, if it has neither gamma nor beta.
    fn take_gamma(&mut self, values: Vec<f32>) -> bool {
        if self.shape.channels() == values.len()
            && let Some([gamma, beta]) = self.own_of_groups()
            && gamma.values.iter().all(|&value| value == 1.0)
            && beta.values.iter().all(|&value| value == 0.0)
        {
            gamma.values = values;
            return true;
        }
        match &mut self.operator {
            Operator::LayerNormalization { center: false, scale, .. }
            | Operator::GroupNormalization { center: false, scale, .. }
                if !*scale && self.shape.channels() == values.len() =>
            {
                *scale = true;
                self.weights.push(Weight { parameter: "gamma", shape: vec![values.len()], values });
                true
            }
            _ => false,
        }
    }

    /// Gamma and beta of a group normalisation that has not been scaled yet. Exporters write a group normalisation with one group per channel as
    /// an instance normalisation with scale 1 and offset 0, followed by a product and a sum; 1 and 0 look like parameters before training.
    fn own_of_groups(&mut self) -> Option<&mut [Weight; 2]> {
        match self.operator {
            Operator::GroupNormalization { center: true, scale: true, .. } => {
                self.weights.as_mut_slice().try_into().ok()
            }
            _ => None,
        }
    }
}
