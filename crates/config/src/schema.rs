//! The whole file: its tables, the keys at the top, and what two tables say together.

use std::path::Path;

use injerto_data::ClassSampling;
use injerto_graph::Selection;
use injerto_recipe::{Callbacks, Distillation, FeaturePrecision};

use crate::callbacks::{callbacks, checkpoint};
use crate::data::data;
use crate::diagnostic::Problems;
use crate::kinds::{ClassWeights, Device, Precision, Strategy};
use crate::network::{backbone, head, loss};
use crate::phases::{EXAMPLE, phases};
use crate::reader::{Field, Section, boolean, choice, integer, named, one_or_more, positive, share, text};
use crate::sweep::sweep;
use crate::tree::Node;
use crate::values::{CacheConfig, Config, DistillConfig, InsightConfig, ScratchConfig, TransferGainConfig};
use crate::{limits, strategy};

const DEVICES: &[(&str, Device)] =
    &[("flex", Device::Flex), ("cpu", Device::Flex), ("wgpu", Device::Wgpu), ("cuda", Device::Cuda)];
const PRECISIONS: &[(&str, FeaturePrecision)] =
    &[("f32", FeaturePrecision::F32), ("f16", FeaturePrecision::F16), ("bf16", FeaturePrecision::BF16)];

/// The whole file.
pub(crate) fn experiment(document: &Node, stem: &str, problems: &Problems) -> Option<Config> {
    let mut root = Section::root(document.table()?, problems);
    let name = root.or("name", stem.to_owned(), run_name);
    let seed = root.or("seed", crate::Config::SEED, integer(0, limits::SEED));
    let device = root.or("device", Device::Flex, choice(DEVICES));
    let kernels = root.or("kernels", true, boolean);
    let strategy_field = root.field("strategy");
    let strategy = strategy_field.as_ref().map(named(&Strategy::ALL, Strategy::name));
    let known = strategy.flatten();
    let data = data(root.table("data"));
    let backbone = backbone(root.table("backbone"));
    if let (Some(backbone), Some(device), Some(kernels)) = (&backbone, device, kernels)
        && device == Device::Flex
        && let Some(field) = root.field("backbone")
    {
        let problem = match backbone.precision {
            Precision::Bf16 if !kernels => {
                Some(("in which the CPU computes only with the project's kernels", "or take `kernels = true`"))
            }
            Precision::F16 => Some(("in which only a GPU computes", "or take \"bf16\"")),
            Precision::F32 | Precision::Bf16 | Precision::Auto => None,
        };
        if let Some((reason, instead)) = problem {
            let message = format!("`backbone.precision` is \"{}\", {reason}", backbone.precision.name());
            field.wrong::<()>(message, format!("leave it out, {instead}"));
        }
    }
    let head = head(root.table("head"), known);
    let loss = loss(root.table("loss"));
    if let (Some(data), Some(loss), Some(field)) = (&data, &loss, root.field("loss"))
        && data.sampling == ClassSampling::Balanced
        && loss.class_weights == Some(ClassWeights::Balanced)
    {
        let message =
            "`data.sampling` and `loss.class_weights` are both \"balanced\", so rare classes would count twice";
        field.wrong::<()>(message.to_owned(), "leave one of them out".to_owned());
    }
    let distill = root.optional("distill", distill);
    let phases = match (known, root.field("phases")) {
        (Some(strategy), None) => Some(strategy::phases(strategy)),
        (_, Some(field)) => phases(&field, &known.map_or(Selection::None, strategy::unfreeze)),
        (None, None) => root.required("phases", EXAMPLE, |_| None),
    };
    if let (Some(strategy), Some(field), Some(backbone), Some(phases)) = (known, &strategy_field, &backbone, &phases) {
        strategy::check(strategy, field, backbone, phases);
    }
    let callbacks =
        root.or("callbacks", Callbacks::default(), |field| callbacks(field, phases.as_deref().unwrap_or_default()));
    let checkpoint = checkpoint(root.table("checkpoint"));
    let cache = cache(root.table("cache"));
    let insight = insight(root.table("insight"));
    let rate = phases.as_ref().and_then(|phases| phases.first()).map(|phase| phase.optimizer.rule.learning_rate());
    let from_scratch = backbone.as_ref().is_some_and(|backbone| backbone.weights == "none");
    let gain = root.optional("transfer_gain", |field| {
        if from_scratch {
            let help = "name a weight set in `backbone.weights`, or leave `[transfer_gain]` out".to_owned();
            return field.wrong("`backbone.weights` is none, so there is no transfer to measure".to_owned(), help);
        }
        transfer_gain(field, rate)
    });
    let sweep = root.optional("sweep", sweep);
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
        distill: distill?,
        phases: phases?,
        callbacks: callbacks?,
        checkpoint: checkpoint?,
        cache: cache?,
        insight: insight?,
        transfer_gain: gain?,
        sweep: sweep?,
    })
}

/// Whether a character cannot be part of a folder's name everywhere, or does not show what it is.
fn no_name(c: char) -> bool {
    !injerto_files::is_plain(c) || "/\\:*?\"<>|".contains(c)
}

/// What an experiment is called by default: its file's name without the ending, as far as [`run_name`] allows it.
pub(crate) fn name_of_file(path: &Path) -> String {
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

/// `[cache]`.
fn cache(mut s: Section<'_>) -> Option<CacheConfig> {
    let keep = s.or("keep", true, boolean);
    let precision = s.or("precision", FeaturePrecision::default(), choice(PRECISIONS));
    let memory_mb = s.or("memory_mb", 256, integer(0, limits::MEBIBYTES));
    let images_mb = s.or("images_mb", 0, integer(0, limits::MEBIBYTES));
    let photos_mb = s.or("photos_mb", 4096, integer(0, limits::MEBIBYTES));
    s.finish();
    Some(CacheConfig {
        keep: keep?,
        precision: precision?,
        memory_mb: memory_mb?,
        images_mb: images_mb?,
        photos_mb: photos_mb?,
    })
}

/// `[insight]`.
fn insight(mut s: Section<'_>) -> Option<InsightConfig> {
    let probe = s.or("probe", true, boolean);
    let more_photos = s.or("more_photos", false, boolean);
    let knowledge = s.or("knowledge", true, boolean);
    s.finish();
    Some(InsightConfig { probe: probe?, more_photos: more_photos?, knowledge: knowledge? })
}

/// `[distill]`.
fn distill(field: &Field<'_>) -> Option<DistillConfig> {
    let mut s = field.section()?;
    let own = Distillation::default();
    let teacher = s.required("teacher", "`teacher = \"runs/NAME\"`, the folder of a finished run", text);
    let temperature = s.or("temperature", own.temperature, positive());
    let alpha = s.or("alpha", own.alpha, share());
    s.finish();
    let teacher = injerto_files::from_text(&teacher?);
    Some(DistillConfig { teacher, distillation: Distillation { temperature: temperature?, alpha: alpha? } })
}

/// `[transfer_gain]`; `first_rate` is the first phase's learning rate.
fn transfer_gain(field: &Field<'_>, first_rate: Option<f64>) -> Option<TransferGainConfig> {
    let mut s = field.section()?;
    let seeds = s.or("seeds", vec![1, 2, 3], |field| {
        let seeds: Vec<u32> = one_or_more(integer(0, limits::SEED))(field)?;
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
