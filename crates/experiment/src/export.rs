//! Writes a trained model in the format of other programs.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use injerto_files::Partial;
use injerto_onnx::{Answer, Classifier, OnnxError, Precision};
use injerto_trainer::Model;
use serde_json::json;

use crate::ExperimentError;

/// Metadata key of the names of the classes in an ONNX model, a JSON list.
pub const CLASSES: &str = "classes";

/// Metadata key of the probability of each class from which on an image has it, a JSON list, where an image may have several classes.
pub const THRESHOLDS: &str = "thresholds";

/// Writes a model as ONNX: preprocessing, network, and the function that turns outputs into probabilities. The file appears whole or
/// not at all, and carries the names of the classes and the card of the checkpoint as metadata.
///
/// Its input is `image`, float32 `[batch, height, width, 3]`, RGB from 0 to 255; resizing is the caller's. Its output is
/// `probabilities`, float32 `[batch, classes]`.
///
/// # Errors
/// The file cannot be written, is too large for the format, or its values for half precision.
pub fn to_onnx(model: &Model, path: &Path, precision: Precision) -> Result<(), ExperimentError> {
    let card = &model.card;
    let mut metadata = vec![(CLASSES.to_owned(), json!(card.classes).to_string())];
    metadata.extend(card.thresholds.iter().map(|thresholds| (THRESHOLDS.to_owned(), json!(thresholds).to_string())));
    metadata.extend(model.metadata());
    let answer = match &card.loss {
        loss if !loss.from_logits() => Answer::Probabilities,
        loss if loss.is_binary() => Answer::Sigmoid,
        _ => Answer::Softmax,
    };
    let weights = model.network.weights();
    let classifier =
        Classifier { graph: &card.graph, preprocessing: &card.preprocessing, answer, metadata: &metadata, precision };
    let parameter = |name: &str| weights.get(name).map(|values| values.data.as_slice());
    let io = |source| OnnxError::Io { path: path.to_owned(), source };
    let mut file = BufWriter::new(Partial::beside(path).map_err(io)?);
    classifier.write(&parameter, &mut file).map_err(|error| match error {
        OnnxError::Io { source, .. } => io(source),
        other => other,
    })?;
    file.flush().map_err(io)?;
    let file = file.into_inner().map_err(|error| io(error.into_error()))?;
    Ok(file.persist(path).map_err(io)?)
}
