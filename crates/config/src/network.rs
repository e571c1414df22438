//! `[backbone]`, `[head]` and `[loss]`: the network, and what training minimises.

use injerto_graph::Activation;
use injerto_heads::{Body, Hidden, Pooling};
use injerto_recipe::{Focus, LossName};

use crate::kinds::{ClassWeights, Initial, InputScale, Precision, Strategy};
use crate::limits;
use crate::reader::{
    Field, Section, boolean, choice, count, json, list, named, not_negative, positive, share, share_below_one, text,
};
use crate::strategy;
use crate::tree::Value;
use crate::values::{BackboneConfig, HeadConfig, LossConfig};

const HIDDEN_ACTIVATIONS: &[(&str, Activation)] = &[
    ("relu", Activation::Relu),
    ("relu6", Activation::Relu6),
    ("swish", Activation::Swish),
    ("silu", Activation::Swish),
    ("hard_swish", Activation::HardSwish),
    ("sigmoid", Activation::Sigmoid),
    ("tanh", Activation::Tanh),
    ("linear", Activation::Linear),
];
const OUTPUT_ACTIVATIONS: &[(&str, Activation)] =
    &[("sigmoid", Activation::Sigmoid), ("softmax", Activation::Softmax), ("linear", Activation::Linear)];

pub(crate) fn backbone(mut s: Section<'_>) -> Option<BackboneConfig> {
    let plugin = s.required("plugin", "`plugin = \"mobilenet_v2\"`; `injerto plugins list` shows what there is", text);
    let weights = s.or("weights", "imagenet".to_owned(), text);
    let parameters = s.or("parameters", serde_json::Map::new(), |field| {
        let entry = field.node.table().and_then(|entries| entries.iter().find(|entry| entry.key == "input_shape"));
        if let Some(entry) = entry {
            let message = "the backbone's input shape is the size of the images".to_owned();
            return field.problems.note(entry.at, message, "set `data.image_size`".to_owned());
        }
        json(field)
    });
    let last_layer = s.optional("last_layer", text);
    let preprocessing = s.optional("preprocessing", named(&InputScale::ALL, InputScale::name));
    let precision = s.or("precision", Precision::default(), named(&Precision::ALL, Precision::name));
    s.finish();
    Some(BackboneConfig {
        plugin: plugin?,
        weights: weights?,
        parameters: parameters?,
        last_layer: last_layer?,
        preprocessing: preprocessing?,
        precision: precision?,
    })
}

pub(crate) fn head(mut s: Section<'_>, known: Option<Strategy>) -> Option<HeadConfig> {
    let own = Body { dense: known.map(strategy::dense).unwrap_or_default(), ..Body::default() };
    let pooling = s.or("pooling", own.pooling, named(&Pooling::ALL, Pooling::name));
    let batch_norm = s.or("batch_norm", own.batch_norm, boolean);
    let dense = s.or("dense", own.dense, list(hidden));
    let dropout = s.or("dropout", own.dropout, share_below_one());
    let units = s.optional("units", count(limits::COUNT));
    let activation = s.optional("activation", choice(OUTPUT_ACTIVATIONS));
    let is_plain = dense.as_ref().is_none_or(Vec::is_empty) && batch_norm != Some(true);
    let initial = s.or("initial", Initial::default(), |field| {
        let initial = named(&Initial::ALL, Initial::name)(field)?;
        if initial == Initial::Probe && !is_plain {
            let message = format!(
                "`{}` cannot be \"probe\": the probe is one layer on the backbone's features, and this head has others before it",
                field.path
            );
            let help = "set `head.dense = []` and `head.batch_norm = false`, or leave `head.initial` out";
            return field.wrong(message, help.to_owned());
        }
        Some(initial)
    });
    s.finish();
    let body = Body { pooling: pooling?, batch_norm: batch_norm?, dense: dense?, dropout: dropout? };
    Some(HeadConfig { body, units: units?, activation: activation?, initial: initial? })
}

/// `128`, or `{ units = 128, activation = "relu" }`.
fn hidden(field: &Field<'_>) -> Option<Hidden> {
    if field.node.table().is_none() {
        return count(limits::COUNT)(field).map(Hidden::relu);
    }
    let mut s = field.section()?;
    let units = s.required("units", "`units = 128`", count(limits::COUNT));
    let activation = s.optional("activation", choice(HIDDEN_ACTIVATIONS));
    s.finish();
    let (layer, activation) = (Hidden::relu(units?), activation?);
    Some(Hidden { activation: activation.unwrap_or(layer.activation), ..layer })
}

pub(crate) fn loss(mut s: Section<'_>) -> Option<LossConfig> {
    let name = s.optional("name", named(&LossName::ALL, LossName::name));
    let from_logits = s.or("from_logits", false, boolean);
    let sparse = name == Some(Some(LossName::SparseCategoricalCrossentropy));
    let label_smoothing = s.or("label_smoothing", 0.0, |field| {
        let smoothing = share_below_one()(field)?;
        if sparse && smoothing > 0.0 {
            let message = "sparse_categorical_crossentropy has no label smoothing".to_owned();
            return field.wrong(message, "set `loss.name` to \"categorical_crossentropy\"".to_owned());
        }
        Some(smoothing)
    });
    let focal = name.flatten().filter(|name| name.is_focal());
    let is_binary = focal == Some(LossName::BinaryFocalCrossentropy);
    // An option of a focal loss. Written out, a focal loss says all of its options.
    let of_focal = |field: &Field<'_>, used: bool| match used {
        true => Some(()),
        false => {
            let message = format!("`{}` does nothing with this loss", field.path);
            field.wrong(
                message,
                "set `loss.name` to a focal loss, such as \"categorical_focal_crossentropy\"".to_owned(),
            )
        }
    };
    let own = Focus::default();
    let gamma = s.optional("gamma", |field| {
        of_focal(field, focal.is_some())?;
        not_negative()(field)
    });
    let apply_class_balancing = s.optional("apply_class_balancing", |field| {
        of_focal(field, is_binary)?;
        boolean(field)
    });
    let alpha = s.optional("alpha", |field| {
        of_focal(field, focal.is_some())?;
        if is_binary && apply_class_balancing.flatten() != Some(true) {
            let message = format!("`{}` does nothing without `apply_class_balancing`", field.path);
            return field.wrong(message, "set `apply_class_balancing = true`".to_owned());
        }
        if is_binary { share()(field) } else { positive()(field) }
    });
    let class_weights = s.optional("class_weights", class_weights);
    s.finish();
    let balances = apply_class_balancing?.or(is_binary.then_some(own.apply_class_balancing));
    let uses_alpha = focal.is_some() && balances != Some(false);
    Some(LossConfig {
        gamma: gamma?.or(focal.map(|_| own.gamma)),
        alpha: alpha?.or(uses_alpha.then_some(own.alpha)),
        apply_class_balancing: balances,
        name: name?,
        from_logits: from_logits?,
        label_smoothing: label_smoothing?,
        class_weights: class_weights?,
    })
}

/// `"balanced"`, or `{ cats = 1.0, dogs = 2.5 }`.
fn class_weights(field: &Field<'_>) -> Option<ClassWeights> {
    match (&field.node.value, field.node.table()) {
        (Value::String(_), _) => choice(&[("balanced", ClassWeights::Balanced)])(field),
        (_, Some(entries)) => {
            let weight = |(key, node)| not_negative()(&field.child(key, node));
            let weights: Vec<(String, Option<f64>)> =
                entries.iter().map(|entry| (entry.key.clone(), weight((&entry.key, &entry.node)))).collect();
            let weights = weights.into_iter().map(|(class, weight)| Some((class, weight?)));
            weights.collect::<Option<_>>().map(ClassWeights::Table)
        }
        _ => field.must_be("\"balanced\", or a table such as { cats = 1.0, dogs = 2.5 }", None),
    }
}
