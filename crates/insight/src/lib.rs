//! What the features of a frozen backbone say about the images, before and after training.
//!
//! Every question is asked about a [`FeatureTable`]: it has a row of features per image, and what is known about the
//! image (path, label, part of the split, group, content).
//!
//! | question | answer |
//! |---|---|
//! | How well do these features tell the classes apart? | [`probe::Probe`], an exact logistic regression; [`probe::CrossValidation`]; [`neighbours`] |
//! | How far can a number be trusted? | [`stats`]: intervals, McNemar's test, photos needed |
//! | Is a photo, or a copy of it, in two parts of the split? | [`leaks::find`] |
//! | Which labels look wrong? | [`labels::find`] |
//! | Is a new photo like those of training? | [`unknown::Known`] |
//! | Are probabilities calibrated? | [`calibration`] |
//! | Would more photos help? | [`more::LearningCurve`] |
//! | Which photos should be labelled next? | [`suggest::next`] |
//! | Which backbone suits these images? | [`logme()`], beside the probe |
//! | On which parts of an image does a transformer's answer rest? | [`attention`] |
//! | Is something else wrong with the photos? | [`health`] |
//!
//! ```
//! use injerto_insight::folds::Folds;
//! use injerto_insight::neighbours::Neighbourhood;
//! use injerto_insight::probe::{CrossValidation, Strengths};
//! use injerto_insight::{FeatureTable, Image, Matrix, Watch, labels};
//!
//! # fn main() -> injerto_insight::Result<()> {
//! # let values: Vec<f32> = (0..40).flat_map(|i| [(i % 2) as f32 + (i as f32).sin() * 0.1, (i as f32).cos()]).collect();
//! # let images: Vec<Image> = (0..40).map(|i| Image::new(format!("{i}.jpg"), i % 2)).collect();
//! let features = Matrix::new(2, values)?;
//! let table = FeatureTable::new(features, images, vec!["cats".into(), "dogs".into()])?;
//! let validation = CrossValidation::run(&table, Folds::new(5, 123), &Strengths::default(), Watch::none())?;
//! assert_eq!(validation.accuracy.mean, 1.0);
//! let around = Neighbourhood::of(&table, Watch::none())?;
//! let suspects = labels::find(&table, &around, &validation.predictions)?;
//! assert!(suspects.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! Results are ranked lists, which name images by their row; the table has their paths. They depend only on data and seed: the
//! number of threads changes no bit. Long computations report to a [`Watch`], which can stop them.
//!
//! *Architecture invariant:* there is no network here, no file and no command line. Features, pixels and facts about photos come in
//! as numbers, and nothing is drawn or printed.

pub mod attention;
pub mod calibration;
mod dense;
mod error;
pub mod folds;
pub mod health;
pub mod labels;
pub mod leaks;
mod logme;
pub mod more;
pub mod neighbours;
mod pairs;
pub mod picture;
pub mod predictions;
pub mod probe;
mod random;
pub mod stats;
pub mod suggest;
mod table;
pub mod unknown;
mod watch;

pub use error::{InsightError, Result};
pub use logme::logme;
pub use table::{Content, FeatureTable, Image, Matrix, Part};
pub use watch::{Progress, Watch};
