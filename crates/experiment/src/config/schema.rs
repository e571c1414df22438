//! The keys: what each may be, and what it is by default.

use std::path::Path;

use injerto_graph::{Activation, Interpolation, LayerRef, Selection};
use injerto_heads::{Hidden, Pooling};

use super::augment::augmenting;
use super::diagnostic::Problems;
use super::reader::{Field, Section, boolean, choice, count, integer, json, list, number, one_or_more, pair, text};
use super::strategy::{STRATEGIES, Strategy};
use super::training::{callbacks, class_weights, gradual, multipliers, optimizer, positive, schedule};
use super::tree::{Node, Value};
use super::{
    BackboneConfig, BatchNorm, Callbacks, CheckpointConfig, Config, DataConfig, Device, Generated, HeadConfig, Images,
    InputScale, Layout, LearningRates, LossConfig, LossName, Metric, Mode, OnCorrupt, OptimizerConfig, Orientation,
    PhaseConfig, Schedule, ScratchConfig, TransferGainConfig,
};

const DEVICES: &[(&str, Device)] =
    &[("flex", Device::Flex), ("cpu", Device::Flex), ("wgpu", Device::Wgpu), ("cuda", Device::Cuda)];
const GENERATED: &[(&str, Generated)] = &[("flowers", Generated::Flowers), ("shapes", Generated::Shapes)];
const INTERPOLATIONS: &[(&str, Interpolation)] = &[
    ("bilinear", Interpolation::Bilinear),
    ("nearest", Interpolation::Nearest),
    ("bicubic", Interpolation::Bicubic),
    ("area", Interpolation::Area),
];
pub(crate) const INPUT_SCALES: &[(&str, InputScale)] = &[
    ("minus_one_to_one", InputScale::MinusOneToOne),
    ("zero_to_one", InputScale::ZeroToOne),
    ("imagenet", InputScale::Imagenet),
    ("caffe", InputScale::Caffe),
    ("none", InputScale::None),
];
const LAYOUTS: &[(&str, Layout)] = &[("auto", Layout::Auto), ("classes", Layout::Classes)];
const ON_CORRUPT: &[(&str, OnCorrupt)] = &[("error", OnCorrupt::Error), ("skip", OnCorrupt::Skip)];
const EXIF_ORIENTATION: &[(&str, Orientation)] = &[("ignore", Orientation::Ignore), ("apply", Orientation::Apply)];
const POOLING: &[(&str, Pooling)] = &[("avg", Pooling::Avg), ("max", Pooling::Max), ("flatten", Pooling::Flatten)];
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
const LOSSES: &[(&str, LossName)] = &[
    ("binary_crossentropy", LossName::BinaryCrossentropy),
    ("categorical_crossentropy", LossName::CategoricalCrossentropy),
    ("sparse_categorical_crossentropy", LossName::SparseCategoricalCrossentropy),
];
const BATCH_NORM: &[(&str, BatchNorm)] = &[("frozen", BatchNorm::Frozen), ("update", BatchNorm::Update)];
pub(super) const METRICS: &[(&str, Metric)] = &[
    ("val_accuracy", Metric::ValAccuracy),
    ("val_loss", Metric::ValLoss),
    ("accuracy", Metric::Accuracy),
    ("loss", Metric::Loss),
];
pub(super) const MODES: &[(&str, Mode)] = &[("auto", Mode::Auto), ("max", Mode::Max), ("min", Mode::Min)];

/// NumPy's generator, whose split Keras's users expect, takes seeds of 32 bits.
const MAX_SEED: i64 = u32::MAX as i64;
const MAX_SIDE: i64 = 16_384;
pub(super) const MAX_COUNT: i64 = 1_000_000;

const EXAMPLE_PHASE: &str = "`[[phases]]` with `epochs = 10`";

/// The whole file.
pub(super) fn experiment(document: &Node, stem: &str, problems: &Problems) -> Option<Config> {
    let mut root = Section::root(document.table()?, problems);
    let name = root.or("name", stem.to_owned(), run_name);
    let seed = root.or("seed", 123, integer(0, MAX_SEED));
    let device = root.or("device", Device::Flex, choice(DEVICES));
    let kernels = root.or("kernels", true, boolean);
    let strategy_field = root.field("strategy");
    let strategy = strategy_field.as_ref().map(choice(STRATEGIES));
    let known = strategy.flatten();
    let data = data(root.table("data"));
    let backbone = backbone(root.table("backbone"));
    let head = head(root.table("head"), known);
    let loss = loss(root.table("loss"));
    let phases = match (known, root.field("phases")) {
        (Some(strategy), None) => Some(strategy.phases()),
        (_, Some(field)) => phases(&field, &known.map_or(Selection::None, Strategy::unfreeze)),
        (None, None) => root.required("phases", EXAMPLE_PHASE, |_| None),
    };
    if let (Some(strategy), Some(field), Some(backbone), Some(phases)) = (known, &strategy_field, &backbone, &phases) {
        strategy.check(field, backbone, phases);
    }
    let callbacks =
        root.or("callbacks", Callbacks::default(), |field| callbacks(field, phases.as_deref().unwrap_or_default()));
    let checkpoint = checkpoint(root.table("checkpoint"));
    let cache = super::cache::cache(root.table("cache"));
    let rate = phases.as_ref().and_then(|phases| phases.first()).map(|phase| phase.optimizer.learning_rate());
    let from_scratch = backbone.as_ref().is_some_and(|backbone| backbone.weights == "none");
    let gain = root.optional("transfer_gain", |field| {
        if from_scratch {
            let help = "name a weight set in `backbone.weights`, or leave `[transfer_gain]` out".to_owned();
            return field.wrong("`backbone.weights` is none, so there is no transfer to measure".to_owned(), help);
        }
        transfer_gain(field, rate)
    });
    root.finish();
    Some(Config {
        name: name?,
        seed: seed?,
        device: device?,
        kernels: kernels?,
        strategy: strategy.map_or(Some(None), |strategy| strategy.map(Some))?,
        data: data?,
        backbone: backbone?,
        head: head?,
        loss: loss?,
        phases: phases?,
        callbacks: callbacks?,
        checkpoint: checkpoint?,
        cache: cache?,
        transfer_gain: gain?,
    })
}

/// Whether a character cannot be part of a folder's name everywhere, or does not show what it is.
fn no_name(c: char) -> bool {
    !injerto_files::is_plain(c) || "/\\:*?\"<>|".contains(c)
}

/// What an experiment is called by default: its file's name without the ending, as far as [`run_name`] allows it.
pub(super) fn name_of_file(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = stem.trim_start_matches('.').replace(no_name, "-").replace(char::REPLACEMENT_CHARACTER, "-");
    if name.trim().is_empty() { "experiment".to_owned() } else { name }
}

/// A name that can be part of a folder's name everywhere.
fn run_name(field: &Field<'_>) -> Option<String> {
    let name = text(field)?;
    if name.contains(no_name) || name.starts_with('.') {
        return field.must_be("a name that a folder can have", "use letters, digits, `-` and `_`".to_owned());
    }
    Some(name)
}

fn data(mut s: Section<'_>) -> Option<DataConfig> {
    let images = images(&mut s);
    let image_size = s.optional("image_size", pair("[height, width], such as [160, 160]", count(MAX_SIDE)));
    let batch_size = s.or("batch_size", 32, count(65_536));
    let drawn = matches!(images, Some(Images::Drawn { .. }));
    let validation_split = s.optional("validation_split", |field| {
        if drawn {
            let message = format!("`{}` does nothing beside `data.generated`", field.path);
            return field.wrong(message, "set `data.validation_per_class`".to_owned());
        }
        number("a number between 0 and 1", |part| part > 0.0 && part < 1.0)(field)
    });
    let layout = s.optional("layout", |field| {
        if drawn {
            let message = format!("`{}` does nothing beside `data.generated`", field.path);
            return field.wrong(message, "leave it out".to_owned());
        }
        choice(LAYOUTS)(field)
    });
    let crop_to_aspect_ratio = s.or("crop_to_aspect_ratio", false, boolean);
    let interpolation = s.optional("interpolation", choice(INTERPOLATIONS));
    let on_corrupt = s.or("on_corrupt", OnCorrupt::Error, choice(ON_CORRUPT));
    let exif_orientation = s.or("exif_orientation", Orientation::Ignore, choice(EXIF_ORIENTATION));
    let scaled_decoding = s.or("scaled_decoding", false, boolean);
    let shuffle = s.or("shuffle", true, boolean);
    let augmenting = augmenting(&mut s);
    s.finish();
    let augmenting = augmenting?;
    Some(DataConfig {
        images: images?,
        image_size: image_size?,
        batch_size: batch_size?,
        validation_split: validation_split?,
        layout: layout?,
        crop_to_aspect_ratio: crop_to_aspect_ratio?,
        interpolation: interpolation?,
        on_corrupt: on_corrupt?,
        exif_orientation: exif_orientation?,
        scaled_decoding: scaled_decoding?,
        shuffle: shuffle?,
        augment: augmenting.augment,
        mixup: augmenting.mixup,
        cutmix: augmenting.cutmix,
        cached_views: augmenting.cached_views,
    })
}

fn images(s: &mut Section<'_>) -> Option<Images> {
    let generated = s.field("generated");
    let counts = [s.field("train_per_class"), s.field("validation_per_class")];
    let Some(generated) = generated else {
        for field in counts.into_iter().flatten() {
            let help = "images in folders are as many as there are; leave it out".to_owned();
            field.wrong::<()>(format!("`{}` does nothing without `data.generated`", field.path), help);
        }
        let example = "`root = \"path/to/images\"`, a folder with one sub-folder a class";
        let path = |field: &Field<'_>| text(field).map(|path| injerto_files::from_text(&path));
        return s.required("root", example, one_or_more(path)).map(|root| Images::Folder { root });
    };
    if let Some(root) = s.field("root") {
        let message = "`data.root` and `data.generated` exclude each other".to_owned();
        root.wrong::<()>(message, "images are either read or drawn: keep one of the two".to_owned());
        return None;
    }
    let [train, validation] = counts.map(|field| field.map(|field| count(MAX_COUNT)(&field)));
    let generated = choice(GENERATED)(&generated);
    let (train_per_class, validation_per_class) = (train.unwrap_or(Some(100))?, validation.unwrap_or(Some(50))?);
    Some(Images::Drawn { generated: generated?, train_per_class, validation_per_class })
}

fn backbone(mut s: Section<'_>) -> Option<BackboneConfig> {
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
    let preprocessing = s.optional("preprocessing", choice(INPUT_SCALES));
    s.finish();
    Some(BackboneConfig {
        plugin: plugin?,
        weights: weights?,
        parameters: parameters?,
        last_layer: last_layer?,
        preprocessing: preprocessing?,
    })
}

fn head(mut s: Section<'_>, strategy: Option<Strategy>) -> Option<HeadConfig> {
    let pooling = s.or("pooling", Pooling::Avg, choice(POOLING));
    let batch_norm = s.or("batch_norm", false, boolean);
    let dense = s.or("dense", strategy.map(Strategy::dense).unwrap_or_default(), list(hidden));
    let dropout = s.or("dropout", 0.0, number("a number from 0 to below 1", |rate| (0.0..1.0).contains(&rate)));
    let units = s.optional("units", count(MAX_COUNT));
    let activation = s.optional("activation", choice(OUTPUT_ACTIVATIONS));
    s.finish();
    Some(HeadConfig {
        pooling: pooling?,
        batch_norm: batch_norm?,
        dense: dense?,
        dropout: dropout?,
        units: units?,
        activation: activation?,
    })
}

/// `128`, or `{ units = 128, activation = "relu" }`.
fn hidden(field: &Field<'_>) -> Option<Hidden> {
    if field.node.table().is_none() {
        return count(MAX_COUNT)(field).map(|units| Hidden { units, activation: Activation::Relu });
    }
    let mut s = field.section()?;
    let units = s.required("units", "`units = 128`", count(MAX_COUNT));
    let activation = s.or("activation", Activation::Relu, choice(HIDDEN_ACTIVATIONS));
    s.finish();
    Some(Hidden { units: units?, activation: activation? })
}

fn loss(mut s: Section<'_>) -> Option<LossConfig> {
    let name = s.optional("name", choice(LOSSES));
    let from_logits = s.or("from_logits", false, boolean);
    let sparse = name == Some(Some(LossName::SparseCategoricalCrossentropy));
    let label_smoothing = s.or("label_smoothing", 0.0, |field| {
        let smoothing = number("a number from 0 to below 1", |part| (0.0..1.0).contains(&part))(field)?;
        if sparse && smoothing > 0.0 {
            let message = "sparse_categorical_crossentropy has no label smoothing".to_owned();
            return field.wrong(message, "set `loss.name` to \"categorical_crossentropy\"".to_owned());
        }
        Some(smoothing)
    });
    let class_weights = s.optional("class_weights", class_weights);
    s.finish();
    Some(LossConfig {
        name: name?,
        from_logits: from_logits?,
        label_smoothing: label_smoothing?,
        class_weights: class_weights?,
    })
}

fn phases(field: &Field<'_>, default: &Selection) -> Option<Vec<PhaseConfig>> {
    match &field.node.value {
        Value::Array(items) if items.is_empty() => field.must_be("a list of phases", format!("add {EXAMPLE_PHASE}")),
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
        _ => field.must_be("a list of phases", format!("add {EXAMPLE_PHASE}")),
    }
}

/// `default` is what it unfreezes where it does not say.
fn phase(field: &Field<'_>, default: &Selection) -> Option<PhaseConfig> {
    let default_name = field.path.replace("phases.", "phase-");
    let mut s = field.section()?;
    let name = s.or("name", default_name, text);
    let epochs = s.required("epochs", "`epochs = 10`", count(MAX_COUNT));
    let unfreeze = s.or("unfreeze", default.clone(), unfreeze);
    let frozen = unfreeze == Some(Selection::None);
    let batch_norm = s.or("batch_norm", BatchNorm::Frozen, |field| {
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
                s.optional("last", count(MAX_COUNT)).map(|last| last.map(Selection::Last)),
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
        Value::Integer(_) => integer(0, MAX_COUNT)(field).map(LayerRef::Index),
        _ => field.must_be("a layer's number or its name", None),
    }
}

/// A direction that makes sense for the figure: nobody looks for the worst epoch.
pub(super) fn mode_for(monitor: Option<Metric>) -> impl Fn(&Field<'_>) -> Option<Mode> {
    move |field| {
        let mode = choice(MODES)(field)?;
        match monitor.filter(|monitor| monitor.is_worse_by(mode)) {
            Some(monitor) => {
                let (name, kind) = (monitor.name(), if mode == Mode::Min { "lowest" } else { "highest" });
                let better = if mode == Mode::Min { "max" } else { "min" };
                let message = format!("`{}` would take the epoch with the {kind} {name} for the best", field.path);
                field.wrong(message, format!("set it to \"{better}\", or leave it out"))
            }
            None => Some(mode),
        }
    }
}

fn checkpoint(mut s: Section<'_>) -> Option<CheckpointConfig> {
    let monitor = s.or("monitor", Metric::ValAccuracy, choice(METRICS));
    let mode = s.or("mode", Mode::Auto, mode_for(monitor));
    let save_best_only = s.or("save_best_only", true, boolean);
    s.finish();
    Some(CheckpointConfig { monitor: monitor?, mode: mode?, save_best_only: save_best_only? })
}

fn transfer_gain(field: &Field<'_>, first_rate: Option<f64>) -> Option<TransferGainConfig> {
    let mut s = field.section()?;
    let seeds = s.or("seeds", vec![1, 2, 3], |field| {
        let seeds: Vec<u32> = one_or_more(integer(0, MAX_SEED))(field)?;
        let twice = seeds.iter().enumerate().find(|(i, seed)| seeds[..*i].contains(seed));
        match twice {
            Some((_, seed)) => field.wrong(format!("`{}` names {seed} twice", field.path), None),
            None => Some(seeds),
        }
    });
    let mut scratch = s.table("scratch");
    s.finish();
    let learning_rate = scratch.optional("learning_rate", positive());
    scratch.finish();
    // Without a first phase there is a problem already.
    let learning_rate = learning_rate?.or(first_rate)?;
    Some(TransferGainConfig { seeds: seeds?, scratch: ScratchConfig { learning_rate } })
}
