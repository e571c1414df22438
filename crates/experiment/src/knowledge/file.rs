use std::collections::BTreeMap;
use std::path::Path;

use injerto_backbones::weights::{Precision, WeightError, WeightFile, Weights};
use injerto_graph::Format;
use injerto_insight::Matrix;
use injerto_insight::neighbours::Neighbours;
use injerto_trainer::ModelCard;

use super::{Facts, Knowledge};
use crate::ExperimentError;

/// Metadata key of everything but the features.
const KEY: &str = "injerto.knowledge";
/// Name of the tensor of the features, `[images, width]`.
const FEATURES: &str = "features";
/// Upper limit of the size of a file, in bytes; runs write at most half of it.
const LARGEST: u64 = 256 << 20;
/// Upper limit of the neighbours that a threshold may count.
const MOST_NEIGHBOURS: usize = 1000;

/// What lies beside a checkpoint.
pub(crate) enum Found {
    /// What was kept with this model.
    Kept(Box<Knowledge>),
    /// Nothing that belongs to it, for this reason.
    Nothing(String),
}

/// What a message says of a file after the file's name, which the error around it says already.
fn unnamed(path: &Path, message: &str) -> String {
    match message.strip_prefix(&injerto_files::shown(path).to_string()) {
        Some(rest) if rest.starts_with(' ') => format!("it{rest}"),
        Some(rest) => rest.trim_start_matches([':', ',', ' ']).to_owned(),
        None => message.to_owned(),
    }
}

impl Knowledge {
    /// Writes the file; it appears whole or not at all. Features take two bytes each.
    pub(super) fn save(&self, path: &Path) -> Result<(), ExperimentError> {
        let (mut tensors, features) = (Weights::default(), self.features());
        tensors.insert(FEATURES, vec![features.len(), features.width()], features.values().to_vec());
        let facts = serde_json::to_string(&self.facts).expect("facts are plain data");
        Ok(tensors.save(path, &BTreeMap::from([(KEY.to_owned(), facts)]), Precision::F16)?)
    }

    /// Reads a file, which may come from anyone.
    ///
    /// # Errors
    /// [`ExperimentError`] if it cannot be read, is damaged, or contradicts itself.
    pub fn load(path: &Path) -> Result<Self, ExperimentError> {
        let bad = |reason: String| ExperimentError::Knowledge { path: path.to_owned(), reason };
        let size =
            std::fs::metadata(path).map_err(|source| ExperimentError::Io { path: path.to_owned(), source })?.len();
        if size > LARGEST {
            return Err(bad(format!("it has {} MiB, and no run writes more than {}", size >> 20, LARGEST >> 20)));
        }
        let unnamed = |error: WeightError| bad(unnamed(path, &error.to_string()));
        let file = WeightFile::open_as(path, Format::Safetensors).map_err(unnamed)?;
        if file.checksum().is_none() {
            return Err(bad("it has no checksum".to_owned()));
        }
        let text = file.metadata().get(KEY).ok_or_else(|| bad(format!("there is no '{KEY}' in its metadata")))?;
        let facts: Facts = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        let tensors = file.named(FEATURES).map_err(unnamed)?;
        let values = tensors.get(FEATURES).ok_or_else(|| bad(format!("there is no tensor '{FEATURES}' in it")))?;
        let [images, width] = values.shape[..] else {
            return Err(bad(format!("its features have shape {:?}, expected [images, width]", values.shape)));
        };
        let features = Matrix::new(width, values.data.clone()).map_err(|error| bad(error.to_string()))?;
        facts.check(images).map_err(bad)?;
        Ok(Self { facts, images: Neighbours::new(&features) })
    }

    /// What was kept with the checkpoint at `path`, whose file has this checksum, in the same folder.
    ///
    /// # Errors
    /// Those of [`Knowledge::load`], and knowledge that names this checkpoint and does not fit its network.
    pub(crate) fn beside(path: &Path, checksum: Option<&str>, card: &ModelCard) -> Result<Found, ExperimentError> {
        let path = path.with_file_name(Self::FILE);
        if !path.is_file() {
            return Ok(Found::Nothing(format!("there is no {} beside the checkpoint", Self::FILE)));
        }
        let knowledge = Self::load(&path)?;
        if checksum != Some(&knowledge.facts.checkpoint) {
            return Ok(Found::Nothing(format!("{} belongs to another checkpoint", injerto_files::shown(&path))));
        }
        knowledge.check_fit(&path, card)?;
        Ok(Found::Kept(Box::new(knowledge)))
    }
}

impl Facts {
    /// Checks that these are facts about this number of images, by which images can be judged.
    fn check(&self, images: usize) -> Result<(), String> {
        let (paths, labels, classes) = (self.paths.len(), self.labels.len(), self.classes.len());
        if images == 0 || paths != images || labels != images || self.training_images < images {
            let of = self.training_images;
            return Err(format!(
                "it has features of {images} images, {paths} paths and {labels} labels, of {of} images"
            ));
        }
        if let Some(label) =
            self.labels.iter().flat_map(|label| label.classes()).find(|label| **label as usize >= classes)
        {
            return Err(format!("an image has class {label}, but there are {classes} classes"));
        }
        if self.threshold.as_ref().is_some_and(|it| !it.is_sound() || it.neighbours > MOST_NEIGHBOURS) {
            return Err("its threshold for unknown images is none".to_owned());
        }
        if self.temperature.is_some_and(|it| !it.value.is_finite() || it.value < 0.01 || it.value > 100.0) {
            return Err("its temperature is none".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use injerto_data::Label;
    use injerto_insight::Watch;
    use injerto_insight::unknown::Known;
    use serde_json::json;

    use super::*;

    fn knowledge() -> Knowledge {
        let row = |row: usize| [1.0, (row as f32).sin(), (row as f32).cos()];
        let features = |from: usize| Matrix::new(3, (from..from + 12).flat_map(row).collect()).expect("finite");
        let known = Known::fit(&features(0), &features(5), 0.95, Watch::none()).expect("there are images");
        let facts = Facts {
            checkpoint: "ab".repeat(32),
            layer: "pool".to_owned(),
            classes: vec!["cats".to_owned(), "dogs".to_owned()],
            training_images: 40,
            paths: (0..12).map(|at| format!("cats/{at}.jpg")).collect(),
            labels: (0..12).map(|at| Label::Class(at % 2)).collect(),
            threshold: Some(known.threshold().clone()),
            temperature: None,
        };
        Knowledge { facts, images: Neighbours::new(&features(0)) }
    }

    #[test]
    fn what_is_kept_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, kept) = (folder.path().join(Knowledge::FILE), knowledge());
        kept.save(&path).expect("written");
        let found = Knowledge::load(&path).expect("it was written so");
        assert_eq!(found.facts, kept.facts);
        for (ours, theirs) in found.features().values().iter().zip(kept.features().values()) {
            assert!((ours - theirs).abs() < 1e-3, "{ours} is not {theirs}");
        }
        let near =
            found.nearest(&Matrix::new(3, vec![1.0, 2_f32.sin(), 2_f32.cos()]).expect("finite"), 1).expect("wide");
        let similar = found.similar(&near[0][0]);
        assert_eq!((similar.path.as_str(), similar.label.as_str()), ("cats/2.jpg", "cats"));
        assert!(similar.similarity > 0.999, "{similar:?}");
    }

    #[test]
    fn a_file_that_is_damaged_or_hostile_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(Knowledge::FILE);
        let refused = |part: &str| {
            let error = Knowledge::load(&path).expect_err(part).to_string();
            assert!(error.contains(part) && error.contains("delete the file"), "{part}: {error}");
            assert_eq!(error.matches(Knowledge::FILE).count(), 1, "the file is named once: {error}");
        };
        // A file with other facts, whose checksum is right: whoever writes it can compute one.
        let check = |change: &dyn Fn(&mut serde_json::Value), part: &str| {
            let kept = knowledge();
            let mut facts = serde_json::to_value(&kept.facts).expect("plain data");
            change(&mut facts);
            let mut tensors = Weights::default();
            tensors.insert(FEATURES, vec![12, 3], kept.features().values().to_vec());
            let metadata = BTreeMap::from([(KEY.to_owned(), facts.to_string())]);
            tensors.save(&path, &metadata, Precision::F16).expect("written");
            refused(part);
        };
        check(&|facts| facts["paths"] = json!([]), "12 images, 0 paths and 12 labels");
        check(&|facts| facts["training_images"] = json!(3), "of 3 images");
        check(&|facts| facts["labels"][3] = json!(2), "class 2, but there are 2 classes");
        check(&|facts| facts["classes"] = json!([]), "class 0, but there are 0 classes");
        check(&|facts| facts["threshold"]["quantiles"] = json!([2.0, 1.0]), "threshold");
        check(&|facts| facts["threshold"]["neighbours"] = json!(1_000_000_000), "threshold");
        check(
            &|facts| facts["temperature"] = json!({"value": 0.0, "loss_before": 1, "loss_after": 1, "n": 1}),
            "temperature",
        );
        check(&|facts| facts["layer"] = json!(7), "invalid type");
        // Features that are none, or none at all.
        let facts = serde_json::to_string(&knowledge().facts).expect("plain data");
        let check = |shape: Vec<usize>, values: Vec<f32>, part: &str| {
            let mut tensors = Weights::default();
            tensors.insert(FEATURES, shape, values);
            let metadata = BTreeMap::from([(KEY.to_owned(), facts.clone())]);
            tensors.save(&path, &metadata, Precision::F16).expect("written");
            refused(part);
        };
        check(vec![12, 3], vec![f32::NAN; 36], "not finite");
        check(vec![36], vec![1.0; 36], "expected [images, width]");
        check(vec![12, 0], Vec::new(), "number of features per image");
        check(vec![0, 3], Vec::new(), "features of 0 images");
        // A flipped bit, a file that ends early, and one that is something else.
        knowledge().save(&path).expect("written");
        let whole = std::fs::read(&path).expect("there");
        let mut flipped = whole.clone();
        *flipped.last_mut().expect("not empty") ^= 1;
        for (bytes, part) in [(&flipped[..], "checksum"), (&whole[..whole.len() - 5], ""), (b"{}", ""), (b"", "")] {
            std::fs::write(&path, bytes).expect("written");
            refused(part);
        }
    }
}
