//! `data.augment`, `data.mixup`, `data.cutmix` and `data.cached_views`.

use injerto_data::augment::{Augmentation, Factor, Fill, FillMode, FlipMode, Sampling};

use crate::limits;
use crate::reader::{Field, Section, choice, count, list, not_negative, number, pair};
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
    let augment = s.or("augment", Vec::new(), list(augmentation));
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

/// A layer of Keras's that changes images.
#[derive(Clone, Copy)]
enum Name {
    Flip,
    Rotation,
    Zoom,
    Translation,
    Contrast,
    Brightness,
    Crop,
}

const NAMES: &[(&str, Name)] = &[
    ("random_flip", Name::Flip),
    ("random_rotation", Name::Rotation),
    ("random_zoom", Name::Zoom),
    ("random_translation", Name::Translation),
    ("random_contrast", Name::Contrast),
    ("random_brightness", Name::Brightness),
    ("random_crop", Name::Crop),
];

impl Name {
    /// Options that the layer cannot do without, as an example; `None` where every option has a default.
    fn needs(self) -> Option<&'static str> {
        match self {
            Self::Flip => None,
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
        }
    }
}

/// `"random_flip"` where every option has a default, or `{ name = "random_rotation", factor = 0.1 }`.
fn augmentation(field: &Field<'_>) -> Option<Augmentation> {
    let (mut s, name) = match &field.node.value {
        Value::String(name) => {
            let known = choice(NAMES)(field)?;
            if let Some(example) = known.needs() {
                let help = format!("write {{ name = {name:?}, {example} }}, with the options of the Keras layer");
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

fn fill(s: &mut Section<'_>) -> Option<Fill> {
    let fill_mode = s.or("fill_mode", FillMode::default(), choice(FILL_MODES));
    let interpolation = s.or("interpolation", Sampling::default(), choice(SAMPLINGS));
    let fill_value = s.or("fill_value", 0.0, number("a number from 0 to 255", |value| (0.0..=255.0).contains(&value)));
    Some(Fill { fill_mode: fill_mode?, interpolation: interpolation?, fill_value: fill_value? })
}

/// One number for both directions, or the two ends.
fn factor(expected: &'static str, holds: fn(f64) -> bool) -> impl Fn(&Field<'_>) -> Option<Factor> {
    move |field| match &field.node.value {
        Value::Array(_) => pair(expected, number(expected, holds))(field).map(Factor::Range),
        _ => number(expected, holds)(field).map(Factor::Symmetric),
    }
}
