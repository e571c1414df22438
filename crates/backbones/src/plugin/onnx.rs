//! ONNX models as backbones.

use std::path::Path;

use injerto_files::{printable, shown};
use injerto_graph::{
    Description, Descriptor, Format, Layout, Operator, ParameterDoc, Preprocessing, Source, TensorMap, WeightSet,
};
use injerto_onnx::OnnxError;
use injerto_onnx::read::{Ask, Folded, ModelFile, Network, USUAL_SIZE};
use serde_json::{Map, Value, json};

use super::PluginError;
use super::word::word;
use crate::weights::{BackboneCard, Precision, Weights};

/// Identifier of the weights that a model carries.
pub(crate) const OWN_WEIGHTS: &str = "own";

/// Parameter that says where the network ends.
pub(crate) const LAST_LAYER: &str = "last_layer";

/// Whether `path` has the name of an ONNX model.
pub(crate) fn is_named_so(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
}

/// An ONNX model, `NAME.onnx`, as the backbone NAME. It is data: nothing in it is executed.
#[derive(Debug)]
pub(crate) struct OnnxFile<'a> {
    path: &'a Path,
    model: ModelFile,
}

impl<'a> OnnxFile<'a> {
    /// Reads the file into memory.
    pub(super) fn open(path: &'a Path) -> Result<Self, PluginError> {
        let model = ModelFile::open(path).map_err(|error| refused(path, &error))?;
        Ok(Self { path, model })
    }

    /// The descriptor of the backbone. The layers of the model are not read yet.
    pub(super) fn descriptor(&self) -> Result<Descriptor, PluginError> {
        let name = self.path.file_stem().unwrap_or_default().to_string_lossy();
        word(&name).map_err(|_| PluginError::Onnx {
            file: self.path.to_owned(),
            reason: format!(
                "the name before .onnx must be a plain word (letters, digits, '_', '-' and '.'), not '{}'",
                printable(&name)
            ),
        })?;
        let about = self.model.about().map_err(|error| refused(self.path, &error))?;
        let parameter = |default: Value, doc: &str| ParameterDoc { default, doc: doc.to_owned(), choices: Vec::new() };
        let mut parameters = std::collections::BTreeMap::from([
            ("include_top".to_owned(), parameter(json!(false), "keep the classifier of the model")),
            (
                LAST_LAYER.to_owned(),
                parameter(
                    json!(""),
                    "the node at which the network ends; nodes that only later ones need may be of any kind",
                ),
            ),
        ]);
        if about.is_resizable {
            let input_shape = parameter(json!(USUAL_SIZE), "height and width of the images");
            parameters.insert("input_shape".to_owned(), input_shape);
        }
        let by = if about.producer.is_empty() { String::new() } else { format!(", written by {}", about.producer) };
        let summary = format!("an ONNX model of {} nodes{by}", about.nodes);
        Ok(Descriptor { name: name.into_owned(), summary, parameters, weights: vec![OWN_WEIGHTS.to_owned()] })
    }

    /// The network with these parameters.
    fn network(&self, parameters: &Map<String, Value>) -> Result<Network, PluginError> {
        let fail = |error: OnnxError| refused(self.path, &error);
        let size = parameters.get("input_shape").cloned().map(serde_json::from_value::<[usize; 2]>).transpose();
        let image_size = size.map_err(|_| PluginError::Parameter {
            reason: "input_shape must be [height, width], such as [224, 224]".to_owned(),
        })?;
        let last = parameters.get(LAST_LAYER).and_then(Value::as_str).filter(|last| !last.is_empty());
        let network = self.model.read(&Ask { image_size, last_layer: last.map(str::to_owned) }).map_err(fail)?;
        let has_top = parameters.get("include_top").and_then(Value::as_bool).unwrap_or(false);
        match last.or((!has_top).then_some(network.features.as_str())) {
            Some(last) => network.up_to(last).map_err(fail),
            None => Ok(network),
        }
    }

    /// The description with these parameters.
    pub(super) fn describe(&self, parameters: &Map<String, Value>) -> Result<Description, PluginError> {
        let network = self.network(parameters)?;
        // A network takes RGB images, and reads nothing else.
        network.graph.image_size().map_err(|error| refused(self.path, &error.into()))?;
        let classes = match network.classes {
            Some(classes) => format!("; its classifier had {classes} classes"),
            None => String::new(),
        };
        let set = WeightSet {
            id: OWN_WEIGHTS.to_owned(),
            summary: format!("the weights in {}{classes}", shown(self.path)),
            licence: "that of the model".to_owned(),
            source: Source::Embedded,
            checksum: None,
            format: Format::Safetensors,
            // The file has the classifier too.
            tensors: TensorMap { layout: Layout::Keras, names: Vec::new(), ignore: vec!["*".to_owned()] },
            requires: Map::new(),
        };
        let (preprocessing, _) = preprocessing(&network);
        Ok(Description { graph: network.graph, preprocessing, weights: vec![set] })
    }

    /// What a user should know before training.
    pub(super) fn notes(&self, parameters: &Map<String, Value>) -> Result<Notes, PluginError> {
        let network = self.network(parameters)?;
        let file = shown(self.path);
        let (_, is_certain) = preprocessing(&network);
        let pixels = (!is_certain).then(|| {
            format!(
                "{file} does not say how pixels become its input: ImageNet's mean and deviation are used, as most networks of \
                 PyTorch expect it; set backbone.preprocessing if it was trained otherwise"
            )
        });
        let keep = "to keep them for training, export the model in training mode, such as with PyTorch's \
                    training=TrainingMode.PRESERVE and do_constant_folding=False";
        let folded = match network.folded {
            Folded::No => None,
            Folded::Surely => Some(format!(
                "the exporter of {file} folded batch normalisations into convolutions, which train without normalisation if they \
                 are unfrozen; {keep}"
            )),
            Folded::Perhaps => Some(format!(
                "no layer of {file} normalises, and every convolution has a bias: if the network had batch normalisations, its \
                 exporter folded them into the convolutions, and unfrozen layers train without them; {keep}"
            )),
        };
        Ok(Notes { pixels, folded })
    }

    /// All weights as a safetensors file.
    pub(super) fn weights(&self, parameters: &Map<String, Value>) -> Result<Vec<u8>, PluginError> {
        let mut weights = Weights::default();
        for tensor in self.network(parameters)?.weights {
            weights.insert(tensor.name, tensor.shape, tensor.values);
        }
        let bytes = weights.to_bytes(&[].into(), Precision::F32);
        bytes.map_err(|error| PluginError::Onnx { file: self.path.to_owned(), reason: error.to_string() })
    }
}

/// What a user should know about a backbone before training, in sentences for the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notes {
    /// The backbone does not say how pixels become its input.
    pub(crate) pixels: Option<String>,
    /// Batch normalisations were folded into convolutions.
    pub(crate) folded: Option<String>,
}

fn refused(path: &Path, error: &OnnxError) -> PluginError {
    match error {
        OnnxError::Io { source, .. } => PluginError::Onnx { file: path.to_owned(), reason: source.to_string() },
        other => PluginError::Onnx { file: path.to_owned(), reason: other.to_string() },
    }
}

/// How pixels become the input of the network, and whether the model says so. Models of this program, and those that rescale their
/// input themselves, take pixels from 0 to 255.
fn preprocessing(network: &Network) -> (Preprocessing, bool) {
    let is_own = network.metadata.iter().any(|(key, _)| key == BackboneCard::MODEL);
    let rescales =
        network.graph.nodes().get(1).is_some_and(|node| matches!(node.operator(), Operator::Rescaling { .. }));
    let is_certain = is_own || rescales;
    let preprocessing = if is_certain { Preprocessing::none() } else { Preprocessing::imagenet() };
    (Preprocessing { channel_order: network.channel_order, ..preprocessing }, is_certain)
}
