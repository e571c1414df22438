use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use injerto_backbones::network::Network;
use injerto_backbones::plugin::Catalog;
use injerto_backbones::resolve::Ask;
use injerto_backbones::weights::Cache;
use injerto_data::decode::{Orientation, decode};
use injerto_data::folder::EXTENSIONS;
use injerto_data::look::{Looked, look};
use injerto_data::{DataError, OnCorrupt, Skipped, resize};
use injerto_graph::{Activation, Graph, Operator, Preprocessing, WeightSet};
use injerto_trainer::Runner;
use serde_json::{Map, Value, json};

use crate::{ExperimentError, device};

/// Number and name of ImageNet's classes, one a line.
const CLASSES: &str = include_str!("imagenet_classes.txt");

/// ImageNet's 1000 classes in the order of a network's outputs: their numbers in WordNet, such as `n01440764`, and names.
pub fn imagenet_classes() -> Vec<(&'static str, &'static str)> {
    CLASSES.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' ')).collect()
}

/// A backbone with its own classifier, which tells ImageNet's classes apart.
#[derive(Debug)]
pub struct Classifier {
    runner: Runner,
    preprocessing: Preprocessing,
    /// Where its weights are from, in words.
    pub origin: String,
    /// What is probably not meant.
    pub warnings: Vec<String>,
}

impl Classifier {
    /// Finds a backbone and its weights. The classifier on top is asked for where `parameters` say nothing of it.
    ///
    /// # Errors
    /// A backbone or weights that are not there, or that have no classifier with ImageNet's classes.
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
            return Err(no_top(format!("its weights '{weights}' come without one")));
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
        Ok(Self {
            runner: Runner::new(network, preprocessing.clone(), on.has_kernels())?,
            preprocessing,
            origin,
            warnings,
        })
    }

    /// Share of the shorter side of a photo that it looks at, cut out of the middle; `None` for the whole photo, squeezed.
    pub fn crop(&self) -> Option<f64> {
        self.preprocessing.crop
    }

    /// Sets what [`Classifier::crop`] says.
    pub fn set_crop(&mut self, share: f64) {
        self.preprocessing.crop = Some(share);
    }

    /// Probabilities of all classes, one list an image.
    ///
    /// # Errors
    /// A file that is no readable image.
    pub fn probabilities(&self, images: &[PathBuf]) -> Result<Vec<Vec<f32>>, ExperimentError> {
        let size = self.runner.image_size();
        let mut pixels = Vec::with_capacity(images.len() * size[0] * size[1] * 3);
        for path in images {
            let corrupt = |reason: String| DataError::Corrupt { path: path.clone(), reason };
            let bytes = injerto_data::read(path).map_err(corrupt)?;
            let mut image = decode(&bytes, Orientation::Ignore).map_err(corrupt)?;
            if let Some(share) = self.preprocessing.crop {
                image = resize::center_crop(&image, share);
            }
            pixels.extend(resize::resize(&image, size, self.preprocessing.interpolation, false));
        }
        let outputs = self.runner.values(&pixels, images.len())?.swap_remove(0);
        Ok(outputs.chunks_exact(outputs.len() / images.len().max(1)).map(<[f32]>::to_vec).collect())
    }

    /// Names of the `count` most probable classes of each image with their probabilities, the most probable first.
    ///
    /// # Errors
    /// A file that is no readable image.
    pub fn predict(&self, images: &[PathBuf], count: usize) -> Result<Vec<Vec<(&'static str, f32)>>, ExperimentError> {
        let classes = imagenet_classes();
        let named = |row: Vec<f32>| ranked(&row).into_iter().take(count).map(|at| (classes[at].1, row[at])).collect();
        Ok(self.probabilities(images)?.into_iter().map(named).collect())
    }
}

/// How often a classifier was right.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Photos.
    pub images: usize,
    /// Share of photos whose most probable class was the right one.
    pub top_1: f64,
    /// Share of photos whose right class was among the five most probable: the challenge's rule.
    pub top_5: f64,
    /// Time that it took.
    pub seconds: f64,
    /// Files that are no readable images, and were left out.
    pub skipped: Vec<Skipped>,
}

/// Has every photo of a folder classified. The right classes are read from names: see [`labelled`]. `progress` is told how
/// many photos are done, of how many. Every file is looked at first; with [`OnCorrupt::Skip`], those that are no images are left
/// out and listed.
///
/// # Errors
/// Photos whose class cannot be told, and files that are no readable images: all of them together, or all there are.
pub fn evaluate(
    classifier: &Classifier,
    folder: &Path,
    batch_size: usize,
    on_corrupt: OnCorrupt,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation, ExperimentError> {
    let began = Instant::now();
    let mut photos = labelled(folder)?;
    let files: Vec<&PathBuf> = photos.iter().map(|(path, _)| path).collect();
    let Looked { files: all, unreadable: skipped, .. } = look(&files, None, &|_| {}).accepted(on_corrupt)?;
    photos.retain(|(path, _)| !skipped.iter().any(|skipped| skipped.path == *path));
    if photos.is_empty() {
        return Err(DataError::CorruptFiles { files: skipped, total: all }.into());
    }
    let (mut first, mut five, mut done) = (0, 0, 0);
    for batch in photos.chunks(batch_size.max(1)) {
        let paths: Vec<PathBuf> = batch.iter().map(|(path, _)| path.clone()).collect();
        for (row, (_, label)) in classifier.probabilities(&paths)?.iter().zip(batch) {
            let place = ranked(row).iter().position(|at| at == label);
            first += usize::from(place == Some(0));
            five += usize::from(place.is_some_and(|place| place < 5));
        }
        done += batch.len();
        progress(done, photos.len());
    }
    let share = |right: usize| right as f64 / photos.len() as f64;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Evaluation { images: photos.len(), top_1: share(first), top_5: share(five), seconds, skipped })
}

/// Photos and their classes by position among ImageNet's. In a folder with sub-folders, the sub-folder's name tells: a
/// number of WordNet (`n01440764`), a class's position (`0`, or `000_anything`), or its name. In one without, the file's
/// name begins with the position.
///
/// # Errors
/// A folder that cannot be read or has no photos, a name that tells no class.
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
        return Err(ExperimentError::NoLabel { path: folder.to_owned(), reason: "no photos in it".to_owned() });
    }
    Ok(photos)
}

/// The class that a file's or folder's name tells.
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
            "expected a name that begins with the class's position, 0 to 999 (`207_golden_retriever`), or a folder \
                 that bears the class's number in WordNet (`n02099601`) or its name"
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

/// Positions of the values, the largest first; of equal ones, the earlier first.
fn ranked(values: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order
}

/// The network with a softmax behind it, if its last layer puts out logits.
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
    fn names_tell_classes() {
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
    fn ties_go_to_the_earlier_class() {
        assert_eq!(ranked(&[0.1, 0.4, 0.4, 0.1]), [1, 2, 0, 3]);
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
