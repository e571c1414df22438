//! The roles of a folder's sub-folders: classes, the halves of a split, or neither.

use std::collections::{BTreeMap, BTreeSet};

use injerto_files::{listed, shown};

use super::composed;
use super::tree::Tree;

/// The purpose of a folder, according to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Training,
    Validation,
    /// Images for a test after training. They are used for validation if there are no others for it.
    Test,
}

/// Common names of the parts of a collection, in lower case.
const NAMES: [(Role, &[&str]); 3] = [
    (Role::Training, &["train", "training", "trn", "entrenamiento"]),
    (
        Role::Validation,
        &[
            "validation",
            "val",
            "valid",
            "validate",
            "validating",
            "dev",
            "devel",
            "development",
            "validacion",
            "validación",
        ],
    ),
    (Role::Test, &["test", "testing", "tests", "tst", "eval", "evaluation", "holdout", "heldout", "prueba", "pruebas"]),
];
/// Words that may accompany such a name and do not change its meaning.
const FILLERS: [&str; 12] =
    ["set", "data", "dataset", "images", "image", "imgs", "img", "photos", "pictures", "split", "folder", "files"];

/// The words of a name: its longest sequences of letters, in lower case.
fn words(name: &str) -> Vec<String> {
    let lower = composed(name).to_lowercase().replace("hold-out", "holdout").replace("hold_out", "holdout");
    let lower = lower.replace("held-out", "heldout").replace("held_out", "heldout");
    let words = lower.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// Roles of folders with the same parent. A word that all names contain, such as `seg` in `seg_train` and `seg_test`, is
/// ignored.
fn roles(names: &[String]) -> Vec<Option<Role>> {
    let all: Vec<Vec<String>> = names.iter().map(|name| words(name)).collect();
    let shared = |word: &String| all.len() > 1 && all.iter().all(|words| words.contains(word));
    let role = |words: &Vec<String>| {
        let telling: Vec<&String> =
            words.iter().filter(|word| !FILLERS.contains(&word.as_str()) && !shared(word)).collect();
        let [word] = telling[..] else { return None };
        // `trainset` means `train set`.
        let bare = FILLERS.iter().find_map(|filler| word.strip_suffix(filler)).unwrap_or(word);
        let is = |names: &[&str]| names.contains(&word.as_str()) || names.contains(&bare);
        NAMES.iter().find(|(_, names)| is(names)).map(|&(role, _)| role)
    };
    all.iter().map(role).collect()
}

/// The role that a word means by itself, as in a column of a list.
pub(super) fn word_role(word: &str) -> Option<Role> {
    roles(&[word.to_owned()])[0]
}

/// The place of a folder's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// There are images directly in the folder.
    Flat,
    /// The images are in its sub-folders.
    Nest,
    /// There are no images in the folder, at any depth.
    Hollow,
}

fn form(tree: &Tree, role: Option<Role>) -> Form {
    let full = tree.folders.iter().filter(|folder| folder.count() > 0).count();
    match (tree.images.is_empty(), full) {
        (true, 0) => Form::Hollow,
        // A photo beside the classes of a half does not turn the half into a class.
        (true, _) => Form::Nest,
        (false, 2..) if role.is_some() => Form::Nest,
        (false, _) => Form::Flat,
    }
}

/// Names of the sub-folders that hold images.
fn inner(tree: &Tree) -> BTreeSet<String> {
    tree.folders.iter().filter(|folder| folder.count() > 0).map(|folder| composed(&folder.name())).collect()
}

/// The meaning of the folders in a root, which are given by their positions.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// All folders are classes.
    Classes,
    /// Some folders are the parts of a split; those in `alone` are not used.
    Halves { training: usize, validation: Option<usize>, test: Option<usize>, alone: Vec<usize> },
}

/// Decides the meaning of the folders in `root`. `split` says whether the experiment splits the images itself. The error is
/// the reason, in words, why the folders are ambiguous.
pub(super) fn decide(root: &mut Tree, split: bool) -> Result<Decision, String> {
    let names: Vec<String> = root.folders.iter().map(Tree::name).collect();
    let roles = roles(&names);
    // The classes in a half may be links.
    for (folder, role) in root.folders.iter_mut().zip(&roles) {
        if role.is_some() && folder.images.is_empty() {
            folder.follow().map_err(|error| error.to_string())?;
        }
    }
    let folders = &root.folders;
    let forms: Vec<Form> = folders.iter().zip(&roles).map(|(folder, &role)| form(folder, role)).collect();
    let nests = |role: Role| -> Vec<usize> {
        (0..folders.len()).filter(|&at| roles[at] == Some(role) && forms[at] == Form::Nest).collect()
    };
    let one_of = |places: &[usize], what: &str| match places {
        [] => Ok(None),
        &[one] => Ok(Some(one)),
        several => {
            let names = listed(several.iter().map(|&at| names[at].as_str()));
            Err(format!("each of {names} could be the folder of the {what} images; rename or move all but one"))
        }
    };
    let Some(training) = one_of(&nests(Role::Training), "training")? else {
        return doubt(root, &roles).map_or(Ok(Decision::Classes), Err);
    };
    let classes_in = |at: usize| inner(twice(&folders[at]).map_or(&folders[at], |inner| &folders[at].folders[inner]));
    let classes = classes_in(training);
    let same = |at: usize| classes_in(at).intersection(&classes).next().is_some();
    let mut validation = one_of(&nests(Role::Validation), "validation")?;
    let mut test = None;
    if validation.is_none() && !split {
        let tests: Vec<usize> = nests(Role::Test).into_iter().filter(|&at| same(at)).collect();
        validation = one_of(&tests, "validation")?;
    } else {
        // Other classes cannot be a test of this training; many archives have such a folder, and it was never used.
        let tests: Vec<usize> = nests(Role::Test).into_iter().filter(|&at| classes_in(at) == classes).collect();
        test = one_of(&tests, "test")?;
    }
    let mut alone = Vec::new();
    let used = |at: usize| at == training || Some(at) == validation || Some(at) == test;
    for at in (0..folders.len()).filter(|&at| !used(at)) {
        let (name, train) = (shown(name_of(&folders[at])), shown(name_of(&folders[training])));
        match (forms[at], roles[at]) {
            (Form::Hollow, Some(Role::Validation)) => {
                return Err(format!(
                    "there are no validation images in '{name}': put the images of each class into a folder of its own in \
                     '{name}', or remove '{name}'"
                ));
            }
            (Form::Hollow, _) => {}
            (Form::Nest, None) if validation.is_none() && same(at) => {
                return Err(format!(
                    "'{name}' has the same classes as '{train}': if it holds the validation images, rename it to \
                     'validation'; otherwise move it away, or set data.root to '{}'",
                    shown(&folders[training].path)
                ));
            }
            (Form::Flat, None) if validation.is_none() => {
                return Err(format!(
                    "'{name}' holds images and '{train}' holds folders with images, so it is unclear whether '{train}' is a \
                     class or the folder of the training images: set data.root to '{}' to train on the folders inside \
                     it, or data.layout = \"classes\" to use both as classes",
                    shown(&folders[training].path)
                ));
            }
            _ => alone.push(at),
        }
    }
    Ok(Decision::Halves { training, validation, test, alone })
}

fn name_of(tree: &Tree) -> &std::path::Path {
    std::path::Path::new(tree.path.file_name().unwrap_or_default())
}

/// Position of the folder inside a half that holds all its images and says nothing of them: it repeats the half's name
/// (`train/train/cats`), or says that there are images (`train/images/cats`), as in some archives.
pub(super) fn twice(half: &Tree) -> Option<usize> {
    let [at] = (0..half.folders.len()).filter(|&at| half.folders[at].count() > 0).collect::<Vec<_>>()[..] else {
        return None;
    };
    let name = words(&half.folders[at].name());
    let fills = !name.is_empty() && name.iter().all(|word| FILLERS.contains(&word.as_str()));
    let says_nothing = fills || name == words(&half.name());
    (half.images.is_empty() && says_nothing && form(&half.folders[at], None) == Form::Nest).then_some(at)
}

/// The reason, in words, why the folders in a root are probably not classes.
pub(super) fn doubts(root: &Tree) -> Option<String> {
    let names: Vec<String> = root.folders.iter().map(Tree::name).collect();
    doubt(root, &roles(&names))
}

const AS_CLASSES: &str = "data.layout = \"classes\" uses them as classes anyway";

fn doubt(root: &Tree, roles: &[Option<Role>]) -> Option<String> {
    let full: Vec<usize> = (0..root.folders.len()).filter(|&at| root.folders[at].count() > 0).collect();
    let name = |at: usize| root.folders[at].name();
    let (nests, flats): (Vec<usize>, Vec<usize>) =
        full.iter().partition(|&&at| form(&root.folders[at], roles[at]) == Form::Nest);
    if let [one] = full[..] {
        // A single class is never intended; perhaps the folders inside it are the classes.
        let below = inner(&root.folders[one]);
        let what = shown(name_of(&root.folders[one])).to_string();
        return Some(if nests.is_empty() {
            format!(
                "there is nothing to tell apart: '{what}' is the only folder with images; put the images of each class into \
                 a folder of their own, side by side"
            )
        } else {
            format!(
                "there is nothing to tell apart: '{what}' is the only folder with images; set data.root to '{}' to use the \
                 folders in it ({})",
                shown(&root.folders[one].path),
                listed(below.iter().map(String::as_str))
            )
        });
    }
    if full.len() > 1 && nests.is_empty() && full.iter().all(|&at| roles[at].is_some()) {
        let names = full.iter().map(|&at| name(at)).collect::<Vec<_>>();
        if full.iter().any(|&at| roles[at] == Some(Role::Training)) {
            return Some(format!(
                "{} hold images, and no folders of classes: put the images of each class into a folder of its own; or, if \
                 these are the classes, {AS_CLASSES}",
                listed(names.iter().map(String::as_str))
            ));
        }
    }
    let siblings: BTreeSet<String> = full.iter().map(|&at| composed(&name(at))).collect();
    for &at in &nests {
        let common: Vec<String> = inner(&root.folders[at]).intersection(&siblings).cloned().collect();
        let others_have = common.iter().any(|class| *class != composed(&name(at)));
        if others_have || (roles[at].is_some() && !flats.is_empty()) {
            let inside = inner(&root.folders[at]);
            return Some(format!(
                "'{}' holds no images but folders with images ({}), so it is probably not a class like {}: move it away; {AS_CLASSES}",
                shown(name_of(&root.folders[at])),
                listed(inside.iter().map(String::as_str)),
                listed(
                    flats
                        .iter()
                        .chain(&nests)
                        .filter(|&&other| other != at)
                        .map(|&at| name(at))
                        .collect::<Vec<_>>()
                        .iter()
                        .map(String::as_str)
                ),
            ));
        }
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    nests.iter().flat_map(|&at| inner(&root.folders[at])).for_each(|class| *times.entry(class).or_default() += 1);
    let common: Vec<&str> = times.iter().filter(|(_, times)| **times > 1).map(|(class, _)| class.as_str()).collect();
    if common.is_empty() || common.len() * 2 < times.len() {
        return None;
    }
    let parts: Vec<String> = nests.iter().map(|&at| name(at)).collect();
    let (parts, inside) = (listed(parts.iter().map(String::as_str)), listed(common.iter().copied()));
    let named: Vec<String> = common.iter().map(|&class| class.to_owned()).collect();
    Some(if self::roles(&named).iter().all(Option::is_some) {
        format!(
            "each of {parts} is split into {inside}: set data.root to one of them, or move the classes into the halves of the \
             split (train/CLASS, validation/CLASS); {AS_CLASSES}"
        )
    } else {
        format!(
            "{parts} hold no images but the same folders ({inside}), so they are probably parts of a collection and not \
             classes: rename them to 'train' and 'validation', or set data.root to '{}'; {AS_CLASSES}",
            shown(&root.folders[nests[0]].path)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_folder_says_its_purpose_in_any_case_and_with_words_beside_it() {
        let check = |names: &[&str], expected: &[Option<Role>]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(roles(&names), expected, "{names:?}");
        };
        use Role::{Test, Training, Validation};
        check(&["Train", "VALID", "Test"], &[Some(Training), Some(Validation), Some(Test)]);
        check(&["train_set", "val-images", "testData"], &[Some(Training), Some(Validation), Some(Test)]);
        check(&["trainset", "dev", "hold-out"], &[Some(Training), Some(Validation), Some(Test)]);
        check(&["seg_train", "seg_test"], &[Some(Training), Some(Test)]);
        check(&["01_training", "02_validation"], &[Some(Training), Some(Validation)]);
        check(&["train station", "test tube", "car"], &[None, None, None]);
        check(&["cats", "dogs"], &[None, None]);
    }
}
