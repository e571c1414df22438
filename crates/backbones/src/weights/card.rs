//! The card of a file, in which this program describes the backbone whose weights the file holds.

use std::collections::BTreeMap;

use injerto_graph::{Graph, Operator, Preprocessing};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Name and parameters of a backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackboneName {
    /// Name that users write as `backbone.plugin`.
    pub name: String,
    /// All parameters but `input_shape`, which is the size of the images.
    pub parameters: Map<String, Value>,
}

/// The backbone of a file of weights, and its preprocessing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackboneCard {
    /// Name and parameters of the backbone. Old files do not contain them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<BackboneName>,
    /// The layers of the backbone that are in the file.
    pub graph: Graph,
    /// How pixels became input.
    pub preprocessing: Preprocessing,
}

/// The parts of the card of a whole model that describe its backbone.
#[derive(Deserialize)]
struct WholeModel {
    #[serde(default)]
    backbone: Option<BackboneName>,
    graph: Graph,
    backbone_layers: usize,
    preprocessing: Preprocessing,
}

impl BackboneCard {
    /// Metadata key of the card in a file that holds only a backbone.
    pub const KEY: &str = "injerto.backbone";
    /// Metadata key of the card in the checkpoint of a whole model.
    pub const MODEL: &str = "injerto.model";

    /// The card in a file's metadata, if there is one.
    pub(super) fn of(metadata: &BTreeMap<String, String>) -> Result<Option<Self>, String> {
        let say = |key: &str, error: &dyn std::fmt::Display| format!("'{key}' in its metadata: {error}");
        if let Some(card) = metadata.get(Self::KEY) {
            return serde_json::from_str(card).map(Some).map_err(|error| say(Self::KEY, &error));
        }
        let Some(card) = metadata.get(Self::MODEL) else { return Ok(None) };
        let whole: WholeModel = serde_json::from_str(card).map_err(|error| say(Self::MODEL, &error))?;
        let last = whole.backbone_layers.checked_sub(1).ok_or_else(|| say(Self::MODEL, &"backbone_layers is 0"))?;
        if last >= whole.graph.len() {
            return Err(say(Self::MODEL, &"backbone_layers is larger than the number of layers"));
        }
        let graph = whole.graph.truncate(last).map_err(|error| say(Self::MODEL, &error))?;
        Ok(Some(Self { backbone: whole.backbone, graph, preprocessing: whole.preprocessing }))
    }

    /// The card as metadata of a file that holds only the backbone.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(Self::KEY.to_owned(), serde_json::to_string(self).expect("a card is plain data"))])
    }

    /// Whether `graph`, or its first layers, computes the same as the layers in the file. The size of the images, momenta and dropout may
    /// differ.
    pub fn computes_as(&self, graph: &Graph) -> bool {
        let inputs = |graph: &Graph, at: usize| -> Vec<String> {
            graph.nodes()[at].inputs.iter().map(|&input| graph.nodes()[input].name().to_owned()).collect()
        };
        // A graph that was cut does not have the layers that its last layer does not need.
        self.graph.nodes().iter().enumerate().all(|(at, own)| match graph.position(own.name()) {
            Ok(there) => {
                let same = in_inference(own.operator()) == in_inference(graph.nodes()[there].operator());
                same && inputs(&self.graph, at) == inputs(graph, there)
            }
            // Layers after the end of a graph that was cut are not a difference.
            Err(_) => at >= graph.len(),
        })
    }

    /// Whether `preprocessing` turns the same pixels into the same input.
    pub fn sees_as(&self, preprocessing: &Preprocessing) -> bool {
        let values = |p: &Preprocessing| (p.scale, p.mean, p.std, p.channel_order);
        values(&self.preprocessing) == values(preprocessing)
    }
}

/// An operator without the options that matter only in training or depend on the size of the images.
fn in_inference(operator: &Operator) -> Operator {
    let mut operator = operator.clone();
    match &mut operator {
        Operator::InputLayer { shape } => shape.clear(),
        Operator::BatchNormalization { momentum, .. } => *momentum = 0.0,
        Operator::Dropout { rate, .. } => *rate = 0.0,
        _ => {}
    }
    operator
}
