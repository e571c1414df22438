//! `[[phases]]`: the parts of the training, one after the other.

use injerto_graph::{LayerRef, Selection};
use injerto_recipe::{BatchNorm, OptimizerConfig, Schedule, Swa};

use crate::kinds::LearningRates;
use crate::limits;
use crate::optimizer::optimizer;
use crate::reader::{Field, choice, count, integer, list, not_negative, number, one_or_more, positive, text};
use crate::schedule::schedule;
use crate::tree::Value;
use crate::values::{GradualConfig, PhaseConfig};

const BATCH_NORM: &[(&str, BatchNorm)] = &[("frozen", BatchNorm::Frozen), ("update", BatchNorm::Update)];

pub(crate) const EXAMPLE: &str = "`[[phases]]` with `epochs = 10`";

pub(crate) fn phases(field: &Field<'_>, default: &Selection) -> Option<Vec<PhaseConfig>> {
    match &field.node.value {
        Value::Array(items) if items.is_empty() => field.must_be("a list of phases", format!("add {EXAMPLE}")),
        Value::Table(_) => field.must_be("a list of phases", "write `[[phases]]`, in two pairs of brackets".to_owned()),
        Value::Array(items) => {
            let phases = list(|field: &Field<'_>| phase(field, default))(field)?;
            for (i, phase) in phases.iter().enumerate() {
                if let Some(first) = phases[..i].iter().position(|earlier| earlier.name == phase.name) {
                    let message = format!("phases {first} and {i} are both called {:?}", phase.name);
                    return field.problems.note(items[i].at, message, "give each phase a name of its own".to_owned());
                }
            }
            Some(phases)
        }
        _ => field.must_be("a list of phases", format!("add {EXAMPLE}")),
    }
}

/// `default` is what it unfreezes where it does not say.
fn phase(field: &Field<'_>, default: &Selection) -> Option<PhaseConfig> {
    let default_name = field.path.replace("phases.", "phase-");
    let mut s = field.section()?;
    let name = s.or("name", default_name, text);
    let epochs = s.required("epochs", "`epochs = 10`", count(limits::COUNT));
    let unfreeze = s.or("unfreeze", default.clone(), unfreeze);
    let frozen = unfreeze == Some(Selection::None);
    let batch_norm = s.or("batch_norm", BatchNorm::default(), |field| {
        let batch_norm = choice(BATCH_NORM)(field)?;
        if frozen && batch_norm == BatchNorm::Update {
            let message = format!("`{}` = \"update\" does nothing to a backbone that is frozen", field.path);
            return field.wrong(message, "set `unfreeze`, or leave it out".to_owned());
        }
        Some(batch_norm)
    });
    let optimizer = s.or("optimizer", OptimizerConfig::default(), optimizer);
    let schedule = s.or("schedule", Schedule::default(), schedule);
    let learning_rates = s.or("learning_rates", LearningRates::default(), multipliers);
    let averages = optimizer.as_ref().is_some_and(|optimizer| optimizer.ema_momentum.is_some());
    let swa = s.optional("swa", |field| swa(field, epochs, averages));
    let gradual = s.optional("gradual", |field| gradual(field, epochs, frozen));
    s.finish();
    Some(PhaseConfig {
        name: name?,
        epochs: epochs?,
        unfreeze: unfreeze?,
        batch_norm: batch_norm?,
        optimizer: optimizer?,
        schedule: schedule?,
        learning_rates: learning_rates?,
        swa: swa?,
        gradual: gradual?,
    })
}

/// `"none"`, `"all"`, or a table with one key.
fn unfreeze(field: &Field<'_>) -> Option<Selection> {
    const FORMS: &str = "\"none\", \"all\", { from_layer = 100 }, { from_layer = \"block_13_expand\" }, \
                         { patterns = [\"block_16_*\"] }, { last = 20 } or { fraction = 0.3 }";
    match &field.node.value {
        Value::String(_) => choice(&[("none", Selection::None), ("all", Selection::All)])(field),
        Value::Table(_) => {
            let mut s = field.section()?;
            let selections = [
                s.optional("from_layer", layer).map(|layer| layer.map(Selection::FromLayer)),
                s.optional("patterns", one_or_more(text)).map(|patterns| patterns.map(Selection::Patterns)),
                s.optional("last", count(limits::COUNT)).map(|last| last.map(Selection::Last)),
                s.optional("fraction", number("a number above 0, up to 1", |part| part > 0.0 && part <= 1.0))
                    .map(|fraction| fraction.map(Selection::Fraction)),
            ];
            let known = field.node.table()?.iter().all(|entry| s.knows(&entry.key));
            s.finish();
            let selections: Option<Vec<Option<Selection>>> = selections.into_iter().collect();
            let mut given: Vec<Selection> = selections?.into_iter().flatten().collect();
            match (given.pop(), given.is_empty(), known) {
                (Some(selection), true, true) => Some(selection),
                (_, _, false) => None,
                _ => field.wrong(format!("`{}` must have exactly one key", field.path), format!("write {FORMS}")),
            }
        }
        Value::Integer(layer) => field.wrong(
            format!("`{}` does not say what {layer} means", field.path),
            format!("write {{ from_layer = {layer} }} or {{ last = {layer} }}"),
        ),
        _ => field.must_be(FORMS, None),
    }
}

fn layer(field: &Field<'_>) -> Option<LayerRef> {
    match &field.node.value {
        Value::String(_) => text(field).map(LayerRef::Name),
        Value::Integer(_) => integer(0, limits::COUNT)(field).map(LayerRef::Index),
        _ => field.must_be("a layer's number or its name", None),
    }
}

/// `{ "block_16_*" = 0.1, head = 1.0 }`.
fn multipliers(field: &Field<'_>) -> Option<LearningRates> {
    let Some(entries) = field.node.table() else {
        let expected = "a table of layers and what their learning rate is multiplied by";
        return field.must_be(expected, "write { \"block_16_*\" = 0.1, head = 1.0 }".to_owned());
    };
    let rules = entries.iter().map(|entry| {
        let multiplier = not_negative()(&field.child(&entry.key, &entry.node))?;
        Some((entry.key.clone(), multiplier))
    });
    // Every entry is looked at, also after a wrong one.
    let rules: Vec<Option<(String, f64)>> = rules.collect();
    rules.into_iter().collect::<Option<Vec<_>>>().map(LearningRates)
}

/// `{ start_epoch = 5 }`.
fn swa(field: &Field<'_>, epochs: Option<usize>, averages: bool) -> Option<Swa> {
    if averages {
        let message = format!("`{}` and `ema_momentum` are both averages of the weights", field.path);
        return field.wrong(message, "leave one of them out".to_owned());
    }
    let mut s = field.section()?;
    let start_epoch = s.required("start_epoch", "`start_epoch = 5`, an epoch of the phase", count(limits::COUNT));
    s.finish();
    let start_epoch = start_epoch?;
    if let Some(epochs) = epochs.filter(|&epochs| start_epoch >= epochs) {
        let message =
            format!("`{}.start_epoch` = {start_epoch} leaves nothing to average in {epochs} epochs", field.path);
        return field.wrong(message, "take an earlier epoch, or set more `epochs`".to_owned());
    }
    Some(Swa { start_epoch })
}

/// `{ stages = 3, epochs_per_stage = 1 }`.
fn gradual(field: &Field<'_>, epochs: Option<usize>, frozen: bool) -> Option<GradualConfig> {
    if frozen {
        let message = format!("`{}` does nothing to a backbone that is frozen", field.path);
        return field.wrong(message, "set `unfreeze` to what is trained in the end".to_owned());
    }
    let mut s = field.section()?;
    let stages = s.or("stages", 3, integer(2, limits::STAGES));
    let epochs_per_stage = s.or("epochs_per_stage", 1, count(limits::COUNT));
    let factor = s.or("factor", 1.0, positive());
    s.finish();
    let (stages, epochs_per_stage): (usize, usize) = (stages?, epochs_per_stage?);
    let needed = (stages - 1) * epochs_per_stage + 1;
    if epochs.is_some_and(|epochs| epochs < needed) {
        let message = format!("{stages} stages of {epochs_per_stage} epoch(s) leave nothing for the last");
        return field.wrong(message, format!("set `epochs` to {needed} or more, or take fewer stages"));
    }
    Some(GradualConfig { stages, epochs_per_stage, factor: factor? })
}
