//! Folders of images with one sub-folder per class.

mod deal;
mod groups;
mod iterative;
mod labels;
mod roles;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use self::deal::Shares;
pub use self::deal::{split, split_evenly};
pub use self::groups::{FolderWord, Grouping};
use self::labels::Labelled;
pub use self::labels::{ClassColumns, Column, Labels, ListFiles, Listed, Lists, listed_in};
use self::roles::Decision;
use self::tree::Tree;
pub use self::tree::{AllLeftOut, LeftOut, Reason};
pub use crate::endings::{EXTENSIONS, advice};
use crate::{DataError, Dataset, Sample};

/// The meaning of a root's sub-folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// The names and contents of the sub-folders decide whether they are classes or the halves of a split. It is an error if
    /// these do not decide.
    #[default]
    Auto,
    /// All sub-folders are classes.
    Classes,
}

/// Options for dividing the images of a root into training, validation and test images.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// The meaning of the sub-folders.
    pub layout: Layout,
    /// What says which class each image has, if it is not the folder that the image lies in. The layout says nothing then.
    pub labels: Option<Labels>,
    /// Whether an image may have several classes, or none. `None`: the lists show it. Folders give each image one class.
    pub multi_label: Option<bool>,
    /// Share of the images that are held out for validation, between 0 and 1 (exclusive). `None` holds none out.
    pub validation_split: Option<f64>,
    /// Share of the images that are held out for a test after training, between 0 and 1 (exclusive). `None` holds none out.
    pub test_split: Option<f64>,
    /// Whether each part gets its share of each class.
    pub stratify: bool,
    /// Which images belong together and never stand in two parts.
    pub group: Option<Grouping>,
    /// Seed of the split.
    pub seed: u32,
}

/// The images of a root, with an inventory of what was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Training images.
    pub train: Dataset,
    /// Validation images.
    pub validation: Option<Dataset>,
    /// Test images, which are not used before training is over.
    pub test: Option<Dataset>,
    /// How the images were found.
    pub inventory: Inventory,
}

/// How the images of a root were found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// The folders of training and validation images, if the root has such folders.
    pub halves: Option<(PathBuf, Option<PathBuf>)>,
    /// The folder of test images, if the root has one that is used so.
    pub test: Option<PathBuf>,
    /// Folders that belong to neither half and are not used, with the number of images in each.
    pub alone: Vec<(PathBuf, usize)>,
    /// Files and folders that were left out.
    pub left_out: AllLeftOut,
    /// Number of images that are used although their names, or those of their folders, are not UTF-8.
    pub not_utf8: usize,
    /// What shows that images may have several classes, in words; `None` if each has one.
    pub several: Option<String>,
    /// Number of images of which nothing says which group they belong to, if groups were asked for.
    pub ungrouped: usize,
}

/// Finds the training and validation images of a root folder.
///
/// A root may have a folder of training images and a folder of validation images (`train` and `validation`, or other common
/// names, in upper or lower case). A folder of test images with the same classes is kept for the test after training; if there is
/// neither a folder of validation images nor a `validation_split`, it is used for validation. The sub-folders of any other root are
/// the classes. If a root has no folder of validation images, `validation_split` and `seed` split the images into the same files as
/// `keras.utils.image_dataset_from_directory`; without `validation_split`, all images are training images. `test_split` takes its
/// images out of those that are left for training, so that it changes no validation image.
///
/// With `labels`, lists or patterns say which images there are and which class each of them has, and may say in which part of the split
/// it stands.
///
/// With `stratify` or `group` the split is not Keras's: images are dealt in a seeded order, each (or each group as a whole) to the
/// part that lacks its class most. Images of several classes are dealt class by class, the rarest first.
///
/// Hidden files and folders, and those that file systems create for themselves, are left out at every depth. A link to an
/// image counts as the image. A link to a folder is followed if it is a class or a half of a split; inside a class it is left
/// out, as in Keras.
///
/// # Errors
/// [`DataError`] if the root is missing or has no classes, if its layout is ambiguous, if a class has no images, if links make one
/// folder stand for two classes or sides, or if a split leaves one side empty.
pub fn open(root: &Path, options: Options) -> Result<Folder, DataError> {
    let Options { layout, labels, multi_label, validation_split, test_split, stratify, group, seed } = options;
    let mut inventory = Inventory::default();
    let (mut train, mut validation, mut test) = match &labels {
        Some(labels) => {
            let Labelled { train, validation, test, by } = labels::find(root, labels, multi_label, &mut inventory)?;
            let there = [("validation", validation_split, &validation), ("test", test_split, &test)];
            for (part, split, images) in there {
                if let (Some(_), Some(_)) = (split, images) {
                    return Err(DataError::SplitTwice { part, path: by });
                }
            }
            (train, validation, test)
        }
        None => from_folders(root, layout, [validation_split, test_split], &mut inventory)?,
    };
    if let Some(grouping) = &group {
        let parts = std::iter::once(&mut train).chain(&mut validation).chain(&mut test);
        inventory.ungrouped = grouping.assign(root, parts)?;
    }
    let shares = Shares { validation: validation_split, test: test_split };
    if shares.is_some() {
        let (rest, held, kept) = deal::divide(train, shares, stratify, seed)?;
        (train, validation, test) = (rest, validation.or(held), test.or(kept));
    }
    Ok(Folder { train, validation, test, inventory })
}

/// Training, validation and test images of a root whose folders say what they are.
fn from_folders(
    root: &Path,
    layout: Layout,
    [validation_split, test_split]: [Option<f64>; 2],
    inventory: &mut Inventory,
) -> Result<(Dataset, Option<Dataset>, Option<Dataset>), DataError> {
    of_tree(root_of(root)?, root, layout, [validation_split, test_split], inventory)
}

fn of_tree(
    mut tree: Tree,
    root: &Path,
    layout: Layout,
    [validation_split, test_split]: [Option<f64>; 2],
    inventory: &mut Inventory,
) -> Result<(Dataset, Option<Dataset>, Option<Dataset>), DataError> {
    let in_doubt = |path: &Path, reason: String| DataError::Layout { path: path.to_owned(), reason };
    let decision = match layout {
        Layout::Classes => Decision::Classes,
        Layout::Auto => {
            roles::decide(&mut tree, validation_split.is_some()).map_err(|reason| in_doubt(root, reason))?
        }
    };
    Ok(match decision {
        Decision::Classes => {
            let classes = distinct(&tree, inventory)?;
            // With any layout, a single class is an error: there is nothing to learn.
            match roles::doubts(&tree).filter(|_| classes.classes.len() == 1) {
                Some(reason) => return Err(in_doubt(root, reason)),
                None => (classes, None, None),
            }
        }
        Decision::Halves { training, validation, test, alone } => {
            tree.tell_own(&mut inventory.left_out);
            tree.tell_unlabelled(&mut inventory.left_out);
            inventory.alone =
                alone.iter().map(|&at| (tree.folders[at].path.clone(), tree.folders[at].count())).collect();
            let mut used = Vec::new();
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
                used.extend(half.class_paths());
                Ok((half.path.clone(), dataset(half, inventory)?))
            };
            let (training, train) = half(training)?;
            let (validation, held) = validation.map(&mut half).transpose()?.unzip();
            let held = held.map(|held| matched(root, &train, held)).transpose()?;
            let (test, kept) = test.map(half).transpose()?.unzip();
            let kept = kept.map(|kept| matched(root, &train, kept)).transpose()?;
            tree::distinct(&used)?;
            let there = [("validation", validation_split, &validation), ("test", test_split, &test)];
            for (part, split, path) in there {
                if let (Some(_), Some(path)) = (split, path) {
                    return Err(DataError::SplitTwice { part, path: path.clone() });
                }
            }
            inventory.halves = Some((training, validation));
            inventory.test = test;
            (train, held, kept)
        }
    })
}

/// All images below `root`. The sub-folders are the classes, sorted by the bytes of their names (as Python's `sorted`). Each
/// is searched at every depth; its folders and files are sorted in the same way. The same files and folders are left out as in
/// [`open`].
///
/// # Errors
/// [`DataError`] if a folder cannot be read, if there are no classes, or if a class has no images.
pub fn scan(root: &Path) -> Result<Dataset, DataError> {
    classes(root).map(|folder| folder.train)
}

/// The same as [`scan`], with an inventory of what was left out. A single class is allowed.
///
/// # Errors
/// [`DataError`] if a folder cannot be read, if there are no classes, or if a class has no images.
pub fn classes(root: &Path) -> Result<Folder, DataError> {
    let mut inventory = Inventory::default();
    Ok(Folder { train: distinct(&root_of(root)?, &mut inventory)?, validation: None, test: None, inventory })
}

/// The name of the only class of [`unlabelled`] images.
pub const UNLABELLED: &str = "unlabelled";

/// All images of a folder at any depth, as one class: sub-folders say nothing of what the images show.
///
/// # Errors
/// [`DataError`] if a folder cannot be read, or if there are no images.
pub fn unlabelled(root: &Path) -> Result<Folder, DataError> {
    let tree = root_of(root)?;
    let samples: Vec<Sample> = tree.files().into_iter().map(|path| Sample::new(path, 0)).collect();
    if samples.is_empty() {
        return Err(DataError::NoImages { path: root.to_owned() });
    }
    let mut inventory = Inventory::default();
    tree.tell(&mut inventory.left_out);
    let classes = vec![UNLABELLED.to_owned()];
    Ok(Folder { train: Dataset { classes, samples }, validation: None, test: None, inventory })
}

fn root_of(root: &Path) -> Result<Tree, DataError> {
    if !root.is_dir() {
        return Err(DataError::NoFolder { path: root.to_owned() });
    }
    let mut tree = Tree::read(root.to_owned())?;
    tree.follow()?;
    Ok(tree)
}

/// A dataset whose classes are the folders of a tree, none of which is or holds another one.
fn distinct(tree: &Tree, inventory: &mut Inventory) -> Result<Dataset, DataError> {
    let found = dataset(tree, inventory)?;
    tree::distinct(&tree.class_paths())?;
    Ok(found)
}

/// A dataset whose classes are the folders of a tree. The caller, who has all folders that are read, checks that they are distinct.
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

/// Validation images, relabelled to the order of the training images' classes.
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
    validation.samples.iter_mut().for_each(|sample| sample.label = sample.label.moved(&places));
    validation.classes.clone_from(&training.classes);
    Ok(validation)
}

/// All images in a folder and its sub-folders, whatever these mean, sorted folder by folder; and what was left out.
///
/// # Errors
/// [`DataError`] if a folder cannot be read.
pub fn images(root: &Path) -> Result<(Vec<PathBuf>, AllLeftOut), DataError> {
    let tree = root_of(root)?;
    let mut left_out = AllLeftOut::new();
    tree.tell(&mut left_out);
    Ok((tree.files(), left_out))
}

/// The same as [`images`] of a folder elsewhere, of which only the names of the files in it are known, at any depth, with `/` between
/// folders; and the training, validation and test images with their classes, as [`open`] finds them, unless it is unclear what the
/// folders mean.
pub fn named(root: &Path, names: &[&str]) -> (Vec<PathBuf>, AllLeftOut, Vec<Dataset>) {
    let (tree, mut left_out) = (Tree::of_names(root.to_owned(), names), AllLeftOut::new());
    tree.tell(&mut left_out);
    let images = tree.files();
    let parts = of_tree(tree, root, Layout::Auto, [None; 2], &mut Inventory::default());
    let parts = parts
        .map_or(Vec::new(), |(train, validation, test)| std::iter::once(train).chain(validation).chain(test).collect());
    (images, left_out, parts)
}

/// A name in Unicode's composed form (NFC). macOS may write `é` as two characters; it is the same class.
pub fn composed(name: &str) -> String {
    name.nfc().collect()
}
