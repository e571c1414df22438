//! `[data]`: the images.

use injerto_data::OnCorrupt;
use injerto_data::decode::Orientation;
use injerto_data::folder::Layout;
use injerto_data::generated::Task;
use injerto_graph::Interpolation;

use crate::augment::augmenting;
use crate::limits;
use crate::reader::{Field, Section, boolean, choice, count, named, number, one_or_more, pair, text};
use crate::values::{DataConfig, Images};

const INTERPOLATIONS: &[(&str, Interpolation)] = &[
    ("bilinear", Interpolation::Bilinear),
    ("nearest", Interpolation::Nearest),
    ("bicubic", Interpolation::Bicubic),
    ("area", Interpolation::Area),
];
const LAYOUTS: &[(&str, Layout)] = &[("auto", Layout::Auto), ("classes", Layout::Classes)];
const ON_CORRUPT: &[(&str, OnCorrupt)] = &[("error", OnCorrupt::Error), ("skip", OnCorrupt::Skip)];
const EXIF_ORIENTATION: &[(&str, Orientation)] = &[("ignore", Orientation::Ignore), ("apply", Orientation::Apply)];

pub(crate) fn data(mut s: Section<'_>) -> Option<DataConfig> {
    let images = images(&mut s);
    let image_size = s.optional("image_size", pair("[height, width], such as [160, 160]", count(limits::SIDE)));
    let batch_size = s.or("batch_size", 32, count(limits::BATCH));
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
        let example = "`root = \"path/to/images\"`, a folder with one sub-folder per class";
        let path = |field: &Field<'_>| text(field).map(|path| injerto_files::from_text(&path));
        return s.required("root", example, one_or_more(path)).map(|root| Images::Folder { root });
    };
    if let Some(root) = s.field("root") {
        let message = "`data.root` and `data.generated` exclude each other".to_owned();
        root.wrong::<()>(message, "images are either read or drawn: keep one of the two".to_owned());
        return None;
    }
    let [train, validation] = counts.map(|field| field.map(|field| count(limits::COUNT)(&field)));
    let generated = named(&Task::ALL, Task::name)(&generated);
    let (train_per_class, validation_per_class) = (train.unwrap_or(Some(100))?, validation.unwrap_or(Some(50))?);
    Some(Images::Drawn { generated: generated?, train_per_class, validation_per_class })
}
