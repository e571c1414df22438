//! The messages of ONNX that this crate reads. Field numbers are those of `onnx.proto3`
//! (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3>); other fields are skipped.

use crate::tensor::Stored;
use crate::wire::{Fields, pair};

/// Limits for the numbers of messages, far above those of any network. They are needed because a message of two bytes takes many times as
/// much memory when it is read.
const MOST_NODES: usize = 1 << 17;
const MOST_TENSORS: usize = 1 << 17;
const MOST_NAMES: usize = 1 << 20;
const MOST_AXES: usize = 16;

/// A model.
#[derive(Debug, Default)]
pub(crate) struct Model<'a> {
    pub(crate) producer: String,
    pub(crate) producer_version: String,
    /// Domain and version of each operator set; the domain of ONNX itself is empty.
    pub(crate) opsets: Vec<(String, i64)>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) graph: Graph<'a>,
}

/// A graph.
#[derive(Debug, Default)]
pub(crate) struct Graph<'a> {
    pub(crate) nodes: Vec<Node<'a>>,
    pub(crate) initialisers: Vec<Stored<'a>>,
    pub(crate) inputs: Vec<ValueInfo>,
    pub(crate) outputs: Vec<ValueInfo>,
    pub(crate) has_sparse: bool,
}

/// A node.
#[derive(Debug, Default)]
pub(crate) struct Node<'a> {
    pub(crate) name: String,
    pub(crate) op: String,
    pub(crate) domain: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) attributes: Vec<Attribute<'a>>,
}

/// An attribute of a node. Only the field of its type is filled.
#[derive(Debug, Default)]
pub(crate) struct Attribute<'a> {
    pub(crate) name: String,
    pub(crate) float: Option<f32>,
    pub(crate) int: Option<i64>,
    pub(crate) text: Option<String>,
    pub(crate) tensor: Option<Stored<'a>>,
    pub(crate) floats: Vec<f32>,
    pub(crate) ints: Vec<i64>,
}

/// Name and shape of an input or output.
#[derive(Debug, Default)]
pub(crate) struct ValueInfo {
    pub(crate) name: String,
    /// `None` if the file gives no shape; a side is `None` if it is not a number.
    pub(crate) shape: Option<Vec<Option<i64>>>,
}

fn limited<T>(list: &mut Vec<T>, item: T, most: usize, what: &str) -> Result<(), String> {
    if list.len() >= most {
        return Err(format!("it has more than {most} {what}"));
    }
    list.push(item);
    Ok(())
}

impl<'a> Model<'a> {
    /// Reads a model.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut model = Self::default();
        let mut has_graph = false;
        for field in Fields::of(bytes) {
            match field? {
                (2, value) => model.producer = value.text()?,
                (3, value) => model.producer_version = value.text()?,
                (7, value) => {
                    model.graph = Graph::parse(value.bytes()?)?;
                    has_graph = true;
                }
                (8, value) => {
                    let (mut domain, mut version) = (String::new(), 0);
                    for field in Fields::of(value.bytes()?) {
                        match field? {
                            (1, value) => domain = value.text()?,
                            (2, value) => version = value.int()?,
                            _ => {}
                        }
                    }
                    limited(&mut model.opsets, (domain, version), MOST_NODES, "operator sets")?;
                }
                (14, value) => limited(&mut model.metadata, pair(value)?, MOST_NAMES, "entries of metadata")?,
                _ => {}
            }
        }
        if !has_graph {
            return Err("it has no graph".to_owned());
        }
        if model.opsets.is_empty() {
            return Err("it does not say its operator set".to_owned());
        }
        Ok(model)
    }

    /// Version of ONNX's own operator set.
    pub(crate) fn opset(&self) -> i64 {
        let own = |domain: &str| domain.is_empty() || domain == "ai.onnx";
        self.opsets.iter().find(|(domain, _)| own(domain)).map_or(0, |(_, version)| *version)
    }
}

impl<'a> Graph<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut graph = Self::default();
        let mut names = 0;
        for field in Fields::of(bytes) {
            match field? {
                (1, value) => {
                    let node = Node::parse(value.bytes()?)?;
                    names += node.inputs.len() + node.outputs.len() + node.attributes.len();
                    if names > MOST_NAMES {
                        return Err(format!("its nodes have more than {MOST_NAMES} inputs, outputs and attributes"));
                    }
                    limited(&mut graph.nodes, node, MOST_NODES, "nodes")?;
                }
                (5, value) => {
                    limited(&mut graph.initialisers, Stored::parse(value.bytes()?)?, MOST_TENSORS, "tensors")?;
                }
                (11, value) => limited(&mut graph.inputs, ValueInfo::parse(value.bytes()?)?, MOST_TENSORS, "inputs")?,
                (12, value) => limited(&mut graph.outputs, ValueInfo::parse(value.bytes()?)?, MOST_TENSORS, "outputs")?,
                (15, _) => graph.has_sparse = true,
                _ => {}
            }
        }
        Ok(graph)
    }
}

impl<'a> Node<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut node = Self::default();
        for field in Fields::of(bytes) {
            match field? {
                (1, value) => limited(&mut node.inputs, value.text()?, MOST_NAMES, "inputs of a node")?,
                (2, value) => limited(&mut node.outputs, value.text()?, MOST_NAMES, "outputs of a node")?,
                (3, value) => node.name = value.text()?,
                (4, value) => node.op = value.text()?,
                (5, value) => {
                    limited(&mut node.attributes, Attribute::parse(value.bytes()?)?, MOST_NAMES, "attributes")?;
                }
                (7, value) => node.domain = value.text()?,
                _ => {}
            }
        }
        Ok(node)
    }

    fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The value of an attribute that is a whole number, or `default` if the node does not have it.
    pub(crate) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|attribute| attribute.int).unwrap_or(default)
    }

    /// The value of an attribute that is a floating-point number, or `default` if the node does not have it.
    pub(crate) fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).and_then(|attribute| attribute.float).unwrap_or(default)
    }

    /// The value of an attribute that is a whole number, if the node has it.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.attribute(name).and_then(|attribute| attribute.int)
    }

    /// The value of an attribute that is a floating-point number, if the node has it.
    pub(crate) fn real(&self, name: &str) -> Option<f32> {
        self.attribute(name).and_then(|attribute| attribute.float)
    }

    /// The value of an attribute that is a list of whole numbers, if the node has it.
    pub(crate) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|attribute| attribute.ints.as_slice())
    }

    /// The value of an attribute that is a list of floating-point numbers, if the node has it.
    pub(crate) fn floats(&self, name: &str) -> Option<&[f32]> {
        self.attribute(name).map(|attribute| attribute.floats.as_slice())
    }

    /// The value of an attribute that is a text, if the node has it.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.attribute(name).and_then(|attribute| attribute.text.as_deref())
    }

    /// The value of an attribute that is a tensor, if the node has it.
    pub(crate) fn tensor(&self, name: &str) -> Option<&Stored<'a>> {
        self.attribute(name).and_then(|attribute| attribute.tensor.as_ref())
    }
}

impl<'a> Attribute<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut attribute = Self::default();
        for field in Fields::of(bytes) {
            match field? {
                (1, value) => attribute.name = value.text()?,
                (2, value) => attribute.float = Some(value.float()?),
                (3, value) => attribute.int = Some(value.int()?),
                (4, value) => attribute.text = Some(value.text()?),
                (5, value) => attribute.tensor = Some(Stored::parse(value.bytes()?)?),
                (7, value) => value.floats(&mut attribute.floats)?,
                (8, value) => value.ints(&mut attribute.ints)?,
                _ => {}
            }
        }
        Ok(attribute)
    }
}

impl ValueInfo {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut info = Self::default();
        for field in Fields::of(bytes) {
            match field? {
                (1, value) => info.name = value.text()?,
                (2, value) => info.shape = shape_of_type(value.bytes()?)?,
                _ => {}
            }
        }
        Ok(info)
    }
}

/// The shape in a `TypeProto` of a tensor.
fn shape_of_type(bytes: &[u8]) -> Result<Option<Vec<Option<i64>>>, String> {
    let mut shape = None;
    for field in Fields::of(bytes) {
        let (1, tensor) = field? else { continue };
        for field in Fields::of(tensor.bytes()?) {
            let (2, value) = field? else { continue };
            let mut sides = Vec::new();
            for field in Fields::of(value.bytes()?) {
                let (1, dimension) = field? else { continue };
                let mut side = None;
                for field in Fields::of(dimension.bytes()?) {
                    if let (1, value) = field? {
                        side = Some(value.int()?);
                    }
                }
                limited(&mut sides, side, MOST_AXES, "axes of a value")?;
            }
            shape = Some(sides);
        }
    }
    Ok(shape)
}
