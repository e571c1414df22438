//! `data.augment`, `data.mixup`, `data.cutmix` and `data.cached_views`.

use injerto_data::augment::{Augmentation, ErasedWith, Factor, Fill, FillMode, FlipMode, Preset, Sampling};

use crate::limits;
use crate::reader::{Field, Section, choice, count, integer, list, named, not_negative, number, pair, share};
use crate::tree::Value;

const FLIP_MODES: &[(&str, FlipMode)] = &[
    ("horizontal", FlipMode::Horizontal),
    ("vertical", FlipMode::Vertical),
    ("horizontal_and_vertical", FlipMode::HorizontalAndVertical),
];
const FILL_MODES: &[(&str, FillMode)] = &[
    ("reflect", FillMode::Reflect),
    ("wrap", FillMode::Wrap),
    ("constant", FillMode::Constant),
    ("nearest", FillMode::Nearest),
];
const SAMPLINGS: &[(&str, Sampling)] = &[("bilinear", Sampling::Bilinear), ("nearest", Sampling::Nearest)];

/// What is done to training images at random.
pub(crate) struct Augmenting {
    pub augment: Vec<Augmentation>,
    pub mixup: Option<f64>,
    pub cutmix: Option<f64>,
    pub cached_views: Option<usize>,
}

/// Reads the keys of `[data]` that are about augmentation.
pub(crate) fn augmenting(s: &mut Section<'_>) -> Option<Augmenting> {
    let augment = s.or("augment", Vec::new(), |field| match &field.node.value {
        Value::String(_) => named(&Preset::ALL, Preset::name)(field).map(Preset::augmentations),
        Value::Array(_) => list(augmentation)(field),
        _ => field.must_be("\"light\", \"medium\", \"strong\" or a list of augmentations", None),
    });
    let mixup = s.optional("mixup", not_negative());
    let cutmix = s.optional("cutmix", not_negative());
    let nothing = augment.as_ref().is_some_and(Vec::is_empty);
    let mixes = [mixup, cutmix].iter().any(|alpha| alpha.flatten().is_some_and(|alpha| alpha > 0.0));
    let cached_views = s.optional("cached_views", |field| {
        let views = count(limits::VIEWS)(field)?;
        if nothing {
            let message = format!("`{}` does nothing without `data.augment`", field.path);
            return field.wrong(message, "all views of an image would be the same: leave it out".to_owned());
        }
        if mixes {
            let message = format!("`{}` keeps features, but `mixup` and `cutmix` mix pixels", field.path);
            return field.wrong(message, "leave one of them out".to_owned());
        }
        Some(views)
    });
    Some(Augmenting { augment: augment?, mixup: mixup?, cutmix: cutmix?, cached_views: cached_views? })
}

/// A layer of Keras's, or a transform of torchvision's, that changes images.
#[derive(Clone, Copy)]
enum Name {
    Flip,
    Rotation,
    Zoom,
    Translation,
    Contrast,
    Brightness,
    Crop,
    ResizedCrop,
    Jitter,
    Erasing,
    RandAugment,
    TrivialAugment,
}

const NAMES: &[(&str, Name)] = &[
    ("random_flip", Name::Flip),
    ("random_rotation", Name::Rotation),
    ("random_zoom", Name::Zoom),
    ("random_translation", Name::Translation),
    ("random_contrast", Name::Contrast),
    ("random_brightness", Name::Brightness),
    ("random_crop", Name::Crop),
    ("random_resized_crop", Name::ResizedCrop),
    ("color_jitter", Name::Jitter),
    ("random_erasing", Name::Erasing),
    ("rand_augment", Name::RandAugment),
    ("trivial_augment_wide", Name::TrivialAugment),
];

impl Name {
    /// Options that the layer cannot do without, as an example; `None` where every option has a default.
    fn needs(self) -> Option<&'static str> {
        match self {
            Self::Flip | Self::ResizedCrop | Self::Erasing | Self::RandAugment | Self::TrivialAugment => None,
            Self::Jitter => Some("brightness = 0.2, contrast = 0.2, saturation = 0.2"),
            Self::Zoom => Some("height_factor = 0.2"),
            Self::Translation => Some("height_factor = 0.1, width_factor = 0.1"),
            Self::Crop => Some("height = 128, width = 128"),
            Self::Rotation | Self::Contrast | Self::Brightness => Some("factor = 0.1"),
        }
    }

    /// The layer with the options of `s`.
    fn read(self, s: &mut Section<'_>) -> Option<Augmentation> {
        match self {
            Self::Flip => {
                let mode = s.or("mode", FlipMode::default(), choice(FLIP_MODES));
                mode.map(|mode| Augmentation::RandomFlip { mode })
            }
            Self::Rotation => {
                let factor = s.required("factor", "`factor = 0.1`: a tenth of a turn either way", signed());
                let fill = fill(s);
                Some(Augmentation::RandomRotation { factor: factor?, fill: fill? })
            }
            Self::Zoom => {
                let part =
                    || factor("a number above -1, up to 1, or a pair of them", |part| part > -1.0 && part <= 1.0);
                let height = s.required("height_factor", "`height_factor = 0.2`", part());
                let width = s.optional("width_factor", part());
                let fill = fill(s);
                Some(Augmentation::RandomZoom { height_factor: height?, width_factor: width?, fill: fill? })
            }
            Self::Translation => {
                let height = s.required("height_factor", "`height_factor = 0.1`", signed());
                let width = s.required("width_factor", "`width_factor = 0.1`", signed());
                let fill = fill(s);
                Some(Augmentation::RandomTranslation { height_factor: height?, width_factor: width?, fill: fill? })
            }
            Self::Contrast => {
                let part = factor("a number from 0 to 1, or a pair of them", |part| (0.0..=1.0).contains(&part));
                let factor = s.required("factor", "`factor = 0.2`", part)?;
                Some(Augmentation::RandomContrast { factor })
            }
            Self::Brightness => {
                let factor = s.required("factor", "`factor = 0.2`", signed())?;
                Some(Augmentation::RandomBrightness { factor })
            }
            Self::Crop => {
                let height = s.required("height", "`height = 128`", count(limits::SIDE));
                let width = s.required("width", "`width = 128`", count(limits::SIDE));
                Some(Augmentation::RandomCrop { height: height?, width: width? })
            }
            Self::ResizedCrop => {
                let scale = s.or("scale", Augmentation::CROP_SCALE, areas());
                let ratio = s.or("ratio", Augmentation::CROP_RATIO, ratios());
                Some(Augmentation::RandomResizedCrop { scale: scale?, ratio: ratio? })
            }
            Self::Jitter => {
                let part = || factor("a number of at least 0, or a pair of them", |part| part >= 0.0);
                let (brightness, contrast) = (s.optional("brightness", part()), s.optional("contrast", part()));
                let saturation = s.optional("saturation", part());
                let hue =
                    s.optional("hue", factor("a number from -0.5 to 0.5, or a pair of them", |part| part.abs() <= 0.5));
                let (brightness, contrast, saturation, hue) = (brightness?, contrast?, saturation?, hue?);
                let changes = [brightness, contrast, saturation, hue].iter().any(Option::is_some);
                if !changes {
                    let message = "color_jitter changes nothing without one of its factors".to_owned();
                    return s.wrong(message, "add brightness = 0.2".to_owned());
                }
                Some(Augmentation::ColorJitter { brightness, contrast, saturation, hue })
            }
            Self::Erasing => {
                let p = s.or("p", Augmentation::ERASED_SHARE, share());
                let scale = s.or("scale", Augmentation::ERASED_SCALE, areas());
                let ratio = s.or("ratio", Augmentation::ERASED_RATIO, ratios());
                let value = s.or("value", ErasedWith::default(), painted);
                Some(Augmentation::RandomErasing { p: p?, scale: scale?, ratio: ratio?, value: value? })
            }
            Self::RandAugment => {
                let bins = bins(s);
                let num_ops = s.or("num_ops", Augmentation::OPERATIONS, count(limits::OPERATIONS));
                let most = bins.unwrap_or(Augmentation::BINS);
                let magnitude = s.or("magnitude", Augmentation::MAGNITUDE.min(most - 1), integer(0, most as i64 - 1));
                let (interpolation, fill_value) = policy_fill(s);
                Some(Augmentation::RandAugment {
                    num_ops: num_ops?,
                    magnitude: magnitude?,
                    num_magnitude_bins: bins?,
                    interpolation: interpolation?,
                    fill_value: fill_value?,
                })
            }
            Self::TrivialAugment => {
                let bins = bins(s);
                let (interpolation, fill_value) = policy_fill(s);
                let (num_magnitude_bins, interpolation, fill_value) = (bins?, interpolation?, fill_value?);
                Some(Augmentation::TrivialAugmentWide { num_magnitude_bins, interpolation, fill_value })
            }
        }
    }
}

/// `"random_flip"` where every option has a default, or `{ name = "random_rotation", factor = 0.1 }`.
fn augmentation(field: &Field<'_>) -> Option<Augmentation> {
    let (mut s, name) = match &field.node.value {
        Value::String(name) => {
            let known = choice(NAMES)(field)?;
            if let Some(example) = known.needs() {
                let whose = if let Name::Jitter = known { "torchvision's transform" } else { "the Keras layer" };
                let help = format!("write {{ name = {name:?}, {example} }}, with the options of {whose}");
                return field.wrong(format!("`{}` needs its options", field.path), help);
            }
            (Section::of_name(field.problems), known)
        }
        _ => {
            let mut s = field.section()?;
            // Which other keys there are depends on the name, so a wrong or missing one ends the reading.
            let Some(name) = s.field("name") else {
                return field.wrong(format!("`{}` has no `name`", field.path), "add name = \"random_flip\"".to_owned());
            };
            let name = choice(NAMES)(&name)?;
            (s, name)
        }
    };
    let read = name.read(&mut s);
    s.finish();
    read
}

fn signed() -> impl Fn(&Field<'_>) -> Option<Factor> {
    factor("a number from -1 to 1, or a pair of them", |part| (-1.0..=1.0).contains(&part))
}

/// Range of a share of the image's area.
fn areas() -> impl Fn(&Field<'_>) -> Option<[f64; 2]> {
    range("two numbers above 0, up to 1, the smaller one first", |share| share > 0.0 && share <= 1.0)
}

/// Range of a quotient of sides.
fn ratios() -> impl Fn(&Field<'_>) -> Option<[f64; 2]> {
    range("two numbers from 0.01 to 100, the smaller one first", |ratio| (0.01..=100.0).contains(&ratio))
}

fn range(expected: &'static str, holds: fn(f64) -> bool) -> impl Fn(&Field<'_>) -> Option<[f64; 2]> {
    move |field| match pair(expected, number(expected, holds))(field)? {
        [lower, upper] if lower <= upper => Some([lower, upper]),
        _ => field.must_be(expected, None),
    }
}

/// What a box is painted with.
fn painted(field: &Field<'_>) -> Option<ErasedWith> {
    match &field.node.value {
        Value::String(_) => choice(&[("random", ErasedWith::Random)])(field),
        _ => level("\"random\" or a number from 0 to 255")(field).map(ErasedWith::Value),
    }
}

fn bins(s: &mut Section<'_>) -> Option<usize> {
    s.or("num_magnitude_bins", Augmentation::BINS, integer(2, limits::OPERATIONS))
}

/// How a policy fills: torchvision's nearest pixels and black.
fn policy_fill(s: &mut Section<'_>) -> (Option<Sampling>, Option<f64>) {
    let interpolation = s.or("interpolation", Sampling::Nearest, choice(SAMPLINGS));
    (interpolation, s.or("fill_value", 0.0, level("a number from 0 to 255")))
}

fn level(expected: &'static str) -> impl Fn(&Field<'_>) -> Option<f64> {
    number(expected, |value| (0.0..=255.0).contains(&value))
}

fn fill(s: &mut Section<'_>) -> Option<Fill> {
    let fill_mode = s.or("fill_mode", FillMode::default(), choice(FILL_MODES));
    let interpolation = s.or("interpolation", Sampling::default(), choice(SAMPLINGS));
    let fill_value = s.or("fill_value", 0.0, level("a number from 0 to 255"));
    Some(Fill { fill_mode: fill_mode?, interpolation: interpolation?, fill_value: fill_value? })
}

/// One number for both directions, or the two ends.
fn factor(expected: &'static str, holds: fn(f64) -> bool) -> impl Fn(&Field<'_>) -> Option<Factor> {
    move |field| match &field.node.value {
        Value::Array(_) => pair(expected, number(expected, holds))(field).map(Factor::Range),
        _ => number(expected, holds)(field).map(Factor::Symmetric),
    }
}
