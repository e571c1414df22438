//! The targets of damaged input: all code that reads files from elsewhere.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use image::ImageFormat;
use injerto_backbones::plugin::Identity;
use injerto_backbones::weights::Weights;
use injerto_config::{Config, Device};
use injerto_data::decode::{Orientation, decode, decode_scaled};
use injerto_experiment::{Knowledge, Predictor};
use injerto_graph::summary::Summary;
use injerto_graph::{Cut, CutOptions, Description, Descriptor, Format, FreezePlan, Graph, Selection, TensorMap};
use injerto_kernels::inference::{Input, Program};
use injerto_onnx::read::{Ask, ModelFile};
use injerto_report::{Comparison, Run};
use injerto_trainer::{Checkpoints, Model, cache};

use super::form::{self, Form};
use super::found::found;
use super::input::Seeds;
use super::mutate::Random;
use super::seeds;

/// Reads an input and says whether it is accepted.
pub type Reader = Box<dyn FnMut(&[u8]) -> bool>;

/// A target that is ready: valid inputs, and a reader.
pub struct Ready {
    /// What its inputs are made from.
    pub seeds: Seeds,
    /// Reads an input, and returns whether it was accepted. It may refuse, but it must not panic, and it must keep its promises.
    pub read: Reader,
}

/// Code that reads files.
pub struct Target {
    /// Name in commands and tables.
    pub name: &'static str,
    /// Description of the input.
    pub what: &'static str,
    /// Makes the target ready. The first folder is that of a finished run, and the second one may be written to.
    ready: fn(&Path, &Path) -> Result<Ready>,
}

impl Target {
    /// Makes it ready, with good inputs and those that were found. `run` is a finished run's folder, `scratch` one to write
    /// into.
    ///
    /// # Errors
    /// Folders that are not what they should be.
    pub fn ready(&self, run: &Path, scratch: &Path) -> Result<Ready> {
        let mut ready = (self.ready)(run, scratch)?;
        ready.seeds.found = found(self.name)?;
        Ok(ready)
    }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "toml", what: "an experiment's file", ready: toml },
    Target { name: "graph", what: "a graph in JSON, compiled and run where it is small", ready: graph },
    Target { name: "description", what: "a backbone's description in JSON", ready: description },
    Target { name: "answer", what: "a plugin's answers: identity and descriptors", ready: answer },
    Target { name: "onnx", what: "a network in an ONNX model", ready: onnx },
    Target { name: "safetensors", what: "weights in safetensors", ready: safetensors },
    Target { name: "pickle", what: "weights as PyTorch saves them", ready: pickle },
    Target { name: "hdf5", what: "weights in HDF5, and in Keras's archives", ready: hdf5 },
    Target { name: "features", what: "a segment of the feature cache", ready: features },
    Target { name: "report", what: "a run's folder with one damaged file, drawn", ready: report },
    Target { name: "compare", what: "the same, compared with a good one", ready: compare },
    Target { name: "predict", what: "a checkpoint, put to use", ready: predict },
    Target { name: "knowledge", what: "what a run keeps with its model", ready: knowledge },
    Target { name: "resume", what: "a checkpoint, to go on from", ready: resume },
    Target { name: "jpeg", what: "JPEG", ready: |_, _| pictures(ImageFormat::Jpeg) },
    Target { name: "png", what: "PNG", ready: |_, _| pictures(ImageFormat::Png) },
    Target { name: "gif", what: "GIF", ready: |_, _| pictures(ImageFormat::Gif) },
    Target { name: "bmp", what: "BMP", ready: |_, _| pictures(ImageFormat::Bmp) },
    Target { name: "webp", what: "WebP", ready: |_, _| pictures(ImageFormat::WebP) },
    Target { name: "tiff", what: "TIFF", ready: |_, _| pictures(ImageFormat::Tiff) },
    #[cfg(feature = "avif")]
    Target { name: "avif", what: "AVIF", ready: |_, _| ready(seeds::avif(), form::boxes, picture) },
    #[cfg(feature = "jxl")]
    Target { name: "jxl", what: "JPEG XL", ready: |_, _| ready(seeds::jxl(), form::boxes, picture) },
];

fn ready(good: Vec<Vec<u8>>, form: Form, read: impl FnMut(&[u8]) -> bool + 'static) -> Result<Ready> {
    Ok(Ready { seeds: Seeds { good, found: Vec::new(), form }, read: Box::new(read) })
}

fn toml(_: &Path, _: &Path) -> Result<Ready> {
    ready(seeds::experiments(), form::toml, |bytes| {
        let (text, path) = (String::from_utf8_lossy(bytes), Path::new("experiment.toml"));
        let Ok(config) = Config::parse(&text, path, &[]) else { return false };
        // The resolved text must be read back as the same experiment.
        let written = config.to_toml();
        let again = Config::parse(&written, path, &[]).expect("what a run writes down can be read");
        assert_eq!(again.to_toml(), written);
        true
    })
}

fn graph(_: &Path, _: &Path) -> Result<Ready> {
    ready(seeds::graphs(), form::json, |bytes| {
        let Ok(graph) = serde_json::from_slice::<Graph>(bytes) else { return false };
        let all = FreezePlan::new(&graph, &Selection::All).expect("everything can train");
        let summary = Summary::new(&graph, &all);
        let none = FreezePlan::new(&graph, &Selection::None).expect("nothing need train");
        let _ = Cut::new(&graph, &none, CutOptions::default());
        let values =
            graph.nodes().iter().map(|node| node.shape.0.iter().product::<usize>()).fold(0, usize::saturating_add);
        if values < 1 << 16 && summary.total < 1 << 16 {
            run(&graph);
        }
        true
    })
}

/// Compiles a graph and runs it on one image.
fn run(graph: &Graph) {
    let parameters = |layer: usize, at: usize| -> Cow<'_, [f32]> {
        Cow::Owned(vec![0.5; graph.nodes()[layer].parameters[at].count()])
    };
    let input = &graph.input_shape().0;
    let channels = input.last().copied().unwrap_or(1);
    let plain = Input { scale: vec![1.0; channels], shift: vec![0.0; channels], reverse_channels: false };
    let (layers, last) = ((0..graph.len()).collect::<Vec<_>>(), graph.len() - 1);
    let Ok(program) = Program::compile(graph, &layers, &[last], &parameters, &plain) else { return };
    let pixels = vec![1.0; input.iter().product()];
    let Ok(outputs) = program.run(&pixels, 1) else { return };
    assert_eq!(outputs[0].len(), graph.nodes()[last].shape.0.iter().product::<usize>());
}

fn description(_: &Path, _: &Path) -> Result<Ready> {
    ready(seeds::descriptions(), form::json, |bytes| {
        let Ok(description) = serde_json::from_slice::<Description>(bytes) else { return false };
        let written = serde_json::to_vec(&description).expect("plain data");
        serde_json::from_slice::<Description>(&written).expect("what is written can be read");
        true
    })
}

fn answer(_: &Path, _: &Path) -> Result<Ready> {
    ready(seeds::answers(), form::json, |bytes| {
        let identity = serde_json::from_slice::<Identity>(bytes).is_ok();
        let Ok(descriptors) = serde_json::from_slice::<Vec<Descriptor>>(bytes) else { return identity };
        for descriptor in descriptors {
            let defaults = descriptor.resolve(&serde_json::Map::new());
            let _ = defaults.map(|defaults| descriptor.resolve(&defaults));
        }
        true
    })
}

/// Weights of the same small network in any format.
fn weights(corpus: Vec<Vec<u8>>, form: Form, formats: &'static [Format], map: TensorMap) -> Result<Ready> {
    let graph = seeds::network();
    let expected: usize = graph.nodes().iter().flat_map(|node| &node.parameters).map(|p| p.count()).sum();
    ready(corpus, form, move |bytes| {
        let read = |format: &Format| Weights::read_bytes(bytes.to_vec(), "input", *format, &map, &graph);
        formats
            .iter()
            .filter_map(|format| read(format).ok())
            .inspect(|weights| assert_eq!(weights.count(), expected))
            .count()
            > 0
    })
}

fn onnx(run: &Path, scratch: &Path) -> Result<Ready> {
    let model = Model::load(&run.join(Checkpoints::BEST), &burn_tensor::Device::flex())?;
    let path = scratch.join("seed.onnx");
    let mut corpus: Vec<Vec<u8>> = seeds::onnx().map(<[u8]>::to_vec).into();
    for precision in [injerto_onnx::Precision::F32, injerto_onnx::Precision::F16] {
        injerto_experiment::export::to_onnx(&model, &path, precision)?;
        corpus.push(std::fs::read(&path)?);
    }
    ready(corpus, form::protobuf, move |bytes| {
        let file = ModelFile::from_bytes(bytes.to_vec(), &path);
        let Ok(network) = file.read(&Ask::default()) else { return false };
        network.up_to(&network.features).expect("the features are those of a layer");
        let count = |node: &injerto_graph::Node| node.parameter_count();
        let values: usize = network.weights.iter().map(|tensor| tensor.values.len()).sum();
        assert_eq!(values, network.graph.nodes().iter().map(count).sum::<usize>());
        true
    })
}

fn safetensors(_: &Path, scratch: &Path) -> Result<Ready> {
    weights(seeds::safetensors(scratch)?, form::safetensors, &[Format::Safetensors], TensorMap::keras())
}

fn pickle(_: &Path, _: &Path) -> Result<Ready> {
    weights(seeds::pickles()?, form::zip, &[Format::Pytorch], TensorMap::keras())
}

fn hdf5(_: &Path, _: &Path) -> Result<Ready> {
    weights(seeds::hdf5(), form::zip, &[Format::KerasHdf5], TensorMap::keras())
}

fn features(run: &Path, scratch: &Path) -> Result<Ready> {
    let path = scratch.join("input.features");
    ready(seeds::features(run)?, form::segment, move |bytes| {
        std::fs::write(&path, bytes).expect("the scratch folder can be written");
        cache::verify(&path).is_ok()
    })
}

/// Text files of a run from which reports are made.
const OF_REPORTS: [&str; 6] =
    ["history.jsonl", "summary.json", "environment.json", "experiment.toml", "history.csv", "calibration.json"];

/// The text files of a run, each as a separate input that begins with its place in [`OF_REPORTS`].
fn text_files(run: &Path) -> Result<Vec<Vec<u8>>> {
    let read = |(at, name): (usize, &&str)| Some([vec![at as u8], std::fs::read(run.join(name)).ok()?].concat());
    let corpus: Vec<Vec<u8>> = OF_REPORTS.iter().enumerate().filter_map(read).collect();
    (!corpus.is_empty()).then_some(corpus).context("the run left no files")
}

/// Changes a text file of a run within its form, and keeps its place in [`OF_REPORTS`].
fn text_form(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let (&place, text) = bytes.split_first()?;
    let name = OF_REPORTS[usize::from(place) % OF_REPORTS.len()];
    let changed = match name.rsplit_once('.')?.1 {
        "json" => form::json(text, random)?,
        "toml" => form::toml(text, random)?,
        "jsonl" => {
            let mut lines: Vec<Vec<u8>> = text.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
            let at = random.below(lines.len());
            lines[at] = form::json(&lines[at], random)?;
            lines.join(&b'\n')
        }
        _ => return None,
    };
    Some([&[place][..], &changed].concat())
}

/// A copy of a run in which one file at a time is damaged.
struct Copy {
    run: PathBuf,
    folder: PathBuf,
    damaged: Option<&'static str>,
}

impl Copy {
    fn new(run: &Path, folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        for name in OF_REPORTS.into_iter().filter(|name| run.join(name).is_file()) {
            std::fs::copy(run.join(name), folder.join(name))?;
        }
        Ok(Self { run: run.to_owned(), folder, damaged: None })
    }

    /// Undoes the last damage, and replaces another file.
    fn damage(&mut self, bytes: &[u8]) {
        let Some((&first, bytes)) = bytes.split_first() else { return };
        if let Some(name) = self.damaged {
            std::fs::copy(self.run.join(name), self.folder.join(name)).expect("the scratch folder can be written");
        }
        let name = OF_REPORTS[usize::from(first) % OF_REPORTS.len()];
        as_file(&self.folder.join(name), bytes);
        self.damaged = Some(name);
    }
}

fn report(run: &Path, scratch: &Path) -> Result<Ready> {
    let mut copy = Copy::new(run, scratch.join("report"))?;
    ready(text_files(run)?, text_form, move |bytes| {
        copy.damage(bytes);
        Run::load(&copy.folder).map(|run| assert!(injerto_report::report(&run).ends_with("</html>\n"))).is_ok()
    })
}

fn compare(run: &Path, scratch: &Path) -> Result<Ready> {
    let mut copy = Copy::new(run, scratch.join("compare"))?;
    ready(text_files(run)?, text_form, move |bytes| {
        copy.damage(bytes);
        let Ok(comparison) = Comparison::load(&[copy.run.clone(), copy.folder.clone()]) else { return false };
        let _ = (comparison.gains(), comparison.warnings());
        true
    })
}

/// Writes an input to a file of this name.
fn as_file(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("the scratch folder can be written");
}

/// Whether there is an answer for a picture, which must be one in numbers.
fn answers(predictor: &Predictor, picture: &[u8]) -> bool {
    predictor.predict([picture.to_vec()]).all(|said| {
        let Ok(prediction) = said else { return false };
        assert!(prediction.probabilities().iter().all(|p| (0.0..=1.0).contains(p)), "{prediction:?}");
        true
    })
}

fn predict(run: &Path, scratch: &Path) -> Result<Ready> {
    let corpus = vec![std::fs::read(run.join(Checkpoints::BEST))?];
    let (checkpoint, picture) = (scratch.join("input.safetensors"), seeds::pictures(ImageFormat::Png)?.remove(0));
    ready(corpus, form::safetensors, move |bytes| {
        as_file(&checkpoint, bytes);
        let Ok(predictor) = Predictor::load(&checkpoint, Device::Flex) else { return false };
        answers(&predictor, &picture)
    })
}

fn knowledge(run: &Path, scratch: &Path) -> Result<Ready> {
    let corpus = vec![std::fs::read(run.join(Knowledge::FILE))?];
    let folder = scratch.join("knowledge");
    std::fs::create_dir_all(&folder)?;
    let checkpoint = folder.join(Checkpoints::BEST);
    std::fs::copy(run.join(Checkpoints::BEST), &checkpoint)?;
    let picture = seeds::pictures(ImageFormat::Png)?.remove(0);
    ready(corpus, form::safetensors, move |bytes| {
        as_file(&folder.join(Knowledge::FILE), bytes);
        let Ok(mut predictor) = Predictor::load(&checkpoint, Device::Flex) else { return false };
        predictor.set_neighbours(3).is_ok() && answers(&predictor, &picture)
    })
}

fn resume(run: &Path, scratch: &Path) -> Result<Ready> {
    let corpus = vec![std::fs::read(run.join(Checkpoints::LAST))?];
    let good = Model::load(&run.join(Checkpoints::BEST), &burn_tensor::Device::flex())?;
    let folder = scratch.join("resume");
    std::fs::create_dir_all(&folder)?;
    ready(corpus, form::safetensors, move |bytes| {
        as_file(&folder.join(Checkpoints::LAST), bytes);
        let mut model = good.clone();
        Checkpoints::new(&folder, true).resume(&mut model).is_ok()
    })
}

fn pictures(format: ImageFormat) -> Result<Ready> {
    let form = if format == ImageFormat::Png { form::png } else { form::bytes };
    ready(seeds::pictures(format)?, form, picture)
}

/// Decodes a picture, as it is and scaled.
fn picture(bytes: &[u8]) -> bool {
    let whole = decode(bytes, Orientation::Apply);
    let scaled = decode_scaled(bytes, Orientation::Apply, [4, 4]);
    for image in [&whole, &scaled].into_iter().flatten() {
        assert_eq!(image.pixels.len(), image.height * image.width * 3);
    }
    whole.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_drawn_pictures_are_good_ones() {
        use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
        for format in [Bmp, Gif, Jpeg, Png, Tiff, WebP] {
            let mut ready = pictures(format).expect("they can be read");
            assert!(ready.seeds.good.len() > 5, "{format:?}");
            for (at, picture) in ready.seeds.good.iter().enumerate() {
                assert!((ready.read)(picture), "{format:?} {at}");
            }
        }
    }
}
