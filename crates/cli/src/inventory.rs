//! Messages about the images before training: their numbers, the files that were left out, and warnings.

use std::collections::{BTreeMap, BTreeSet};

use injerto_config::ClassWeights;
use injerto_data::decode::Orientation;
use injerto_data::folder::{AllLeftOut, EXTENSIONS, Inventory, Reason};
use injerto_data::look::Looked;
use injerto_data::{Dataset, Skipped};
use injerto_experiment::Prepared;
use injerto_files::{listed, printable, shown};
use injerto_report::words::grouped;

/// Upper limit of the files that a list names; the others are counted.
const MOST_FILES: usize = 10;

/// The lines of the plan about the images.
pub fn lines(prepared: &Prepared) -> Vec<String> {
    let Prepared { train, validation, inventory, .. } = prepared;
    let counts = train.classes.iter().zip(train.counts());
    let counts: Vec<String> = counts.map(|(class, count)| format!("{class} {}", grouped(count))).collect();
    let count = |dataset: &Option<Dataset>| dataset.as_ref().map_or(0, |dataset| dataset.samples.len());
    let test = match count(&prepared.test) {
        0 => String::new(),
        test => format!(", {} for the test after training", grouped(test)),
    };
    let mut lines = vec![format!(
        "images     {} to train ({}), {} to validate{test}",
        grouped(train.samples.len()),
        listed(counts.iter().map(String::as_str)),
        grouped(count(validation))
    )];
    let Some(inventory) = inventory else { return lines };
    if let Some(why) = &inventory.several {
        let of_none = train.samples.iter().filter(|sample| sample.label.classes().is_empty()).count();
        let none = match of_none {
            0 => String::new(),
            count => format!("; {} of the training images have none", grouped(count)),
        };
        lines.push(format!("           an image may have several classes: {why}{none}"));
    }
    if let Some((training, validation)) = &inventory.halves {
        let validation =
            validation.as_ref().map_or(String::new(), |path| format!(", validation images from {}", shown(path)));
        let test = inventory.test.as_ref().map_or(String::new(), |path| format!(", test images from {}", shown(path)));
        lines.push(format!("           training images from {}{validation}{test}", shown(training)));
    }
    for (path, images) in &inventory.alone {
        lines.push(format!("           {} is not used ({} images)", shown(path), grouped(*images)));
    }
    lines.extend(groups(prepared).map(|line| format!("           {line}")));
    lines.extend(uneven(prepared).map(|line| format!("           {line}")));
    lines.extend(squares(prepared).map(|line| format!("           {line}")));
    lines.extend(skipped(prepared));
    lines
}

/// What `data.scaled_decoding` changes, or would change for most of the photos.
fn squares(prepared: &Prepared) -> Option<String> {
    let ((large, all), [height, width]) = (prepared.large_photos(), prepared.card.image_size());
    let large_are =
        format!("{} of {} photos are at least four times as large as {height}x{width}", grouped(large), grouped(all));
    match prepared.card.scaled_decoding {
        true if large > 0 => {
            Some(format!("{large_are}: they are resized from means of 4x4 or 8x8 pixels (data.scaled_decoding)"))
        }
        false if large * 2 > all => Some(format!(
            "{large_are}; data.scaled_decoding = \"auto\" resizes them from means of 4x4 or 8x8 pixels, and not from single pixels"
        )),
        _ => None,
    }
}

/// The lines of the plan about files that were left out or skipped.
pub fn skipped(prepared: &Prepared) -> Vec<String> {
    let Prepared { inventory, looked, .. } = prepared;
    let mut lines = Vec::new();
    let left_out = inventory.as_ref().map_or(String::new(), |inventory| left_out(&inventory.left_out));
    if !left_out.is_empty() {
        lines.push(format!("left out   {left_out}"));
    }
    if !looked.unreadable.is_empty() {
        let count = looked.unreadable.len();
        lines.push(format!(
            "skipped    {} of {} files are not readable images:",
            grouped(count),
            grouped(looked.files)
        ));
        lines.extend(files(&looked.unreadable).into_iter().map(|line| format!("           {line}")));
    }
    lines
}

/// One line per file for the first files, and a line with the number of the others.
pub fn files(skipped: &[Skipped]) -> Vec<String> {
    let line = |Skipped { origin, reason }: &Skipped| format!("{origin}: {}", printable(reason));
    let mut lines: Vec<String> = skipped.iter().take(MOST_FILES).map(line).collect();
    if skipped.len() > MOST_FILES {
        lines.push(format!("… and {} more", grouped(skipped.len() - MOST_FILES)));
    }
    lines
}

/// A line about the groups of the images; `None` if the experiment names none.
fn groups(prepared: &Prepared) -> Option<String> {
    prepared.config.data.group.as_ref()?;
    let parts = [Some(&prepared.train), prepared.validation.as_ref(), prepared.test.as_ref()];
    let groups =
        parts.into_iter().flatten().flat_map(|part| &part.samples).filter_map(|sample| sample.group.as_deref());
    let known: BTreeSet<&str> = groups.collect();
    let without = prepared.inventory.as_ref().map_or(0, |inventory| inventory.ungrouped);
    let alone = if without > 0 { format!("; {} images belong to none", grouped(without)) } else { String::new() };
    Some(format!("{} groups, none of which is divided by a split{alone}", grouped(known.len())))
}

/// A line about the classes of which the split holds out far more or far less than its fraction; `None` if there are none.
fn uneven(prepared: &Prepared) -> Option<String> {
    let (fraction, validation) = (prepared.config.data.validation_split?, prepared.validation.as_ref()?);
    if prepared.config.data.stratify {
        return None;
    }
    let (train, held) = (prepared.train.counts(), validation.counts());
    // Far means a difference of more than a third of the expected number, and of more than one image.
    let is_far = |train: usize, held: usize| {
        let expected = fraction * (train + held) as f64;
        let off = (held as f64 - expected).abs();
        off > expected / 3.0 && off > 1.0
    };
    let classes = prepared.train.classes.iter().zip(train.iter().zip(&held));
    let far: Vec<String> = classes
        .filter(|(_, (train, held))| is_far(**train, **held))
        .map(|(class, (train, held))| format!("{class} {} of {}", grouped(*held), grouped(train + held)))
        .collect();
    (!far.is_empty()).then(|| {
        format!(
            "the split is random and not balanced by class (data.stratify = true balances it): with data.validation_split = \
             {fraction}, validation gets {}",
            listed(far.iter().map(String::as_str))
        )
    })
}

/// The files and folders that were left out, in one line.
pub fn left_out(all: &AllLeftOut) -> String {
    let several =
        |count: usize, one: &str, more: &str| format!("{} {}", grouped(count), if count == 1 { one } else { more });
    let part = |(reason, count): (&Reason, usize)| match reason {
        Reason::Ending(ending) => format!("{} {}", grouped(count), printable(ending)),
        Reason::NoEnding => several(count, "file without an extension", "files without an extension"),
        Reason::Hidden => several(count, "hidden file or folder", "hidden files or folders"),
        Reason::Service => several(count, "file or folder of the system", "files or folders of the system"),
        Reason::BrokenLink => several(count, "broken link", "broken links"),
        Reason::LinkedFolder => several(count, "linked folder", "linked folders"),
        Reason::Unlabelled => several(count, "image beside the classes", "images beside the classes"),
        Reason::NotListed => several(count, "image that no list names", "images that no list names"),
        Reason::Special => several(count, "entry that is not a file", "entries that are not files"),
    };
    let parts: Vec<String> = all.iter().map(|(reason, left)| part((reason, left.count))).collect();
    listed(parts.iter().map(String::as_str))
}

/// The setting of an experiment that turns photos upright.
const TURNS: &str = "data.exif_orientation = \"apply\" turns them";

/// Warnings about images that are allowed but probably not intended.
pub fn warnings(prepared: &Prepared) -> Vec<String> {
    let Prepared { train, validation, inventory, looked, config, .. } = prepared;
    let inventory = inventory.as_ref();
    let mut warnings =
        inventory.map_or(Vec::new(), |inventory| of_files(inventory, looked, config.data.exif_orientation, TURNS));
    let without = |dataset: &Dataset| -> Vec<String> {
        let counts = dataset.classes.iter().zip(dataset.counts());
        counts.filter(|(_, count)| *count == 0).map(|(class, _)| class.clone()).collect()
    };
    warnings.extend(alike(&train.classes));
    let untrained = without(train);
    if !untrained.is_empty() {
        let weights = match &config.loss.class_weights {
            Some(ClassWeights::Balanced) => "; loss.class_weights = \"balanced\" counts each as if it had one image",
            _ => "",
        };
        warnings.push(format!(
            "{} of {} classes have no training images: {}{weights}",
            grouped(untrained.len()),
            grouped(train.classes.len()),
            listed(untrained.iter().map(String::as_str))
        ));
    }
    let unjudged = validation.as_ref().map(without).unwrap_or_default();
    if !unjudged.is_empty() {
        warnings.push(format!(
            "{} of {} classes have no validation images: {}",
            grouped(unjudged.len()),
            grouped(train.classes.len()),
            listed(unjudged.iter().map(String::as_str))
        ));
    }
    warnings
}

/// A warning about classes whose names differ only in upper and lower case, in spaces around them, or in zeros before a number.
fn alike(classes: &[String]) -> Option<String> {
    let mut known: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for class in classes {
        let name = class.trim().to_lowercase();
        let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        let name = if is_number { name.trim_start_matches('0').to_owned() } else { name };
        known.entry(name).or_default().push(class);
    }
    let alike: Vec<String> = known.values().filter(|names| names.len() > 1).map(|names| each_quoted(names)).collect();
    (!alike.is_empty()).then(|| {
        format!(
            "the names of classes differ in upper and lower case, in spaces around them or in zeros before a number alone: {}; if \
             they are one class, give it one name",
            listed(alike.iter().map(String::as_str))
        )
    })
}

/// Names in quotation marks, without which a space at an end is not seen.
fn each_quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(" and ")
}

/// What converts images with these extensions, each advice once.
fn listed_advice(endings: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for advice in endings.map(|ending| injerto_data::folder::advice(&ending)) {
        if !all.contains(&advice) {
            all.push(advice);
        }
    }
    all.join("; ")
}

/// Warnings about files that were left out, files whose names are not UTF-8, and photos that lie on their sides. `turns` is a
/// sentence that says which setting turns photos upright.
pub fn of_files(inventory: &Inventory, looked: &Looked, orientation: Orientation, turns: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let Inventory { left_out, not_utf8, .. } = inventory;
    let images: Vec<_> = left_out.iter().filter(|(reason, _)| reason.is_image()).collect();
    if !images.is_empty() {
        let name = |reason: &Reason| match reason {
            Reason::Ending(ending) => ending.clone(),
            _ => String::new(),
        };
        let parts: Vec<String> =
            images.iter().map(|(r, left)| format!("{} {}", grouped(left.count), name(r))).collect();
        warnings.push(format!(
            "images that are not read: {} (the first is {}); convert them to {}: {}",
            listed(parts.iter().map(String::as_str)),
            shown(&images[0].1.first),
            EXTENSIONS.join(", "),
            listed_advice(images.iter().map(|(reason, _)| name(reason)))
        ));
    }
    for (reason, what) in [
        (Reason::BrokenLink, "links have no target, and are left out"),
        (Reason::Unlabelled, "images lie beside the folders of the classes, and are not used"),
        (Reason::NotListed, "images are named by no list and no pattern of data.labels, and are not used"),
        (Reason::LinkedFolder, "linked folders inside classes are not followed; link the images, or move them there"),
    ] {
        if let Some(left) = left_out.get(&reason) {
            warnings.push(format!("{} {what} (the first is {})", grouped(left.count), shown(&left.first)));
        }
    }
    if *not_utf8 > 0 {
        warnings.push(format!(
            "the names of {} images or of their classes are not UTF-8; the images are used, and each byte that is not UTF-8 \
             is shown as \\xNN",
            grouped(*not_utf8)
        ));
    }
    if looked.turned > 0 && orientation == Orientation::Ignore {
        warnings.push(format!(
            "{} of {} photos were taken with the camera turned, and are used lying on their sides as Keras does; {turns}",
            grouped(looked.turned),
            grouped(looked.files)
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_whose_names_differ_in_case_spaces_or_zeros_alone_are_told() {
        let check = |classes: &[&str], expected: Option<&str>| {
            let classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
            let said = alike(&classes);
            assert_eq!(said.is_some(), expected.is_some(), "{classes:?}: {said:?}");
            assert!(said.unwrap_or_default().contains(expected.unwrap_or_default()), "{classes:?}");
        };
        check(
            &["Cats", "birds", "cats", "dogs", "dogs "],
            Some("before a number alone: 'Cats' and 'cats', 'dogs' and 'dogs ';"),
        );
        check(&["0", "00", "007", "07", "10", "a1", "a01"], Some(": '0' and '00', '007' and '07';"));
        check(&["cat", "cats", "c ats"], None);
    }
}
