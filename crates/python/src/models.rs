//! Networks that are loaded once and asked often, for Python's `Features` and `Predictor`.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use injerto_backbones::weights::Cache;
use injerto_config::{Config, Device};
use injerto_data::{DataError, SEPARATOR};
use injerto_experiment::{ExperimentError, Extractor, Prediction, Predictor, RunFolder};
use injerto_files::shown;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::catalog::Where;
use crate::error::{Error, of_image, raised};
use crate::feed::with_images;
use crate::values::{Precision, matrix, to_toml};

/// The options of `Features` that are keys of an experiment, each with its section.
const KEYS: [(&str, &[&str]); 3] = [
    ("backbone", &["weights", "parameters", "last_layer", "preprocessing"]),
    ("data", &["image_size", "interpolation", "crop_to_aspect_ratio", "exif_orientation", "scaled_decoding"]),
    ("", &["seed", "device"]),
];

/// How each image fared: its result, or why there is none.
type Rows<T> = Vec<Result<T, ExperimentError>>;

/// All results, if none is an error about an image.
///
/// # Errors
/// That of the first image that has one, with its place.
fn all<T>(rows: Rows<T>) -> PyResult<Vec<Option<T>>> {
    let several = rows.len() > 1;
    let row = |(at, row): (usize, Result<T, ExperimentError>)| {
        row.map(Some).map_err(|error| of_image(&error, (several && concerns_one(&error)).then_some(at)))
    };
    rows.into_iter().enumerate().map(row).collect()
}

/// What is said of each image, and for each image why nothing is.
type Columns<T> = (Vec<Option<T>>, Vec<Option<String>>);

/// Results with `None` for images that could not be read, and for each image why.
///
/// # Errors
/// Something went wrong that concerns all images.
fn apart<T>(rows: Rows<T>) -> PyResult<Columns<T>> {
    let each = rows.into_iter().map(|row| match row {
        Ok(row) => Ok((Some(row), None)),
        Err(error) if concerns_one(&error) => Ok((None, Some(error.to_string()))),
        Err(error) => Err(of_image(&error, None)),
    });
    each.collect()
}

/// Whether an error concerns one image, and the next ones have their answers.
fn concerns_one(error: &ExperimentError) -> bool {
    matches!(error, ExperimentError::Data(DataError::Corrupt { .. }) | ExperimentError::NoAnswer)
}

/// The checkpoint that a path means: the best one of a run's folder, or the file itself.
///
/// # Errors
/// Nothing is there, or a folder that has no such checkpoint.
fn checkpoint(path: &Path) -> PyResult<PathBuf> {
    path.metadata().map_err(|error| {
        Error::new_err(format!(
            "{}: {error}; name the folder of a run, such as runs/NAME, or a file that is there",
            shown(path)
        ))
    })?;
    RunFolder::checkpoint(path).map_err(raised)
}

/// A number of things, which is not negative.
fn count(name: &str, number: i64) -> PyResult<usize> {
    let refuse = |_| PyValueError::new_err(format!("{name}: {number} is less than 0"));
    usize::try_from(number).map_err(refuse)
}

/// The device of this name.
fn device(name: &str) -> PyResult<Device> {
    let all = [Device::Flex, Device::Wgpu, Device::Cuda];
    let found = all.into_iter().find(|device| device.name() == name);
    found.ok_or_else(|| PyValueError::new_err(format!("device: '{name}' is none of flex, wgpu, cuda")))
}

/// What is called with images and whether images that cannot be read are allowed, and returns answers and, if they are, for each image why
/// there is none.
fn callable<'py, F>(py: Python<'py>, call: F) -> PyResult<Bound<'py, PyCFunction>>
where
    F: Fn(&Bound<'_, PyAny>, bool) -> PyResult<Py<PyAny>> + Send + Sync + 'static,
{
    PyCFunction::new_closure(
        py,
        Some(c"call"),
        None,
        move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            let (images, tolerant): (Bound<'_, PyAny>, bool) = arguments.extract()?;
            call(&images, tolerant)
        },
    )
}

/// Loads a backbone, or that of a run. It takes the model, the precision and a dict of options, and returns a callable, the number of
/// features, the size of images, and the source of the weights. The callable returns an array, and with it the errors.
pub fn features(arguments: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let py = arguments.py();
    let (model, precision, options): (Bound<'_, PyAny>, String, Bound<'_, PyDict>) = arguments.extract()?;
    let precision = Precision::named(&precision)
        .ok_or_else(|| PyValueError::new_err(format!("precision: '{precision}' is neither float32 nor float16")))?;
    let path: PathBuf = model.extract()?;
    // The name of a backbone is no path of several parts, unless it is that of a file.
    let is_lost = path.components().count() > 1 && !path.exists();
    let extractor = match is_lost || path.is_dir() || path.extension().is_some_and(|end| end == "safetensors") {
        true => of_run(py, &path, &options)?,
        false => of_backbone(py, &model, &options)?,
    };
    let warn = py.import("warnings")?.getattr("warn")?;
    for warning in extractor.warnings() {
        warn.call1((warning,))?;
    }
    let about = (extractor.width(), extractor.image_size(), extractor.origin().to_owned());
    let call = callable(py, move |images, tolerant| {
        let (py, width) = (images.py(), extractor.width());
        let rows = with_images(images, |feed| {
            let stop = feed.stop();
            extractor.extract(feed).take_while(|_| !stop.load(Ordering::Relaxed)).collect()
        })?;
        let (rows, errors) = if tolerant { apart(rows)? } else { (all(rows)?, Vec::new()) };
        let nothing = vec![f32::NAN; width];
        let values: Vec<&[f32]> = rows.iter().map(|row| row.as_ref().unwrap_or(&nothing).as_slice()).collect();
        Ok((matrix(py, &values.concat(), width, precision)?, errors).into_pyobject(py)?.into_any().unbind())
    })?;
    let (width, image_size, origin) = about;
    Ok((call, width, <(usize, usize)>::from(image_size), origin).into_pyobject(py)?.into_any().unbind())
}

/// Loads a trained network. It takes the run, and the options device, views, neighbours, calibrated and threshold, and returns a callable,
/// the classes, and the size of images. The callable returns one tuple per image (label, probability, labels, probabilities by class, unknown,
/// neighbours), an array of all probabilities, and the errors.
pub fn predictor(arguments: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let py = arguments.py();
    type Options = (PathBuf, String, i64, i64, bool, Option<f32>);
    let (run, device, views, neighbours, calibrated, threshold): Options = arguments.extract()?;
    let (views, neighbours) = (count("views", views)?, count("neighbours", neighbours)?);
    let (on, checkpoint) = (self::device(&device)?, checkpoint(&run)?);
    let mut network = py.detach(|| Predictor::load(&checkpoint, on)).map_err(raised)?;
    network.set_views(views);
    network.set_calibrated(calibrated);
    if neighbours > 0 {
        network.set_neighbours(neighbours).map_err(raised)?;
    }
    if let Some(threshold) = threshold {
        if network.thresholds().is_none() {
            return Err(Error::new_err(
                "threshold: each image has one class here, the most probable one; leave it out",
            ));
        }
        network.set_threshold(threshold);
    }
    let (classes, image_size) = (network.classes().to_vec(), network.card().image_size());
    let call = callable(py, move |images, tolerant| {
        let (py, classes) = (images.py(), network.classes().len());
        let rows = with_images(images, |feed| {
            let stop = feed.stop();
            network.predict(feed).take_while(|_| !stop.load(Ordering::Relaxed)).collect()
        })?;
        let (rows, errors) = if tolerant { apart(rows)? } else { (all(rows)?, Vec::new()) };
        let nothing = vec![f32::NAN; classes];
        let values = rows.iter().map(|row| row.as_ref().map_or(&nothing[..], Prediction::probabilities));
        let values = matrix(py, &values.collect::<Vec<_>>().concat(), classes, Precision::F32)?;
        let answers = rows.iter().map(|row| row.as_ref().map(|answer| said(py, answer)).transpose());
        let answers: Vec<_> = answers.collect::<PyResult<_>>()?;
        Ok((answers, values, errors).into_pyobject(py)?.into_any().unbind())
    })?;
    Ok((call, classes, <(usize, usize)>::from(image_size)).into_pyobject(py)?.into_any().unbind())
}

/// The backbone of a run. Everything about it is in the run, so that only the device is asked for.
fn of_run(py: Python<'_>, run: &Path, options: &Bound<'_, PyDict>) -> PyResult<Extractor> {
    if let Some(other) = options.keys().iter().map(|key| key.to_string()).find(|key| key != "device") {
        return Err(PyTypeError::new_err(format!(
            "{other}: a run says itself what its network is; leave the option out, or name a backbone instead of the run"
        )));
    }
    let on = options.get_item("device")?.map_or(Ok(Device::Flex), |name| device(&name.extract::<String>()?))?;
    let checkpoint = checkpoint(run)?;
    py.detach(|| Extractor::load(&checkpoint, on)).map_err(raised)
}

/// A backbone by its name, as an experiment with these keys would have it.
fn of_backbone(py: Python<'_>, model: &Bound<'_, PyAny>, options: &Bound<'_, PyDict>) -> PyResult<Extractor> {
    let table = |entries: Vec<(&str, toml::Value)>| -> toml::Table {
        entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    };
    // An experiment needs images and a phase of training, which are not used here.
    let mut data = table(vec![("root", ".".into())]);
    let mut backbone = table(vec![("plugin", to_toml("model", model)?)]);
    let phase = table(vec![("name", "features".into()), ("epochs", 1.into()), ("unfreeze", "none".into())]);
    let mut top = table(vec![("phases", vec![toml::Value::Table(phase)].into())]);
    for (name, value) in options {
        let name: String = name.extract()?;
        let section = KEYS.iter().find(|(_, keys)| keys.contains(&name.as_str())).map(|(section, _)| *section);
        let Some(section) = section else {
            let known: Vec<&str> = KEYS.iter().flat_map(|(_, keys)| *keys).copied().collect();
            let near = injerto_files::nearest(&name, known.iter().copied());
            let near = near.map_or_else(|| ".".to_owned(), |near| format!("; did you mean '{near}'?"));
            return Err(PyTypeError::new_err(format!(
                "there is no option '{name}'{near} The options are precision, {}",
                known.join(", ")
            )));
        };
        if !value.is_none() {
            let value = to_toml(&name, &value)?;
            match section {
                "backbone" => backbone.insert(name, value),
                "data" => data.insert(name, value),
                _ => top.insert(name, value),
            };
        }
    }
    top.insert("data".to_owned(), data.into());
    top.insert("backbone".to_owned(), backbone.into());
    let found = Where::new(py)?;
    py.detach(|| {
        let config = Config::parse(&top.to_string(), Path::new("Features"), &[]).map_err(raised)?;
        let cache = Cache::of_user().map_err(raised)?;
        found.catalog(|catalog| Extractor::new(&config, catalog, &cache)).map_err(raised)
    })
}

/// An answer as the fields of Python's `Prediction`.
fn said<'py>(py: Python<'py>, answer: &Prediction) -> PyResult<Bound<'py, PyTuple>> {
    let chosen = answer.chosen().unwrap_or_else(|| answer.ranking().into_iter().take(1).collect());
    let labels: Vec<&str> = chosen.into_iter().map(|at| answer.classes()[at].as_str()).collect();
    let label = (!labels.is_empty()).then(|| labels.join(SEPARATOR));
    let probabilities = PyDict::new(py);
    for (class, probability) in answer.ranked() {
        probabilities.set_item(class, probability)?;
    }
    let best = answer.ranked().next().map(|(_, probability)| probability);
    let unknown = answer.standing().map(|standing| standing.unknown);
    let near = answer.neighbours().iter().map(|near| (near.path.as_str(), near.label.as_str(), near.similarity));
    (label, best, labels, probabilities, unknown, near.collect::<Vec<_>>()).into_pyobject(py)
}
