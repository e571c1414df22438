//! `[data]`: the images.

use std::collections::BTreeMap;
use std::path::PathBuf;

use injerto_data::decode::Orientation;
use injerto_data::folder::{ClassColumns, Column, FolderWord, Grouping, Labels, Layout, ListFiles, Lists};
use injerto_data::generated::Task;
use injerto_data::{ClassSampling, OnCorrupt};
use injerto_graph::Interpolation;

use crate::augment::augmenting;
use crate::forms::Kind;
use crate::kinds::OnLeak;
use crate::limits;
use crate::reader::{Field, Section, boolean, choice, count, named, not_negative, number, one_or_more, pair, text};
use crate::tree::Value;
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
    let remote = remote(&mut s);
    let images = images(&mut s, matches!(remote, Some((Some(_), _))));
    let image_size = s.optional("image_size", pair("[height, width], such as [160, 160]", count(limits::SIDE)));
    let batch_size = s.or("batch_size", 32, count(limits::BATCH));
    let instead = match images {
        Some(Images::Drawn { .. }) => Some("`data.generated`"),
        Some(Images::Features { .. }) => Some("`data.features`"),
        Some(Images::Folder { .. }) | None => None,
    };
    let split = division(&mut s, instead);
    let crop_to_aspect_ratio = s.or("crop_to_aspect_ratio", false, boolean);
    let interpolation = s.optional("interpolation", choice(INTERPOLATIONS));
    let on_corrupt = s.or("on_corrupt", OnCorrupt::Error, choice(ON_CORRUPT));
    let on_leak = s.or("on_leak", OnLeak::Warn, named(&OnLeak::ALL, OnLeak::name));
    let exif_orientation = s.or("exif_orientation", Orientation::Ignore, choice(EXIF_ORIENTATION));
    let scaled_decoding = s.or("scaled_decoding", false, scaled);
    let shuffle = s.or("shuffle", true, boolean);
    let sampling = s.or("sampling", ClassSampling::Natural, |field| {
        let sampling = named(&ClassSampling::ALL, ClassSampling::name)(field)?;
        if sampling == ClassSampling::Balanced && shuffle == Some(false) {
            let message =
                format!("`{}` = \"balanced\" draws images, but `data.shuffle` = false keeps their order", field.path);
            return field.wrong(message, "leave one of them out".to_owned());
        }
        Some(sampling)
    });
    let augmenting = augmenting(&mut s);
    s.finish();
    let (augmenting, division, (url, sha256)) = (augmenting?, split?, remote?);
    Some(DataConfig {
        images: images?,
        url,
        sha256,
        image_size: image_size?,
        batch_size: batch_size?,
        validation_split: division.validation_split,
        test_split: division.test_split,
        stratify: division.stratify,
        group: division.group,
        split: division.split,
        layout: division.layout,
        labels: division.labels,
        multi_label: division.multi_label,
        crop_to_aspect_ratio: crop_to_aspect_ratio?,
        interpolation: interpolation?,
        on_corrupt: on_corrupt?,
        on_leak: on_leak?,
        exif_orientation: exif_orientation?,
        scaled_decoding: scaled_decoding?,
        shuffle: shuffle?,
        sampling: sampling?,
        augment: augmenting.augment,
        mixup: augmenting.mixup,
        cutmix: augmenting.cutmix,
        cached_views: augmenting.cached_views,
    })
}

/// `data.scaled_decoding`. Each photo is decided on by itself, so that `true` and `"auto"` are the same.
fn scaled(field: &Field<'_>) -> Option<bool> {
    field.takes(|| Kind::Boolean);
    field.takes(|| Kind::OneOf(vec!["auto"]));
    match &field.node.value {
        Value::Boolean(value) => Some(*value),
        Value::String(text) if text == "auto" => Some(true),
        _ => field.must_be("\"auto\", true or false", None),
    }
}

/// What the keys say that divide the images of a folder into training, validation and test.
struct Division {
    validation_split: Option<f64>,
    test_split: Option<f64>,
    stratify: bool,
    group: Option<Grouping>,
    split: Option<PathBuf>,
    layout: Option<Layout>,
    labels: Option<Labels>,
    multi_label: Option<bool>,
}

/// `instead` names the key of images that lie in no folder.
fn division(s: &mut Section<'_>, instead: Option<&'static str>) -> Option<Division> {
    let beside = |what: &'static str, help: &'static str, excluded: bool| {
        move |field: &Field<'_>| match excluded {
            true => field.wrong::<()>(format!("`{}` does nothing beside {what}", field.path), help.to_owned()),
            false => Some(()),
        }
    };
    let of_drawn = |help: &'static str| beside("`data.generated`", help, instead == Some("`data.generated`"));
    let of_folders = |help: &'static str| beside(instead.unwrap_or_default(), help, instead.is_some());
    let part = || number("a number above 0 and below 1", |part| part > 0.0 && part < 1.0);
    let list = s.optional("split", |field| {
        of_folders("leave it out")(field)?;
        text(field).map(|path| injerto_files::from_text(&path))
    });
    let listed = matches!(list, Some(Some(_)));
    let of_list = || beside("`data.split`, which says where each image is", "leave it out", listed);
    let validation_split = s.optional("validation_split", |field| {
        of_drawn("set `data.validation_per_class`")(field)?;
        of_list()(field)?;
        part()(field)
    });
    let held = validation_split.flatten().unwrap_or(0.0);
    let test_split = s.optional("test_split", |field| {
        of_folders("leave it out")(field)?;
        of_list()(field)?;
        let test = part()(field)?;
        if held + test >= 1.0 {
            let message = format!("`data.validation_split` and `{}` leave no images to train", field.path);
            return field.wrong(message, "their sum must be below 1".to_owned());
        }
        Some(test)
    });
    let divides = matches!(validation_split, Some(Some(_))) || matches!(test_split, Some(Some(_)));
    let stratify = s.or("stratify", false, |field| {
        let stratify = boolean(field)?;
        if stratify {
            of_drawn("leave it out")(field)?;
            of_list()(field)?;
        }
        if stratify && !divides {
            let message = format!("`{}` does nothing without a split", field.path);
            return field
                .wrong(message, "set `data.validation_split` or `data.test_split`, or leave it out".to_owned());
        }
        Some(stratify)
    });
    let group = s.optional("group", |field| {
        of_folders("leave it out")(field)?;
        grouping(field)
    });
    let labels = s.optional("labels", |field| {
        of_folders("leave it out")(field)?;
        labels(field)
    });
    let labelled = matches!(labels, Some(Some(_)));
    let multi_label = s.optional("multi_label", |field| {
        let several = boolean(field)?;
        if several && !labelled {
            let message =
                format!("`{}` does nothing without `data.labels`: a folder gives each image one class", field.path);
            return field
                .wrong(message, "name the classes of each image in a list, `data.labels = \"labels.csv\"`".to_owned());
        }
        Some(several)
    });
    let layout = s.optional("layout", |field| {
        of_folders("leave it out")(field)?;
        beside("`data.labels`, which says the class of each image", "leave it out", labelled)(field)?;
        choice(LAYOUTS)(field)
    });
    Some(Division {
        validation_split: validation_split?,
        test_split: test_split?,
        stratify: stratify?,
        group: group?,
        split: list?,
        layout: layout?,
        labels: labels?,
        multi_label: multi_label?,
    })
}

/// The path of a list, or a table with lists and their columns, or with patterns of file names.
fn labels(field: &Field<'_>) -> Option<Labels> {
    const FORMS: &str = "\"labels.csv\", { file = \"labels.csv\", path = \"image\", class = 2 }, \
                         { train = \"train.txt\", test = \"test.txt\" } or { patterns = { cats = \"cat.*.jpg\" } }";
    let path = |field: &Field<'_>| text(field).map(|path| injerto_files::from_text(&path));
    if let Value::String(_) = &field.node.value {
        return path(field).map(|file| ListFiles::One { file }.into());
    }
    if field.node.table().is_none() {
        return field.must_be(FORMS, None);
    }
    let has = |key: &str| field.has(key);
    let mut s = field.section()?;
    if has("patterns") {
        let patterns = s.required("patterns", "`patterns = { cats = \"cat.*.jpg\" }`", patterns);
        s.finish();
        return patterns.map(|patterns| Labels::Patterns { patterns });
    }
    let files = if has("file") {
        s.required("file", "`file = \"labels.csv\"`", path).map(|file| ListFiles::One { file })
    } else if has("train") {
        let train = s.required("train", "`train = \"train.txt\"`", path);
        let (validation, test) = (s.optional("validation", path), s.optional("test", path));
        match (train, validation, test) {
            (Some(train), Some(validation), Some(test)) => Some(ListFiles::Parts { train, validation, test }),
            _ => None,
        }
    } else {
        return field.must_be(FORMS, None);
    };
    let (path, class) = (s.optional("path", column), s.optional("class", classes));
    let separator = s.optional("separator", |field| {
        field.takes(|| Kind::Text);
        match &field.node.value {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            _ => field.must_be("what stands between the classes of an image, such as \";\"", None),
        }
    });
    let (split, group) = (s.optional("split", column), s.optional("group", column));
    s.finish();
    Some(Labels::Lists(Lists {
        files: files?,
        path: path?,
        class: class?,
        separator: separator?,
        split: split?,
        group: group?,
    }))
}

/// The column of the classes, or a list of columns that stand for one class each.
fn classes(field: &Field<'_>) -> Option<ClassColumns> {
    match &field.node.value {
        Value::Array(_) => one_or_more(column)(field).map(ClassColumns::Each),
        _ => column(field).map(ClassColumns::One),
    }
}

/// A column by its name, or by its place from 1.
fn column(field: &Field<'_>) -> Option<Column> {
    match &field.node.value {
        Value::Integer(_) => count(limits::COUNT)(field).map(Column::Place),
        Value::String(_) => text(field).map(Column::Name),
        _ => field.must_be("the name of a column, or its place from 1", None),
    }
}

/// Classes with the patterns of their files.
fn patterns(field: &Field<'_>) -> Option<BTreeMap<String, Vec<String>>> {
    let pattern = |field: &Field<'_>| {
        let pattern = text(field)?;
        match Labels::check_pattern(&pattern) {
            Ok(()) => Some(pattern),
            Err(reason) => field.wrong(format!("`{}` is not a pattern: {reason}", field.path), None),
        }
    };
    let Some(entries) = field.node.table().filter(|entries| !entries.is_empty()) else {
        return field.must_be("a table of classes with their patterns", None);
    };
    let each = entries.iter().map(|entry| {
        let patterns = one_or_more(pattern)(&field.child(&entry.key, &entry.node))?;
        Some((entry.key.clone(), patterns))
    });
    each.collect()
}

/// `"folder"`, or a table with what tells the groups apart.
fn grouping(field: &Field<'_>) -> Option<Grouping> {
    const FORMS: &str = "\"folder\", { pattern = '^(patient\\d+)' }, { exif_seconds = 60 } or { csv = \"patients.csv\", column = \"patient\" }";
    if let Value::String(word) = &field.node.value {
        field.takes(|| Kind::OneOf(vec!["folder"]));
        return match word == "folder" {
            true => Some(Grouping::Folder(FolderWord::Folder)),
            false => field.must_be(FORMS, None),
        };
    }
    if field.node.table().is_none() {
        return field.must_be(FORMS, None);
    }
    let has = |key: &str| field.has(key);
    let mut s = field.section()?;
    let group = if has("pattern") {
        let pattern = s.required("pattern", "`pattern = '^(patient\\d+)'`", |field| {
            let pattern = text(field)?;
            match Grouping::regex(&pattern) {
                Ok(_) => Some(pattern),
                Err(reason) => field.wrong(format!("`{}` is not a regular expression: {reason}", field.path), None),
            }
        });
        pattern.map(|pattern| Grouping::Pattern { pattern })
    } else if has("exif_seconds") {
        let seconds = s.required("exif_seconds", "`exif_seconds = 60`", not_negative());
        seconds.map(|exif_seconds| Grouping::ExifSeconds { exif_seconds })
    } else if has("csv") || has("column") {
        let csv = s.required("csv", "`csv = \"patients.csv\"`", text);
        let column = s.required("column", "`column = \"patient\"`, the column that holds the groups", text);
        let file_column = s.optional("file_column", text);
        match (csv, column, file_column) {
            (Some(csv), Some(column), Some(file_column)) => {
                Some(Grouping::Csv { csv: injerto_files::from_text(&csv), column, file_column })
            }
            _ => None,
        }
    } else {
        return field.must_be(FORMS, None);
    };
    s.finish();
    group
}

/// The address of an archive of images, and its hash.
fn remote(s: &mut Section<'_>) -> Option<(Option<String>, Option<String>)> {
    let drawn = s.field("generated").is_some();
    let url = s.optional("url", |field| {
        let url = text(field)?;
        if drawn {
            let message = format!("`{}` and `data.generated` exclude each other", field.path);
            return field.wrong(message, "images are either read or drawn: keep one of the two".to_owned());
        }
        match url.starts_with("https://") || url.starts_with("http://") {
            true => Some(url),
            false => field.must_be("an address that begins with https://", "name a folder with `data.root`".to_owned()),
        }
    });
    let has_url = matches!(url, Some(Some(_)));
    let sha256 = s.optional("sha256", |field| {
        let hash = text(field)?;
        if !has_url {
            return field.wrong(format!("`{}` does nothing without `data.url`", field.path), "leave it out".to_owned());
        }
        match hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => Some(hash.to_ascii_lowercase()),
            false => field.must_be("a SHA-256 of 64 hexadecimal digits", None),
        }
    });
    Some((url?, sha256?))
}

fn images(s: &mut Section<'_>, has_url: bool) -> Option<Images> {
    let path = |field: &Field<'_>| text(field).map(|path| injerto_files::from_text(&path));
    let other = ["root", "generated", "url"].into_iter().find(|key| s.field(key).is_some());
    let features = s.optional("features", |field| {
        let folders = one_or_more(path)(field)?;
        if let Some(other) = other {
            let message = format!("`data.{other}` and `{}` exclude each other", field.path);
            return field.wrong(message, "take either photos or their features: keep one of the two".to_owned());
        }
        Some(folders)
    })?;
    if let Some(features) = features {
        return Some(Images::Features { features });
    }
    let generated = s.field("generated");
    let counts = [s.field("train_per_class"), s.field("validation_per_class")];
    let Some(generated) = generated else {
        for field in counts.into_iter().flatten() {
            let help = "images in folders are as many as there are; leave it out".to_owned();
            field.wrong::<()>(format!("`{}` does nothing without `data.generated`", field.path), help);
        }
        let example = "`root = \"path/to/images\"`, a folder with one sub-folder per class";
        if has_url {
            let root = s.optional("root", one_or_more(path))?;
            return Some(Images::Folder { root: root.unwrap_or_default() });
        }
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
