//! Goes through the nodes of a model: computes constants, changes views, and adds layers.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use injerto_files::printable;
use injerto_graph::{ChannelOrder, Operator, Shape, limits};

use super::known::compute;
use super::shapes::MOST_COMPUTED;
use super::view::{BATCH, Factor, View, stored};
use super::{Ask, USUAL_SIZE};
use crate::proto::{Model, Node, ValueInfo};
use crate::tensor::Constant;
use crate::{OnnxError, RefusedNode};

/// A recognised layer.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) operator: Operator,
    pub(super) inputs: Vec<usize>,
    /// Shape of its output for one sample.
    pub(super) shape: Shape,
    /// Name, shape and values of its parameters.
    pub(super) weights: Vec<Weight>,
}

/// A parameter of a layer in Keras's axes.
#[derive(Debug)]
pub(super) struct Weight {
    pub(super) parameter: &'static str,
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// A value of the model.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A value that does not depend on the image.
    Known(Rc<Constant>),
    /// A value that depends on the image.
    Seen(View),
}

/// Limit for the number of values of all computed constants of a file together: 2^30.
const MOST_TOGETHER: usize = MOST_COMPUTED * 4;

/// The model, and what has been read of it so far.
pub(super) struct Reader<'m> {
    pub(super) model: &'m Model<'m>,
    folder: &'m Path,
    /// Length of the axis of samples.
    pub(super) batch: usize,
    pub(super) is_resizable: bool,
    /// The order of colours that the first layer takes.
    pub(super) channel_order: ChannelOrder,
    values: HashMap<&'m str, Value>,
    pub(super) drafts: Vec<Draft>,
    /// Names of layers, and the number that the next layer of the same name gets.
    names: HashMap<String, usize>,
    reshaped: HashMap<(usize, Vec<usize>), usize>,
    /// The layers that take channels of another one.
    pub(super) taken: HashMap<(usize, Vec<usize>), usize>,
    computed: usize,
    /// Nodes that are no layers, with their positions in the model.
    pub(super) refused: Vec<(usize, RefusedNode)>,
    /// The node that computes each value.
    pub(super) makers: HashMap<&'m str, usize>,
    /// Name of the node that is being read, on which the names of its layers are based.
    here: String,
}

/// Axes of an image `[batch, channels, height, width]` in the order of a layer's output.
pub(super) const IMAGE: [usize; 3] = [2, 3, 1];

impl<'m> Reader<'m> {
    /// Reads all nodes.
    pub(super) fn new(model: &'m Model<'m>, folder: &'m Path, ask: &Ask) -> Result<Self, OnnxError> {
        let mut reader = Self {
            model,
            folder,
            batch: BATCH,
            is_resizable: false,
            channel_order: ChannelOrder::Rgb,
            values: HashMap::new(),
            drafts: Vec::new(),
            names: HashMap::new(),
            reshaped: HashMap::new(),
            taken: HashMap::new(),
            computed: 0,
            refused: Vec::new(),
            makers: HashMap::new(),
            here: String::new(),
        };
        let unsuited = |reason: String| OnnxError::Unsuited { reason };
        if model.graph.has_sparse {
            return Err(unsuited("it has sparse tensors; export it with dense ones".to_owned()));
        }
        for tensor in &model.graph.initialisers {
            let constant = tensor.read(folder).map_err(|reason| OnnxError::Damaged { reason })?;
            reader.values.insert(&tensor.name, Value::Known(Rc::new(constant)));
        }
        reader.input(ask).map_err(unsuited)?;
        for (at, node) in model.graph.nodes.iter().enumerate() {
            if reader.is_enough(ask) {
                break;
            }
            reader.makers.extend(node.outputs.iter().map(|output| (output.as_str(), at)));
            reader.node(at, node);
        }
        Ok(reader)
    }

    /// Whether the last layer that was asked for has been read.
    fn is_enough(&self, ask: &Ask) -> bool {
        ask.last_layer.as_ref().is_some_and(|last| self.names.contains_key(last) && self.here != *last)
    }

    /// Takes the input of the graph as the image.
    fn input(&mut self, ask: &Ask) -> Result<(), String> {
        let image = image(self.model)?;
        self.is_resizable = image.is_resizable();
        let asked = ask.image_size.unwrap_or(USUAL_SIZE);
        let (height, width) = (image.height.unwrap_or(asked[0]), image.width.unwrap_or(asked[1]));
        if height.checked_mul(width).is_none_or(|pixels| pixels > limits::MOST_PIXELS || pixels == 0) {
            return Err(format!("its images of {height}×{width} are too large"));
        }
        self.batch = image.samples.unwrap_or(BATCH);
        let shape = vec![height, width, 3];
        let axes = [vec![vec![Factor::Batch]], stored(&shape)].concat();
        let operator = Operator::InputLayer { shape: shape.clone() };
        let name = self.fresh(image.name);
        self.drafts.push(Draft { name, operator, inputs: Vec::new(), shape: Shape(shape), weights: Vec::new() });
        let view = View { layer: 0, axes, offset: 0 };
        let view = if image.channels_first { view.transposed(&[0, 3, 1, 2]) } else { view };
        self.values.insert(image.name, Value::Seen(view));
        Ok(())
    }

    /// Reads a node. A node that needs the output of a refused node is skipped, unless it would be refused itself.
    fn node(&mut self, at: usize, node: &'m Node<'m>) {
        self.here = match (&*node.name, node.outputs.first()) {
            ("", Some(output)) => output.clone(),
            (name, _) => name.to_owned(),
        };
        let own = node.domain.is_empty() || node.domain == "ai.onnx";
        let operator = if own { node.op.clone() } else { format!("{}.{}", node.domain, node.op) };
        let inputs: Vec<Option<Value>> = node.inputs.iter().map(|name| self.values.get(&**name).cloned()).collect();
        let missing = node.inputs.iter().zip(&inputs).any(|(name, value)| !name.is_empty() && value.is_none());
        let result = match node.op.as_str() {
            op if !own || !is_known(op) => Err(String::new()),
            "Constant" => self.constant(node).map(|constant| vec![constant]),
            _ => match self.pattern(node) {
                Ok(Some(value)) => Ok(vec![value]),
                Err(reason) => Err(reason),
                Ok(None) if missing => return,
                Ok(None) => self.apply(node, &inputs),
            },
        };
        match result {
            Ok(values) => self.values.extend(node.outputs.iter().map(String::as_str).zip(values)),
            Err(reason) => self.refused.push((at, RefusedNode { operator, node: self.here.clone(), reason })),
        }
    }

    fn constant(&mut self, node: &Node<'_>) -> Result<Value, String> {
        let constant = match (node.tensor("value"), node.ints("value_ints"), node.floats("value_floats")) {
            (Some(tensor), _, _) => tensor.read(self.folder)?,
            (_, Some(values), _) if !values.is_empty() => Constant::ints(values.to_vec()),
            (_, _, Some(values)) if !values.is_empty() => Constant::floats(vec![values.len()], values.to_vec()),
            _ => match (node.number("value_int"), node.real("value_float")) {
                (Some(value), _) => Constant { shape: Vec::new(), ..Constant::ints(vec![value]) },
                (_, Some(value)) => Constant::floats(Vec::new(), vec![value]),
                _ => return Err("it is not a number".to_owned()),
            },
        };
        Ok(Value::Known(Rc::new(constant)))
    }

    fn apply(&mut self, node: &Node<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>, String> {
        let known: Option<Vec<Option<&Constant>>> = inputs
            .iter()
            .map(|input| match input {
                Some(Value::Known(constant)) => Some(Some(&**constant)),
                None => Some(None),
                Some(Value::Seen(_)) => None,
            })
            .collect();
        let Some(known) = known else {
            return match node.op.as_str() {
                "Split" => self.split(node, inputs),
                _ => self.lower(node, inputs).map(|value| vec![value]),
            };
        };
        let constants = compute(node, &known, self.folder).ok_or("a constant of this kind is not computed")??;
        self.computed = constants.iter().map(Constant::len).fold(self.computed, usize::saturating_add);
        if self.computed > MOST_TOGETHER {
            return Err("the constants that its nodes compute are too large".to_owned());
        }
        Ok(constants.into_iter().map(|constant| Value::Known(Rc::new(constant))).collect())
    }

    /// A valid name for a layer that no other layer has.
    pub(super) fn fresh(&mut self, wanted: &str) -> String {
        let mut base = printable(wanted).to_string();
        let longest = limits::LONGEST_NAME - 8;
        if base.len() > longest {
            // The end of a path is the most specific part.
            let cut = (base.len() - longest..base.len()).find(|&at| base.is_char_boundary(at)).unwrap_or(base.len());
            base.drain(..cut);
        }
        if base.is_empty() {
            base.push_str("layer");
        }
        let first = self.names.get(&base).copied().unwrap_or(1);
        let numbered = |number: usize| if number == 1 { base.clone() } else { format!("{base}_{number}") };
        let free = |number: &usize| !self.names.contains_key(&numbered(*number));
        let number = (first..).find(free).expect("numbers do not run out");
        let name = numbered(number);
        self.names.insert(name.clone(), 2);
        self.names.insert(base, number + 1);
        name
    }

    /// Adds a layer with the name of the node and `part` of it.
    pub(super) fn add(
        &mut self,
        part: &str,
        operator: Operator,
        inputs: &[usize],
        weights: Vec<Weight>,
    ) -> Result<usize, String> {
        if self.drafts.len() > 2 * limits::MOST_LAYERS {
            return Err(format!("the network would have more than {} layers", limits::MOST_LAYERS));
        }
        let shapes: Vec<&Shape> = inputs.iter().map(|&input| &self.drafts[input].shape).collect();
        let shape = operator.output_shape("", &shapes).map_err(|error| reason_of(&error.to_string()))?;
        let base = if part.is_empty() { self.here.clone() } else { format!("{}/{part}", self.here) };
        let name = self.fresh(&base);
        self.drafts.push(Draft { name, operator, inputs: inputs.to_vec(), shape, weights });
        Ok(self.drafts.len() - 1)
    }

    /// The layer whose output has the axes of the view in this order. If necessary, a layer is added that changes the shape: it adds or drops
    /// axes of length 1, and joins or splits neighbouring axes.
    pub(super) fn materialise(&mut self, view: &View, order: &[usize]) -> Result<usize, String> {
        let count = self.drafts[view.layer].shape.count();
        let covers = (0..view.axes.len()).all(|axis| order.contains(&axis) || Some(axis) == view.batch_axis());
        if !covers || !view.lies_in_order(order, count) {
            return Err("it needs its input with axes in an order that no layer makes".to_owned());
        }
        let all = view.shape(self.batch);
        let shape: Vec<usize> = order.iter().map(|&axis| all[axis]).collect();
        self.with_shape(view.layer, shape)
    }

    /// A layer with the values of `layer` in another shape, which is added if necessary.
    pub(super) fn with_shape(&mut self, layer: usize, shape: Vec<usize>) -> Result<usize, String> {
        if self.drafts[layer].shape.0 == shape {
            return Ok(layer);
        }
        if let Some(&known) = self.reshaped.get(&(layer, shape.clone())) {
            return Ok(known);
        }
        let is_read = self.drafts.iter().any(|draft| draft.inputs.contains(&layer));
        if let Operator::GlobalAveragePooling2D { keepdims } | Operator::GlobalMaxPooling2D { keepdims } =
            &mut self.drafts[layer].operator
            && !is_read
            && shape.len() == 1
        {
            *keepdims = false;
            self.drafts[layer].shape = Shape(shape);
            return Ok(layer);
        }
        let operator = match shape.as_slice() {
            [_] => Operator::Flatten {},
            _ => Operator::Reshape { target_shape: shape.clone() },
        };
        let here = std::mem::replace(&mut self.here, self.drafts[layer].name.clone());
        let added = self.add(if shape.len() == 1 { "flatten" } else { "reshape" }, operator, &[layer], Vec::new());
        self.here = here;
        let added = added?;
        self.reshaped.insert((layer, shape), added);
        Ok(added)
    }

    /// The view of a layer whose axes are those at `order`, in a value of `rank` axes with the samples at `batch_axis`.
    pub(super) fn placed(&self, layer: usize, order: &[usize], rank: usize, batch_axis: usize) -> View {
        let mut axes = vec![Vec::new(); rank];
        axes[batch_axis] = vec![Factor::Batch];
        for (&axis, factors) in order.iter().zip(stored(&self.drafts[layer].shape.0)) {
            axes[axis] = factors;
        }
        View { layer, axes, offset: 0 }
    }

    /// The orders of a value's axes that a layer may have. There are several, because axes of length 1 may be at any place.
    pub(super) fn orders(&self, view: &View) -> Vec<Vec<usize>> {
        let batch = view.batch_axis();
        let mut orders = Vec::with_capacity(3);
        if view.axes.len() == 4 && batch == Some(0) {
            orders.push(IMAGE.to_vec());
        }
        orders.push(view.natural_order());
        orders.push((0..view.axes.len()).filter(|axis| Some(*axis) != batch).collect());
        let (all, stored) = (view.shape(self.batch), &self.drafts[view.layer].shape.0);
        // The order that the layer already has comes first, because it needs no change of shape.
        orders.sort_by_key(|order| order.iter().map(|&axis| all[axis]).ne(stored.iter().copied()));
        orders
    }

    /// The layer of an image `[batch, channels, height, width]`.
    pub(super) fn image(&mut self, view: &View) -> Result<usize, String> {
        if view.axes.len() != 4 || view.batch_axis() != Some(0) {
            return Err("its input is not an image of four axes".to_owned());
        }
        self.materialise(view, &IMAGE)
    }

    /// The value `[batch, channels, height, width]` of a layer whose output is an image.
    pub(super) fn of_image(&self, layer: usize) -> Value {
        Value::Seen(self.placed(layer, &IMAGE, 4, 0))
    }

    /// A constant of the model, if it was read.
    pub(super) fn constant_of(&self, name: &str) -> Option<&Constant> {
        match self.values.get(name) {
            Some(Value::Known(constant)) => Some(constant),
            _ => None,
        }
    }

    /// The view of a value of the model, if it was read.
    pub(super) fn seen(&self, name: &str) -> Option<&View> {
        match self.values.get(name) {
            Some(Value::Seen(view)) => Some(view),
            _ => None,
        }
    }
}

/// The image that a model takes; `None` for numbers that the model leaves open.
pub(super) struct Image<'m> {
    name: &'m str,
    samples: Option<usize>,
    height: Option<usize>,
    width: Option<usize>,
    /// Whether its axes are `[batch, channels, height, width]`.
    channels_first: bool,
}

impl Image<'_> {
    /// Whether height or width is open.
    pub(super) fn is_resizable(&self) -> bool {
        self.height.is_none() || self.width.is_none()
    }
}

/// Finds the image among the inputs of the graph.
pub(super) fn image<'m>(model: &'m Model<'m>) -> Result<Image<'m>, String> {
    let graph = &model.graph;
    let tensors: HashSet<&str> = graph.initialisers.iter().map(|tensor| tensor.name.as_str()).collect();
    let free: Vec<&ValueInfo> = graph.inputs.iter().filter(|input| !tensors.contains(&*input.name)).collect();
    let &[info] = free.as_slice() else {
        let names: Vec<String> = free.iter().take(5).map(|input| format!("'{}'", printable(&input.name))).collect();
        return Err(format!("a backbone has one input, an image, but it has {}: {}", free.len(), names.join(", ")));
    };
    let name = printable(&info.name);
    let Some(&[samples, a, b, c]) = info.shape.as_deref() else {
        return Err(format!("its input '{name}' does not have the four axes of a batch of images"));
    };
    let channels_first = match (a, c) {
        (_, Some(3)) => false,
        (Some(3), _) => true,
        _ => return Err(format!("its input '{name}' does not say which axis has the three colours")),
    };
    let (height, width) = if channels_first { (b, c) } else { (a, b) };
    let number = |side: Option<i64>| side.and_then(|side| usize::try_from(side).ok()).filter(|&side| side > 0);
    let (samples, height, width) = (number(samples), number(height), number(width));
    Ok(Image { name: &info.name, samples, height, width, channels_first })
}

/// The reason of an error of shape inference, without the layer's name, which the caller adds.
fn reason_of(error: &str) -> String {
    error.split_once("): ").map_or(error, |(_, reason)| reason).to_owned()
}

/// Whether an operator is read as a layer, as a view or as a constant, at least with some of its options.
fn is_known(op: &str) -> bool {
    const KNOWN: &[&str] = &[
        "Abs",
        "Add",
        "And",
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "Ceil",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Conv",
        "Div",
        "Dropout",
        "Equal",
        "Erf",
        "Exp",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "Gelu",
        "Gemm",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Greater",
        "GreaterOrEqual",
        "GroupNormalization",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "InstanceNormalization",
        "LayerNormalization",
        "LeakyRelu",
        "Less",
        "LessOrEqual",
        "Log",
        "MatMul",
        "Max",
        "MaxPool",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pad",
        "Pow",
        "Range",
        "Reciprocal",
        "ReduceL2",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Resize",
        "Shape",
        "Sigmoid",
        "Size",
        "Slice",
        "Softmax",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Swish",
        "Tanh",
        "Transpose",
        "Unsqueeze",
        "Where",
    ];
    KNOWN.binary_search(&op).is_ok()
}
