use std::fmt::Write as _;
use std::path::PathBuf;

use injerto_files::{listed, printable, shown};

use crate::endings::EXTENSIONS;
use crate::{Origin, Skipped};

/// Why images cannot be found or read. Every message names the folder, the file or the image.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DataError {
    // --- moves -----------------------------------------------------------------------------------------------------
    /// A line of a list of moves that cannot be carried out.
    #[error("{}, line {line}: {}", shown(path), printable(reason))]
    MoveList {
        /// The list.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A file that cannot be moved.
    #[error("{}: {reason}", shown(path))]
    Move {
        /// The file.
        path: PathBuf,
        /// What stands in the way, and what to do.
        reason: String,
    },
    /// A list of moves that was carried out before.
    #[error("{}: this list was applied already, wholly or in part; --undo takes it back", shown(path))]
    Applied {
        /// The list.
        path: PathBuf,
    },
    /// A list of moves that is to be taken back, and was not carried out.
    #[error("{}: there is nothing to take back, because this list was not applied", shown(path))]
    NotApplied {
        /// The list.
        path: PathBuf,
    },
    // --- folders ---------------------------------------------------------------------------------------------------
    /// The folder is not there.
    #[error("{}: no such folder", shown(path))]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A folder cannot be listed.
    #[error("{}: cannot be read: {reason}", shown(path))]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// The error of the system.
        reason: String,
    },
    /// A folder without images.
    #[error("{}: no images in this folder (images are files that end in {})", shown(path), EXTENSIONS.join(", "))]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// A folder without sub-folders.
    #[error("{}: no classes found: expected one sub-folder per class, with images in each{}", shown(path), loose(*images))]
    NoClasses {
        /// The folder.
        path: PathBuf,
        /// Images that lie in it.
        images: usize,
    },
    /// Classes without images.
    #[error(
        "{}: no images in {}{}; put some in, or remove the folder (images are files that end in {})",
        shown(path), listed(classes.iter().map(String::as_str)), in_them(endings), EXTENSIONS.join(", ")
    )]
    EmptyClasses {
        /// The folder of the classes.
        path: PathBuf,
        /// Their names.
        classes: Vec<String>,
        /// Endings of the files that are in them.
        endings: Vec<String>,
    },
    /// It is unclear what the sub-folders are.
    #[error("{}: {reason}", shown(path))]
    Layout {
        /// The folder.
        path: PathBuf,
        /// What is unclear, and what to do.
        reason: String,
    },
    /// A folder that is, by way of a link, another one of the folders of images, or holds it.
    #[error(
        "{} and {} are one folder, or one lies in the other, by way of a link: their images would count twice; remove one of \
         them",
        shown(folder),
        shown(other)
    )]
    SameFolder {
        /// One of the folders.
        folder: PathBuf,
        /// The other one.
        other: PathBuf,
    },
    /// Two folders with names that are equal to the eye.
    #[error("{}: two folders are called '{}': {}", shown(path), printable(&classes[0]), same_name(classes))]
    SameClass {
        /// The folder that they are in.
        path: PathBuf,
        /// Their names.
        classes: [String; 2],
    },
    /// Training and validation with different classes.
    #[error("{}: {}", shown(path), differences(only_training, only_validation))]
    ClassesDiffer {
        /// The root.
        path: PathBuf,
        /// Classes that only the training folder has.
        only_training: Vec<String>,
        /// Classes that only the validation folder has.
        only_validation: Vec<String>,
    },
    /// A fraction to keep for validation where there are images for it.
    #[error(
        "data.{part}_split has no effect: {} holds the images to {} by; leave the key out, or set data.root to the \
         folder of the training images",
        shown(path),
        if *part == "test" { "test" } else { "validate" }
    )]
    SplitTwice {
        /// What the images are held out for: `validation` or `test`.
        part: &'static str,
        /// The folder of these images.
        path: PathBuf,
    },
    /// A split that cannot be made.
    #[error("{part}_split {fraction:?} leaves {training} images to train and {held} to {}: {}",
        if *part == "test" { "test" } else { "validate" }, split_fix(*fraction))]
    Split {
        /// What the images are held out for: `validation` or `test`.
        part: &'static str,
        /// The fraction.
        fraction: f64,
        /// Training images.
        training: usize,
        /// Images that are held out.
        held: usize,
    },
    /// Labels that cannot be used.
    #[error("{}: {reason}", shown(path))]
    Labels {
        /// The list, or the folder of the images for patterns.
        path: PathBuf,
        /// What is wrong, and the fix.
        reason: String,
    },
    /// Groups that cannot be read, or that say nothing.
    #[error("data.group: {reason}")]
    Group {
        /// What is wrong, and the fix.
        reason: String,
    },

    // --- images ----------------------------------------------------------------------------------------------------
    /// An image that cannot be read.
    #[error("{origin}: not a readable image: {reason}")]
    Corrupt {
        /// The image.
        origin: Origin,
        /// What the decoder said.
        reason: String,
    },
    /// An image of which nothing is known, because this program or the system has too little of something.
    #[error(
        "{origin}: cannot be read now: {reason}; the image may be sound: let this program have more (`ulimit -n` says how many files it \
         may have open), or give it fewer threads with RAYON_NUM_THREADS"
    )]
    Shortage {
        /// The image.
        origin: Origin,
        /// What the system said.
        reason: String,
    },
    /// Files that are not readable images.
    #[error(
        "{} of {total} files are not readable images:{}\nremove or replace them, or set data.on_corrupt = \"skip\" \
         (in `injerto evaluate`, --on-corrupt skip) to leave them out",
        files.len(), each(files)
    )]
    CorruptFiles {
        /// The files.
        files: Vec<Skipped>,
        /// Number of files that were looked at.
        total: usize,
    },
    /// Classes of which no image is left.
    #[error("no readable images in {}:{}", listed(classes.iter().map(String::as_str)), each(files))]
    NoneReadable {
        /// Their names.
        classes: Vec<String>,
        /// The files that cannot be read.
        files: Vec<Skipped>,
    },
    /// The thread that decodes has died.
    #[error("decoding stopped unexpectedly")]
    Stopped,

    // --- generated -------------------------------------------------------------------------------------------------
    /// A generated dataset that does not exist.
    #[error("no generated dataset '{name}': there are {}", known.join(" and "))]
    UnknownTask {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written: {reason}", shown(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

fn split_fix(fraction: f64) -> &'static str {
    if fraction > 0.0 && fraction < 1.0 { "there are too few images" } else { "expected a number above 0 and below 1" }
}

/// How two names that are equal to the eye differ, and the fix.
fn same_name([a, b]: &[String; 2]) -> &'static str {
    match a == b {
        true => "in one of them a byte is not UTF-8, and is shown as \\xNN; rename one",
        false => {
            "their names differ in how letters with accents are written (Unicode's composed and decomposed form); put their \
             images into one"
        }
    }
}

fn loose(images: usize) -> String {
    match images {
        0 => String::new(),
        images => format!("; the {images} images in it belong to none"),
    }
}

fn in_them(endings: &[String]) -> String {
    match endings {
        [] => String::new(),
        endings => format!(", but files that end in {}", listed(endings.iter().map(String::as_str))),
    }
}

/// A line for each of the first files, and how many more there are.
fn each(files: &[Skipped]) -> String {
    const MOST: usize = 20;
    let mut lines = String::new();
    for Skipped { origin, reason } in files.iter().take(MOST) {
        write!(lines, "\n  {origin}: {}", printable(reason)).expect("a string takes everything");
    }
    if files.len() > MOST {
        write!(lines, "\n  … and {} more", files.len() - MOST).expect("a string takes everything");
    }
    lines
}

fn differences(training: &[String], validation: &[String]) -> String {
    let only = |half: &str, classes: &[String]| match classes {
        [] => None,
        classes => Some(format!("only {half} has {}", listed(classes.iter().map(String::as_str)))),
    };
    let both: Vec<String> =
        [only("training", training), only("validation", validation)].into_iter().flatten().collect();
    let lower = |classes: &[String]| classes.iter().map(|class| class.to_lowercase()).collect::<Vec<_>>();
    let hint = if !training.is_empty() && lower(training) == lower(validation) {
        "; they differ in upper and lower case alone: rename the folders"
    } else {
        ""
    };
    format!("the classes to train on and to validate by differ: {}{hint}", both.join("; "))
}
