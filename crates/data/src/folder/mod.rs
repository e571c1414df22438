//! Image folders: one sub-folder per class.

mod roles;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand_mt::Mt;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use self::roles::Decision;
use self::tree::Tree;
pub use self::tree::{AllLeftOut, LeftOut, Reason};
use crate::{DataError, Dataset, Sample};

/// Endings of files that are taken for images, in lower case. They are Keras's and `.webp`. Keras leaves `.webp` out, so that a
/// folder with such files is split otherwise there.
pub const EXTENSIONS: [&str; 6] = [".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"];

/// What a root's sub-folders are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// What their names and their contents say; where these do not tell, it is an error.
    #[default]
    Auto,
    /// Classes, all of them.
    Classes,
}

/// How a root becomes images to train on and images to validate by.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Options {
    /// What its sub-folders are.
    pub layout: Layout,
    /// Share of the images that is kept to validate by.
    pub validation_split: Option<f64>,
    /// Seed of the split.
    pub seed: u32,
}

/// What a root holds, and what of it was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Training images.
    pub train: Dataset,
    /// Validation images.
    pub validation: Option<Dataset>,
    /// How they were found.
    pub inventory: Inventory,
}

/// How the images of a root were found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// The folders of training and validation images, where the root is divided.
    pub halves: Option<(PathBuf, Option<PathBuf>)>,
    /// Folders with images that are neither, and how many images there are in each.
    pub alone: Vec<(PathBuf, usize)>,
    /// Files and folders that were left out.
    pub left_out: AllLeftOut,
    /// Files and folders taken although their names are not UTF-8.
    pub not_utf8: usize,
}

/// Training and validation images of a root folder.
///
/// A root with a folder of training images and one of validation images (`train` and `validation`, or other names that people
/// use, in any case) is taken as it is; `test` validates where nothing else does. Any other root holds the classes themselves.
/// Where there are no validation images of their own, `validation_split` and `seed` divide the images into the same files as
/// `keras.utils.image_dataset_from_directory` does; without `validation_split` all are for training.
///
/// Files and folders that are hidden or that file systems keep for themselves are left out at every depth. A link to an
/// image is that image. A link to a folder is followed where it stands for a class or for a half of a split; inside a class it is
/// left out, as Keras does.
///
/// # Errors
/// A root that is missing or has no classes, or of which it cannot be told what is a class; classes without images, a split
/// that leaves one side empty.
pub fn open(root: &Path, options: Options) -> Result<Folder, DataError> {
    let Options { layout, validation_split, seed } = options;
    let mut tree = root_of(root)?;
    let in_doubt = |path: &Path, reason: String| DataError::Layout { path: path.to_owned(), reason };
    let decision = match layout {
        Layout::Classes => Decision::Classes,
        Layout::Auto => {
            roles::decide(&mut tree, validation_split.is_some()).map_err(|reason| in_doubt(root, reason))?
        }
    };
    let mut inventory = Inventory::default();
    let (train, validation) = match decision {
        Decision::Classes => {
            let classes = dataset(&tree, &mut inventory)?;
            // Whatever the layout, a single class is nothing to learn.
            match roles::doubts(&tree).filter(|_| classes.classes.len() == 1) {
                Some(reason) => return Err(in_doubt(root, reason)),
                None => (classes, None),
            }
        }
        Decision::Halves { training, validation, alone } => {
            tree.tell_own(&mut inventory.left_out);
            tree.tell_unlabelled(&mut inventory.left_out);
            inventory.alone =
                alone.iter().map(|&at| (tree.folders[at].path.clone(), tree.folders[at].count())).collect();
            let mut half = |at: usize| -> Result<(PathBuf, Dataset), DataError> {
                let half = &mut tree.folders[at];
                half.follow()?;
                let half = match roles::twice(half) {
                    Some(inner) => &mut half.folders[inner],
                    None => half,
                };
                half.follow()?;
                if let Some(reason) = roles::doubts(half) {
                    return Err(in_doubt(&half.path, reason));
                }
                Ok((half.path.clone(), dataset(half, &mut inventory)?))
            };
            let (training, train) = half(training)?;
            let (validation, held) = validation.map(half).transpose()?.unzip();
            let held = held.map(|held| matched(root, &train, held)).transpose()?;
            if let (Some(_), Some(path)) = (validation_split, &validation) {
                return Err(DataError::SplitTwice { path: path.clone() });
            }
            inventory.halves = Some((training, validation));
            (train, held)
        }
    };
    match (validation, validation_split) {
        (None, Some(fraction)) => {
            let (train, validation) = split(train, fraction, seed)?;
            Ok(Folder { train, validation: Some(validation), inventory })
        }
        (validation, _) => Ok(Folder { train, validation, inventory }),
    }
}

/// All images under `root`: classes are its sub-folders in the order of their names' bytes (Python's `sorted`); each is
/// searched in depth, folders and files in the same order. What [`open`] leaves out is left out here too.
///
/// # Errors
/// A folder that cannot be read, no classes, a class without images.
pub fn scan(root: &Path) -> Result<Dataset, DataError> {
    classes(root).map(|folder| folder.train)
}

/// [`scan`], with what was left out. One class is enough.
///
/// # Errors
/// As [`scan`]'s.
pub fn classes(root: &Path) -> Result<Folder, DataError> {
    let mut inventory = Inventory::default();
    Ok(Folder { train: dataset(&root_of(root)?, &mut inventory)?, validation: None, inventory })
}

fn root_of(root: &Path) -> Result<Tree, DataError> {
    if !root.is_dir() {
        return Err(DataError::NoFolder { path: root.to_owned() });
    }
    let mut tree = Tree::read(root.to_owned())?;
    tree.follow()?;
    Ok(tree)
}

/// The folders of a tree as classes.
fn dataset(tree: &Tree, inventory: &mut Inventory) -> Result<Dataset, DataError> {
    let path = || tree.path.clone();
    if tree.folders.is_empty() {
        return Err(DataError::NoClasses { path: path(), images: tree.images.len() });
    }
    let empty: Vec<&Tree> = tree.folders.iter().filter(|class| class.count() == 0).collect();
    if !empty.is_empty() {
        let mut left_out = AllLeftOut::new();
        empty.iter().for_each(|class| class.tell(&mut left_out));
        let endings = left_out.keys().filter_map(|reason| match reason {
            Reason::Ending(ending) => Some(ending.clone()),
            _ => None,
        });
        let endings = endings.collect();
        return Err(DataError::EmptyClasses {
            path: path(),
            classes: empty.iter().map(|class| class.name()).collect(),
            endings,
        });
    }
    let classes: Vec<String> = tree.folders.iter().map(Tree::name).collect();
    let mut known = BTreeMap::new();
    for class in &classes {
        if let Some(other) = known.insert(composed(class), class) {
            return Err(DataError::SameClass { path: path(), classes: [other.clone(), class.clone()] });
        }
    }
    let mut samples = Vec::new();
    for (label, class) in (0..).zip(&tree.folders) {
        samples.extend(class.files().into_iter().map(|path| Sample::new(path, label)));
    }
    tree.tell(&mut inventory.left_out);
    tree.tell_unlabelled(&mut inventory.left_out);
    let not_utf8 = |path: &Path| path.strip_prefix(&tree.path).is_ok_and(|path| path.to_str().is_none());
    inventory.not_utf8 += samples.iter().filter(|sample| sample.origin.path().is_some_and(not_utf8)).count();
    Ok(Dataset { classes, samples })
}

/// Validation images with the labels of the training images' classes.
fn matched(root: &Path, training: &Dataset, mut validation: Dataset) -> Result<Dataset, DataError> {
    let keys = |dataset: &Dataset| -> Vec<String> { dataset.classes.iter().map(|class| composed(class)).collect() };
    let (ours, theirs) = (keys(training), keys(&validation));
    let missing = |from: &[String], dataset: &Dataset, own: &[String]| -> Vec<String> {
        let lost = dataset.classes.iter().zip(own).filter(|(_, key)| !from.contains(key));
        lost.map(|(class, _)| class.clone()).collect()
    };
    let (only_training, only_validation) = (missing(&theirs, training, &ours), missing(&ours, &validation, &theirs));
    if !only_training.is_empty() || !only_validation.is_empty() {
        return Err(DataError::ClassesDiffer { path: root.to_owned(), only_training, only_validation });
    }
    let place = |key: &String| ours.iter().position(|ours| ours == key).expect("both have the same classes") as u32;
    let places: Vec<u32> = theirs.iter().map(place).collect();
    validation.samples.iter_mut().for_each(|sample| sample.label = places[sample.label as usize]);
    validation.classes.clone_from(&training.classes);
    Ok(validation)
}

/// A name in Unicode's composed form (NFC): a Mac writes `é` as two characters, and to the eye it is the same class.
pub fn composed(name: &str) -> String {
    name.nfc().collect()
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
