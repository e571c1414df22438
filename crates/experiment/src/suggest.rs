use std::path::{Path, PathBuf};

use injerto_data::folder::{self, AllLeftOut};
use injerto_data::{Decoded, Skipped};
use injerto_insight::suggest::{Suggestion, next};
use injerto_insight::{InsightError, Matrix};
use injerto_trainer::{Event, Watch};
use serde::Serialize;

use crate::{ExperimentError, Predictor};

/// Photos of a folder that are worth a label, in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct Suggestions {
    /// Number of photos that were looked at.
    pub photos: usize,
    /// The photos to label next.
    pub suggested: Vec<SuggestedPhoto>,
    /// Files that are not readable images.
    pub skipped: Vec<Skipped>,
    /// Other files that were left out.
    pub left_out: AllLeftOut,
}

/// A photo that is worth a label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SuggestedPhoto {
    /// The file.
    pub path: PathBuf,
    /// The class that the network predicts.
    pub predicted: String,
    /// Probability of this class.
    pub probability: f64,
    /// One less the gap between the two largest probabilities: 0 for certainty, 1 for a tie.
    pub uncertainty: f64,
    /// How near its nearest others are, beside the other photos: 0 for the loneliest, 1 for the most typical.
    pub typicality: f64,
    /// Cosine distance to the nearest photo that was trained on or is suggested before it.
    pub distance: f64,
}

impl Predictor {
    /// Which `count` photos of a folder and its sub-folders to label next: photos of which the network is unsure, that resemble many
    /// others, and that differ from those of training and from each other ([`injerto_insight::suggest::next`]). Files that are not readable
    /// images are left out. Returns `None` if `watch` was stopped.
    ///
    /// All pairs of the folder's photos are compared, `photos² · features` operations.
    ///
    /// # Errors
    /// [`ExperimentError::NothingKept`] if nothing is known of the training images; a folder that cannot be read.
    pub fn suggest(
        &self,
        folder: &Path,
        count: usize,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Suggestions>, ExperimentError> {
        let knowledge = self.knowledge()?;
        if self.thresholds().is_some() {
            return Err(ExperimentError::SeveralClasses { what: "a suggestion of photos to label" });
        }
        let (files, left_out) = folder::images(folder)?;
        if files.is_empty() {
            return Err(ExperimentError::NoLabel {
                path: folder.to_owned(),
                reason: "there are no photos in it".to_owned(),
            });
        }
        let pool = self.look_at(&files, watch)?;
        let Some(Pool { readable, features, probabilities, skipped }) = pool else { return Ok(None) };
        let classes = self.classes().len();
        let stop = injerto_insight::Watch::none().stopped_by(watch.stop);
        let found = match next(knowledge.features(), &features, &probabilities, count, stop) {
            Err(InsightError::Stopped) => return Ok(None),
            found => found?,
        };
        let suggested = |Suggestion { row, uncertainty, typicality, distance }: Suggestion| {
            let row_of = &probabilities[row * classes..][..classes];
            let best = (1..classes).fold(0, |best, at| if row_of[at] > row_of[best] { at } else { best });
            SuggestedPhoto {
                path: files[readable[row]].clone(),
                predicted: self.classes()[best].clone(),
                probability: row_of[best],
                uncertainty,
                typicality,
                distance,
            }
        };
        let suggested = found.into_iter().map(suggested).collect();
        Ok(Some(Suggestions { photos: readable.len(), suggested, skipped, left_out }))
    }

    /// Features and probabilities of all files that can be read; `None` if it was stopped.
    fn look_at(&self, files: &[PathBuf], watch: &mut Watch<'_>) -> Result<Option<Pool>, ExperimentError> {
        let (network, total) = (&self.network, files.len());
        let known = network.known.as_ref().expect("the caller has asked for the knowledge");
        let (mut readable, mut rows, mut probabilities, mut skipped) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut done = 0;
        for decoded in network.options.stream(files.to_vec()) {
            let Decoded { pixels, images } = decoded?;
            let before = readable.len();
            for (at, image) in (done..).zip(images) {
                match image {
                    Ok(()) => readable.push(at),
                    Err(injerto_data::DataError::Corrupt { reason, .. }) => {
                        skipped.push(Skipped { origin: files[at].clone().into(), reason });
                    }
                    Err(error) => return Err(error.into()),
                }
                done = at + 1;
            }
            let batch = readable.len() - before;
            let (own, boundary) = network.look(&pixels, batch)?;
            rows.extend_from_slice(known.boundary.features(&boundary)?.values());
            let said = own.chunks_exact(self.classes().len()).flat_map(|row| known.said(row));
            probabilities.extend(said.map(f64::from));
            watch.observer.observe(&Event::Evaluated { done, total });
            if watch.is_stopped() {
                return Ok(None);
            }
        }
        let width = known.knowledge.features().width();
        Ok(Some(Pool { readable, features: Matrix::new(width, rows)?, probabilities, skipped }))
    }
}

/// Photos as the network sees them.
struct Pool {
    /// Positions of the readable files.
    readable: Vec<usize>,
    features: Matrix,
    /// Probabilities, `[photos, classes]`.
    probabilities: Vec<f64>,
    skipped: Vec<Skipped>,
}
