//! The network that answers, and the training photos that it knows. While a training is under way, each best epoch replaces it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

use hyper::body::Bytes;
use injerto_config::{Config, Device, Images};
use injerto_data::Origin;
use injerto_data::decode::{Orientation, dimensions, examine};
use injerto_data::moves::Inside;
use injerto_data::thumbnails;
use injerto_experiment::explain::{Explainer, Explanation, Method};
use injerto_experiment::{ExperimentError, Predictor};
use injerto_files::from_text;
use injerto_report::heat::overlay;
use injerto_trainer::Checkpoints;

use crate::ServeError;

/// Most similar training photos that an answer names.
pub(crate) const NEIGHBOURS: usize = 20;
/// Longer side of a training photo's picture, in pixels.
const SIDE: usize = 160;

/// A network, and what is known of its training photos.
#[derive(Debug)]
pub(crate) struct Model {
    pub predictor: Predictor,
    /// Paths of the training photos that an answer may name.
    photos: HashSet<String>,
    /// Makes the maps of where the network looks, from the first request for one on; `None` if that would take as long as fifty
    /// predictions.
    explainer: OnceLock<Option<Explainer>>,
}

/// Where the network looked on a photo.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heat {
    /// The class that the map speaks for.
    pub class: String,
    pub method: &'static str,
    /// The part of the photo that the network saw: top, left, height and width, as shares of the photo's sides.
    pub seen: [f64; 4],
    /// Whether the photo is turned as its EXIF data say; the map fits the turned photo.
    pub orientation: Orientation,
    /// The map as a PNG that is half transparent, to lie over that part.
    pub picture: Vec<u8>,
}

impl Model {
    /// Where the network looks on photos, in their order; `None` for a photo of which that cannot be said.
    pub fn heat(&self, photos: &[Bytes]) -> Vec<Option<Heat>> {
        let explainer = self.explainer.get_or_init(|| {
            let explainer = Explainer::new(&self.predictor, None, None);
            let explainer = explainer
                .inspect_err(|error| tracing::debug!("the maps of where the network looks cannot be made: {error}"));
            explainer.ok().filter(|explainer| explainer.method() != Method::Occlusion)
        });
        let Some(explainer) = explainer else { return vec![None; photos.len()] };
        let origins: Vec<Origin> = photos.iter().map(|photo| Origin::from(Arc::<[u8]>::from(&photo[..]))).collect();
        let heat = |(photo, found): (&Bytes, Result<Explanation, _>)| {
            let found = found.ok()?;
            // As the network's images are turned.
            let (width, height) = match explainer.options().orientation {
                Orientation::Ignore => dimensions(photo).ok()?,
                Orientation::Apply => examine(photo).map(|known| (known.width, known.height)).ok()?,
            };
            let [top, left, rows, columns] =
                explainer.seen(height as usize, width as usize).map(|length| length as f64);
            let (height, width) = (f64::from(height), f64::from(width));
            Some(Heat {
                class: explainer.classes()[found.class].clone(),
                method: explainer.method().name(),
                orientation: explainer.options().orientation,
                seen: [top / height, left / width, rows / height, columns / width],
                picture: overlay(&found.map).ok()?,
            })
        };
        let mut heats: Vec<_> = photos.iter().zip(explainer.explain(origins, None)).map(heat).collect();
        // An error that is not of one photo ends the maps.
        heats.resize(photos.len(), None);
        heats
    }

    fn load(checkpoint: &Path, calibrated: bool) -> Result<Self, ExperimentError> {
        let mut predictor = Predictor::load(checkpoint, Device::Flex)?;
        predictor.set_calibrated(calibrated);
        let photos = match predictor.knowledge() {
            Ok(knowledge) => (0..knowledge.len()).map(|row| knowledge.image(row).0.to_owned()).collect(),
            Err(_) => HashSet::new(),
        };
        if !photos.is_empty() {
            predictor.set_neighbours(NEIGHBOURS)?;
        }
        Ok(Self { predictor, photos, explainer: OnceLock::new() })
    }
}

/// The place of the network: empty until an epoch is finished.
#[derive(Debug)]
pub(crate) struct Slot {
    checkpoint: PathBuf,
    /// The folder of the run; `None` if a checkpoint alone is served.
    pub run: Option<PathBuf>,
    calibrated: bool,
    now: RwLock<Option<(Option<Stamp>, Arc<Model>)>>,
}

/// What distinguishes a checkpoint from the next: time and length of its file, and of the knowledge beside it.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Slot {
    /// Loads the network of a run's folder or of a checkpoint.
    ///
    /// # Errors
    /// [`ServeError`] if there is nothing to serve, or if the checkpoint is damaged.
    pub fn open(path: &Path, calibrated: bool) -> Result<Self, ServeError> {
        let run = path.is_dir().then(|| path.to_owned());
        let checkpoint = if run.is_some() { path.join(Checkpoints::BEST) } else { path.to_owned() };
        let is_run = run.as_ref().is_some_and(|run| run.join("experiment.toml").is_file());
        // What is named itself and is no file, such as a pipe, is refused where it is opened.
        if !is_run && !checkpoint.exists() {
            return Err(ServeError::Nothing { path: path.to_owned() });
        }
        let slot = Self { checkpoint, run, calibrated, now: RwLock::new(None) };
        if slot.checkpoint.exists() {
            slot.fill()?;
        }
        Ok(slot)
    }

    /// The network of this moment; `None` before the first epoch is finished.
    pub fn get(&self) -> Option<Arc<Model>> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, model)| model.clone())
    }

    /// Loads the checkpoint if it has changed. While it is being replaced, or does not fit what lies beside it yet, the network stays.
    pub fn refresh(&self) {
        let stamp = self.stamp();
        let known = self.now.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(stamp, _)| *stamp);
        if stamp.is_some()
            && known != Some(stamp)
            && let Err(error) = self.fill()
        {
            tracing::debug!("the new checkpoint is not taken yet: {error}");
        }
    }

    fn fill(&self) -> Result<(), ExperimentError> {
        let stamp = self.stamp();
        let model = Arc::new(Model::load(&self.checkpoint, self.calibrated)?);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Some((stamp, model));
        Ok(())
    }

    fn stamp(&self) -> Option<Stamp> {
        let of = |path: &Path| path.metadata().ok().and_then(|it| Some((it.modified().ok()?, it.len())));
        let knowledge = self.checkpoint.with_file_name(injerto_experiment::Knowledge::FILE);
        let checkpoint = of(&self.checkpoint)?;
        Some([Some(checkpoint), of(&knowledge)])
    }

    /// The small picture of a training photo that an answer has named, as JPEG; `None` if no answer names it, or if its file is gone.
    pub fn picture(&self, path: &str) -> Option<Vec<u8>> {
        let named = self.get()?.photos.contains(path);
        let inside = Inside::new(&from_text(path)).filter(|_| named)?;
        let file = self.root()?.join(inside.path());
        thumbnails(&[&file], SIDE).pop()?
    }

    /// The folder of the training photos.
    fn root(&self) -> Option<PathBuf> {
        let file = self.run.as_ref()?.join("experiment.toml");
        let config = Config::parse(&std::fs::read_to_string(&file).ok()?, &file, &[]).ok()?;
        match config.data.images {
            Images::Folder { root } => root.iter().find(|root| root.is_dir()).or(root.first()).cloned(),
            Images::Drawn { .. } | Images::Features { .. } => None,
        }
    }
}
