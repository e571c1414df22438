//! Image folders: one sub-folder a class.

use std::path::{Path, PathBuf};

use rand_mt::Mt;

use crate::{DataError, Dataset, Origin, Sample};

/// Endings of files that are taken for images, in lower case. Keras's, and `.webp`, which it leaves out: a folder with
/// such files is split otherwise than there.
pub const EXTENSIONS: [&str; 6] = [".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"];

/// Names that the two halves of a ready-made split go by.
const TRAINING: [&str; 2] = ["train", "training"];
const VALIDATION: [&str; 4] = ["validation", "val", "valid", "test"];

/// Training and validation images of a root folder.
///
/// A root with `train` and `validation` (or `val`, `valid`, `test`) folders is taken as it is. Any other root holds the
/// classes themselves: it is split with `validation_split` and `seed` into the same files as
/// `keras.utils.image_dataset_from_directory` does, or, without `validation_split`, all used for training.
///
/// # Errors
/// A root that is missing or has no classes, classes without images, a split that leaves one side empty.
pub fn open(root: &Path, validation_split: Option<f64>, seed: u32) -> Result<(Dataset, Option<Dataset>), DataError> {
    if !root.is_dir() {
        return Err(DataError::NoFolder { path: root.to_owned() });
    }
    let half = |names: &[&str]| names.iter().map(|name| root.join(name)).find(|path| path.is_dir());
    if let (Some(training), validation) = (half(&TRAINING), half(&VALIDATION)) {
        let training = scan(&training)?;
        let validation = validation.map(|folder| scan(&folder)).transpose()?;
        if let Some(other) = validation.as_ref().filter(|other| other.classes != training.classes) {
            return Err(DataError::ClassesDiffer {
                path: root.to_owned(),
                training: training.classes,
                validation: other.classes.clone(),
            });
        }
        return Ok((training, validation));
    }
    let all = scan(root)?;
    match validation_split {
        Some(fraction) => split(all, fraction, seed).map(|(training, validation)| (training, Some(validation))),
        None => Ok((all, None)),
    }
}

/// All images under `root`: classes are its sub-folders in the order of their names' bytes (Python's `sorted`); each is
/// searched in depth, folders and files in the same order. Sub-folders whose names begin with a dot are no classes.
///
/// # Errors
/// A folder that cannot be read, no classes, a class without images.
pub fn scan(root: &Path) -> Result<Dataset, DataError> {
    let mut classes: Vec<String> = Vec::new();
    for entry in list(root)? {
        if entry.is_dir() {
            let name = entry.file_name().and_then(|name| name.to_str());
            classes.extend(name.filter(|name| !name.starts_with('.')).map(str::to_owned));
        }
    }
    if classes.is_empty() {
        return Err(DataError::NoClasses { path: root.to_owned() });
    }
    let mut samples = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let before = samples.len();
        let files = files(&root.join(class))?;
        samples.extend(files.into_iter().map(|path| Sample { origin: Origin::File(path), label: label as u32 }));
        if samples.len() == before {
            return Err(DataError::EmptyClass { path: root.join(class), class: class.clone() });
        }
    }
    Ok(Dataset { classes, samples })
}

/// Entries of a folder, sorted.
fn list(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let unreadable =
        |error: std::io::Error| DataError::Unreadable { path: folder.to_owned(), reason: error.to_string() };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}

/// Images in a folder and its sub-folders. Python sorts the folders by their whole path, and the files in each.
fn files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let (mut folders, mut waiting) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = waiting.pop() {
        let entries = list(&folder)?;
        // Links to folders are not followed: they can lead round in circles.
        waiting.extend(entries.iter().filter(|path| path.is_dir() && !path.is_symlink()).cloned());
        folders.push((folder.into_os_string(), entries));
    }
    folders.sort();
    let images = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_lowercase();
        EXTENSIONS.iter().any(|extension| name.ends_with(extension)) && path.is_file()
    };
    Ok(folders.into_iter().flat_map(|(_, entries)| entries).filter(images).collect())
}

/// Splits as Keras does with this `seed`: paths shuffled by NumPy's generator, the last `int(fraction * n)` for
/// validation.
///
/// # Errors
/// [`DataError::Split`], if a side would be empty.
pub fn split(dataset: Dataset, fraction: f64, seed: u32) -> Result<(Dataset, Dataset), DataError> {
    let Dataset { classes, mut samples } = dataset;
    let held = (fraction * samples.len() as f64) as usize;
    let training = samples.len().saturating_sub(held);
    if !(fraction > 0.0 && fraction < 1.0) || held == 0 || training == 0 {
        return Err(DataError::Split { fraction, training, validation: held });
    }
    shuffle(&mut samples, seed);
    let validation = samples.split_off(training);
    Ok((Dataset { classes: classes.clone(), samples }, Dataset { classes, samples: validation }))
}

/// `numpy.random.RandomState(seed).shuffle`: Fisher and Yates from the end, each draw by masked rejection.
fn shuffle<T>(items: &mut [T], seed: u32) {
    let mut random = Mt::new(seed);
    for last in (1..items.len()).rev() {
        let mask = (last as u32 + 1).next_power_of_two().wrapping_sub(1).max(last as u32);
        let pick = loop {
            let draw = random.next_u32() & mask;
            if draw as usize <= last {
                break draw as usize;
            }
        };
        items.swap(last, pick);
    }
}
