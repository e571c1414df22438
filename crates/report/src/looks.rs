//! What the network of the best epoch adds to the photos of a page when it runs once more: what its answers rest on, which training photos
//! resemble them, and how it saw photos in training.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use injerto_config::Device;
use injerto_data::decode::{Orientation, examine};
use injerto_data::{Dataset, Loader, Sample, small_jpeg};
use injerto_experiment::explain::{Explainer, Explanation, Method};
use injerto_experiment::{Predictor, Similar, training_images};
use injerto_files::{from_text, printable};
use injerto_trainer::Checkpoints;

use crate::heat::overlay;
use crate::judged::Placed;
use crate::run::Run;

/// Most photos whose maps are made.
const MAPS: usize = 64;
/// Most photos whose nearest training photos are shown.
const RESEMBLED: usize = 8;
/// Training photos that are shown for each.
const NEAREST: usize = 5;
/// Photos of a batch that is shown.
const BATCH: usize = 12;
/// Longer side of a photo of the batch, in pixels.
const SIDE: usize = 96;

/// What an answer rests on, ready to lie over a photo.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// A small PNG that is half transparent.
    pub png: Vec<u8>,
    /// The part of the photo that it covers: top, left, height and width, as shares of the photo's.
    pub covers: [f64; 4],
}

/// What was found.
#[derive(Debug, Default)]
pub struct Looks {
    /// By the photo's path.
    pub overlays: HashMap<String, Overlay>,
    /// What the overlays are, in words.
    pub method: Option<String>,
    /// Photos with the training photos that resemble them most.
    pub nearest: Vec<(String, Vec<Similar>)>,
    /// Training photos as the network sees them, changed at random, as JPEGs; none if they are not changed.
    pub batch: Vec<Vec<u8>>,
}

impl Looks {
    /// Runs the network of a run on photos below `root`, given in the order of their importance; the first few are compared with the
    /// training photos. If there is no network, or the run knows nothing about its photos, less is found, and that is no error.
    pub fn of(run: &Run, root: &Path, photos: &[&str]) -> Self {
        let mut looks = Self::default();
        let Ok(mut predictor) = Predictor::load(&run.folder.join(Checkpoints::BEST), Device::Flex) else {
            return looks;
        };
        let file = |path: &&str| root.join(from_text(path));
        looks.batch = batch(run, &predictor, root).unwrap_or_default();
        if predictor.set_neighbours(NEAREST).is_ok() {
            let first = &photos[..photos.len().min(RESEMBLED)];
            let files: Vec<PathBuf> = first.iter().map(file).collect();
            let found = first.iter().zip(predictor.predict(files));
            looks.nearest = found
                .filter_map(|(path, found)| Some(((*path).to_owned(), found.ok()?.neighbours().to_vec())))
                .filter(|(_, similar)| !similar.is_empty())
                .collect();
        }
        // Occlusion takes too long for a page.
        let explainer = Explainer::new(&predictor, None, None).ok().filter(|it| it.method() != Method::Occlusion);
        let Some(explainer) = explainer else { return looks };
        let photos = &photos[..photos.len().min(MAPS)];
        let files: Vec<PathBuf> = photos.iter().map(file).collect();
        for ((path, file), found) in photos.iter().zip(&files).zip(explainer.explain(files.clone(), None)) {
            let overlay = found.ok().and_then(|found| Overlay::of(&explainer, file, &found));
            looks.overlays.extend(overlay.map(|overlay| ((*path).to_owned(), overlay)));
        }
        looks.method = (!looks.overlays.is_empty()).then(|| match explainer.layer() {
            Some(layer) => {
                format!("Light is what speaks for the predicted class: Grad-CAM of the layer {}", printable(layer))
            }
            None => "Light is what the network attends to: the rollout of its attention".to_owned(),
        });
        looks
    }

    /// The paths of the training photos that resemble others.
    pub fn training_photos(&self) -> impl Iterator<Item = &str> {
        self.nearest.iter().flat_map(|(_, similar)| similar.iter().map(|similar| similar.path.as_str()))
    }
}

impl Overlay {
    /// `None` if nothing speaks for the class, or if the photo is turned on the page in another way than for the network.
    fn of(explainer: &Explainer, file: &Path, found: &Explanation) -> Option<Self> {
        let facts = examine(&injerto_data::read(file).ok()?).ok()?;
        if found.map.is_empty() || (facts.turned && explainer.options().orientation != Orientation::Apply) {
            return None;
        }
        let (height, width) = (facts.height as usize, facts.width as usize);
        let [top, left, rows, columns] = explainer.seen(height, width).map(|length| length as f64);
        let (height, width) = (height as f64, width as f64);
        let covers = [top / height, left / width, rows / height, columns / width];
        Some(Self { png: overlay(&found.map).ok()?, covers })
    }
}

/// Some training photos, changed at random as in training; `None` if they are not changed, or cannot be read.
fn batch(run: &Run, predictor: &Predictor, root: &Path) -> Option<Vec<Vec<u8>>> {
    let config = run.config()?;
    let options = training_images(&config, predictor.card());
    if options.augment.is_empty() && options.mix == Default::default() {
        return None;
    }
    let training: Vec<&Placed> = run.placed.iter().filter(|placed| placed.side == "train").collect();
    let count = training.len().min(BATCH);
    let classes = predictor.classes().to_vec();
    let sample = |placed: &&Placed| {
        let label = classes.iter().position(|class| printable(class).to_string() == placed.class).unwrap_or(0);
        Sample::new(root.join(from_text(&placed.path)), label as u32)
    };
    let samples: Vec<Sample> = training.iter().map(sample).collect();
    let shown: Vec<usize> = (0..count).map(|at| at * samples.len() / count).collect();
    let [height, width] = options.image_size;
    let loader = Loader::new(Dataset { classes, samples }, options);
    let mut jpegs = Vec::new();
    for batch in loader.augmented(&shown, 0) {
        let pixels = batch.ok()?.pixels;
        jpegs.extend(pixels.chunks_exact(height * width * 3).filter_map(|one| small_jpeg(one, [height, width], SIDE)));
    }
    Some(jpegs)
}
