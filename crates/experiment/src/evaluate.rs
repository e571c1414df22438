use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use injerto_backbones::network::Network;
use injerto_backbones::plugin::Catalog;
use injerto_backbones::resolve::Ask;
use injerto_backbones::weights::Cache;
use injerto_config::Precision;
use injerto_data::folder::EXTENSIONS;
use injerto_data::look::{Looked, look};
use injerto_data::{DataError, LoaderOptions, OnCorrupt, Origin, Skipped};
use injerto_graph::{Activation, Graph, Operator, WeightSet};
use injerto_trainer::{Arithmetic, Arithmetics, Event, Part, Runner, Watch};
use serde_json::{Map, Value, json};

use crate::predict::{Answering, Predictions, batch_size};
use crate::prepare::arithmetic;
use crate::{ExperimentError, device};

/// ImageNet's classes, one per line: WordNet number and name.
const CLASSES: &str = include_str!("imagenet_classes.txt");

/// WordNet number, such as `n01440764`, and name of ImageNet's 1000 classes, in the order of a network's outputs.
pub fn imagenet_classes() -> Vec<(&'static str, &'static str)> {
    CLASSES.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' ')).collect()
}

/// A backbone with its own classifier for ImageNet's classes. It owns its data and can be used by several threads at once.
#[derive(Debug)]
pub struct Classifier {
    network: Answering,
    /// Source of its weights, in words.
    pub origin: String,
    /// Warnings about what is allowed but probably not intended.
    pub warnings: Vec<String>,
}

impl Classifier {
    /// Finds a backbone and its weights. Unless `parameters` set `include_top`, it is set to true.
    ///
    /// # Errors
    /// [`ExperimentError`] if the backbone or the weights cannot be found, or have no classifier for ImageNet's classes.
    pub fn new(
        catalog: &mut Catalog,
        backbone: &str,
        parameters: &Map<String, Value>,
        weights: &str,
        cache: &Cache,
        on: injerto_config::Device,
    ) -> Result<Self, ExperimentError> {
        let found = catalog.find(backbone)?;
        let mut given = parameters.clone();
        if found.descriptor.parameters.contains_key("include_top") {
            given.entry("include_top").or_insert(json!(true));
        }
        let sets = catalog.describe(&found, &given)?.weights;
        let has_top = |set: &&WeightSet| set.requires.get("include_top") != Some(&json!(false));
        let no_top = |problem: String| {
            let with = sets.iter().filter(has_top).map(|set| set.id.clone()).collect();
            ExperimentError::NoTop { backbone: backbone.to_owned(), problem, with }
        };
        if sets.iter().any(|set| set.id == weights && !has_top(&set)) {
            return Err(no_top(format!("its weights '{weights}' come without a classifier")));
        }
        let resolved = catalog.resolve(&Ask {
            backbone,
            parameters: &given,
            image_size: None,
            last_layer: None,
            preprocessing: None,
            weights,
            seed: 0,
        })?;
        let (outputs, classes) = (resolved.description.graph.output_shape(), imagenet_classes().len());
        if outputs.0 != [classes] {
            return Err(no_top(format!("its output is {outputs}, not [{classes}]")));
        }
        let values = resolved.weights(catalog, cache)?;
        let (description, origin, warnings) = (resolved.description, resolved.origin.to_string(), resolved.warnings);
        let graph = Arc::new(with_softmax(description.graph)?);
        let network = Network::new(graph, &values, &device(on)?).map_err(injerto_trainer::TrainError::from)?;
        let preprocessing = description.preprocessing;
        let runner = Runner::new(network, preprocessing.clone(), on.has_kernels())?;
        let options = LoaderOptions {
            interpolation: preprocessing.interpolation,
            center_crop: preprocessing.crop,
            ..LoaderOptions::new(runner.image_size(), batch_size(runner.image_size()))
        };
        let classes = imagenet_classes().into_iter().map(|(_, name)| name.to_owned()).collect();
        Ok(Self {
            network: Answering { runner, options, views: 1, classes, loss: None, thresholds: None, known: None },
            origin,
            warnings,
        })
    }

    /// Names of ImageNet's classes, in the order of the network's outputs.
    pub fn classes(&self) -> &[String] {
        &self.network.classes
    }

    /// Side of the square that is cut from the middle of a photo, as a share of the photo's shorter side. With `None` the whole
    /// photo is resized to the network's input, without keeping its aspect ratio.
    pub fn crop(&self) -> Option<f64> {
        self.network.options.center_crop
    }

    /// Sets the share that [`Classifier::crop`] returns.
    pub fn set_crop(&mut self, share: f64) {
        self.network.options.center_crop = Some(share);
    }

    /// Sets the number of images that run through the network together; 0 counts as 1.
    pub fn set_batch_size(&mut self, images: usize) {
        self.network.options.batch_size = images.max(1);
    }

    /// Has the network computed in `precision`, or in `f32` if this processor has no unit for it, and says which.
    ///
    /// # Errors
    /// The kernels cannot compile the network.
    pub fn set_precision(&mut self, precision: Precision) -> Result<Part, ExperimentError> {
        let prefix = match arithmetic(precision, true) {
            Some(Arithmetics::Kernels { prefix, .. }) => prefix,
            Some(Arithmetics::Operators { .. }) | None => Arithmetic::f32(),
        };
        self.network.runner.set_arithmetic(prefix)?;
        Ok(Part::of(prefix))
    }

    /// Classifies images. [`Predictor::predict`](crate::Predictor::predict) describes their forms and the order of the answers.
    pub fn predict<I>(&self, images: I) -> Predictions<'_>
    where
        I: IntoIterator<Item: Into<Origin>>,
        I::IntoIter: Send + 'static,
    {
        self.network.predict(images)
    }
}

/// Accuracy of a classifier on labelled photos.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Number of photos.
    pub images: usize,
    /// Share of the photos whose most probable class is the right one.
    pub top_1: f64,
    /// Share of the photos whose right class is among the five most probable ones, as the ImageNet challenge counts.
    pub top_5: f64,
    /// Duration of the evaluation in seconds.
    pub seconds: f64,
    /// Files that were left out because they are not readable images.
    pub skipped: Vec<Skipped>,
}

/// Classifies every photo of a folder and counts the right answers; the right classes are read from names (see [`labelled`]).
/// Returns `None` if `watch` was stopped. The observer receives [`Event::Evaluated`] after each photo. Every file is read
/// beforehand; with [`OnCorrupt::Skip`], files that are not images are left out and listed.
///
/// # Errors
/// [`ExperimentError::NoLabel`] for a photo whose name does not say its class; [`DataError::CorruptFiles`] with all
/// unreadable files, under [`OnCorrupt::Error`] or if no photo is readable.
pub fn evaluate(
    classifier: &Classifier,
    folder: &Path,
    on_corrupt: OnCorrupt,
    watch: &mut Watch<'_>,
) -> Result<Option<Evaluation>, ExperimentError> {
    let began = Instant::now();
    let mut photos = labelled(folder)?;
    let files: Vec<&PathBuf> = photos.iter().map(|(path, _)| path).collect();
    let Looked { files: all, unreadable: skipped, .. } = look(&files, None, &|_| {})?.accepted(on_corrupt)?;
    let bad: HashSet<&Path> = skipped.iter().filter_map(|skipped| skipped.origin.path()).collect();
    photos.retain(|(path, _)| !bad.contains(path.as_path()));
    if photos.is_empty() {
        return Err(DataError::CorruptFiles { files: skipped, total: all }.into());
    }
    let (paths, labels): (Vec<PathBuf>, Vec<usize>) = photos.into_iter().unzip();
    let (mut first, mut five, total) = (0, 0, labels.len());
    for (done, (prediction, label)) in (1..).zip(classifier.predict(paths).zip(labels)) {
        let place = prediction?.ranking().iter().position(|&at| at == label);
        first += usize::from(place == Some(0));
        five += usize::from(place.is_some_and(|place| place < 5));
        watch.observer.observe(&Event::Evaluated { done, total });
        if watch.is_stopped() {
            return Ok(None);
        }
    }
    let share = |right: usize| right as f64 / total as f64;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Some(Evaluation { images: total, top_1: share(first), top_5: share(five), seconds, skipped }))
}

/// Paths of the photos in a folder, each with the position of its class among ImageNet's classes.
///
/// If the folder has sub-folders, the name of a sub-folder says the class of its photos. It is the class's WordNet number
/// (`n01440764`), its position (`0` or `000_anything`) or its name. Otherwise the name of each file begins with the position.
///
/// # Errors
/// [`ExperimentError`] if a folder cannot be read, if it has no photos, or if a name does not say a class.
pub fn labelled(folder: &Path) -> Result<Vec<(PathBuf, usize)>, ExperimentError> {
    let folders: Vec<PathBuf> = list(folder)?.into_iter().filter(|path| path.is_dir()).collect();
    let mut photos = Vec::new();
    let mut take = |files: Vec<PathBuf>, label: &dyn Fn(&Path) -> Result<usize, ExperimentError>| {
        for path in files.into_iter().filter(|path| is_image(path)) {
            let label = label(&path)?;
            photos.push((path, label));
        }
        Ok::<(), ExperimentError>(())
    };
    if folders.is_empty() {
        take(list(folder)?, &label)?;
    }
    for class in folders {
        let label = label(&class)?;
        take(list(&class)?, &|_| Ok(label))?;
    }
    if photos.is_empty() {
        return Err(ExperimentError::NoLabel {
            path: folder.to_owned(),
            reason: "there are no photos in it".to_owned(),
        });
    }
    Ok(photos)
}

/// Position of the class that the name of a file or folder says.
fn label(path: &Path) -> Result<usize, ExperimentError> {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let classes = imagenet_classes();
    let digits = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    let ends = name[digits..].is_empty() || name[digits..].starts_with(['_', '-', ' ', '.']);
    let position = name[..digits].parse().ok().filter(|&at: &usize| ends && at < classes.len());
    let spoken = name.replace('_', " ").to_lowercase();
    let known = |(number, class): &(&str, &str)| *number == name || class.to_lowercase() == spoken;
    position.or_else(|| classes.iter().position(known)).ok_or_else(|| ExperimentError::NoLabel {
        path: path.to_owned(),
        reason:
            "expected a name that begins with the class's position from 0 to 999 (`207_golden_retriever`), or a folder \
             named after the class's WordNet number (`n02099601`) or its name"
                .to_owned(),
    })
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, ExperimentError> {
    let io = |source| ExperimentError::Io { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(io)?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(io)?;
    paths.retain(|path| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")));
    paths.sort();
    Ok(paths)
}

fn is_image(path: &Path) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    EXTENSIONS.iter().any(|extension| name.ends_with(extension))
}

/// Appends a softmax to the network if its last layer returns logits.
fn with_softmax(graph: Graph) -> Result<Graph, ExperimentError> {
    let last = graph.nodes().last().map(injerto_graph::Node::operator);
    if !matches!(last, Some(Operator::Dense { activation: Activation::Linear, .. })) {
        return Ok(graph);
    }
    let softmax =
        injerto_graph::Layer { name: "probabilities".to_owned(), operator: Operator::Softmax {}, inputs: Vec::new() };
    Ok(graph.graft(graph.name(), vec![softmax])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_a_thousand_classes_in_the_order_of_their_numbers() {
        let classes = imagenet_classes();
        assert_eq!(classes.len(), 1000);
        assert!(classes.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!((classes[0], classes[207].1), (("n01440764", "tench"), "golden retriever"));
    }

    #[test]
    fn the_name_of_a_photo_or_folder_says_its_class() {
        let check = |name: &str, expected: Option<usize>| {
            assert_eq!(label(Path::new(name)).ok(), expected, "{name}");
        };
        check("folder/207_n02099601_golden_retriever.jpg", Some(207));
        check("0.jpg", Some(0));
        check("n02099601", Some(207));
        check("golden_retriever", Some(207));
        check("Golden Retriever", Some(207));
        check("1000_beyond.jpg", None);
        check("12monkeys.jpg", None);
        check("cat.jpg", None);
    }

    #[test]
    fn folders_of_classes_and_flat_folders() {
        let folder = tempfile::tempdir().expect("a folder");
        let touch = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, b"").expect("written");
        };
        let labels = || -> Vec<usize> {
            labelled(folder.path()).expect("labelled").into_iter().map(|(_, label)| label).collect()
        };
        assert!(labelled(folder.path()).expect_err("empty").to_string().contains("no photos"));
        touch("007_cock.jpg");
        touch("002.PNG");
        touch("notes.txt");
        assert_eq!(labels(), [2, 7]);
        touch("n01440764/a.jpg");
        touch("goldfish/b.jpg");
        assert_eq!(labels(), [1, 0]);
        touch("unheard of/c.jpg");
        let error = labelled(folder.path()).expect_err("no such class").to_string();
        assert!(error.contains("unheard of") && error.contains("n02099601"), "{error}");
    }
}
