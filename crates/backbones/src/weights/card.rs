//! What files of this program say of the backbone whose weights they hold.

use std::collections::BTreeMap;

use injerto_graph::{Graph, Operator, Preprocessing};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Name and parameters of a backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackboneName {
    /// What users write as `backbone.plugin`.
    pub name: String,
    /// All its parameters but `input_shape`, which is the size of the images.
    pub parameters: Map<String, Value>,
}

/// A backbone as a file of weights describes it: what it was, and how pixels became its input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackboneCard {
    /// Which it was; files from before this was written do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<BackboneName>,
    /// Its layers, as many as are in the file.
    pub graph: Graph,
    /// How pixels became its input.
    pub preprocessing: Preprocessing,
}

/// The parts of a whole model's card that tell of its backbone.
#[derive(Deserialize)]
struct WholeModel {
    #[serde(default)]
    backbone: Option<BackboneName>,
    graph: Graph,
    backbone_layers: usize,
    preprocessing: Preprocessing,
}

impl BackboneCard {
    /// Key of the card in the metadata of a file that holds a backbone alone.
    pub const KEY: &str = "injerto.backbone";
    /// Key of the card of a whole model, in a checkpoint's metadata.
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
            return Err(say(Self::MODEL, &"backbone_layers is more than there are layers"));
        }
        let graph = whole.graph.truncate(last).map_err(|error| say(Self::MODEL, &error))?;
        Ok(Some(Self { backbone: whole.backbone, graph, preprocessing: whole.preprocessing }))
    }

    /// The card as metadata of a file that holds the backbone alone.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(Self::KEY.to_owned(), serde_json::to_string(self).expect("a card is plain data"))])
    }

    /// Whether `graph`, or its first layers, computes what the file's layers computed: the size of the images, momenta and
    /// dropout may be others.
    pub fn computes_as(&self, graph: &Graph) -> bool {
        let inputs = |graph: &Graph, at: usize| -> Vec<String> {
            graph.nodes()[at].inputs.iter().map(|&input| graph.nodes()[input].name().to_owned()).collect()
        };
        // A graph that was cut is without the layers that its last does not need.
        self.graph.nodes().iter().enumerate().all(|(at, own)| match graph.position(own.name()) {
            Ok(there) => {
                let same = in_inference(own.operator()) == in_inference(graph.nodes()[there].operator());
                same && inputs(&self.graph, at) == inputs(graph, there)
            }
            // What comes after the end of a graph that was cut is no difference.
            Err(_) => at >= graph.len(),
        })
    }

    /// Whether `preprocessing` makes the same input of the same pixels.
    pub fn sees_as(&self, preprocessing: &Preprocessing) -> bool {
        let values = |p: &Preprocessing| (p.scale, p.mean, p.std, p.channel_order);
        values(&self.preprocessing) == values(preprocessing)
    }
}

/// An operator without what only training or the size of the images decides.
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
