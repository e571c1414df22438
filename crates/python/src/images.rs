//! What an image may be in Python.

use std::path::PathBuf;

use injerto_data::Origin;
use injerto_data::decode::Rgb;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyString, PyTuple};

/// What is said of anything else.
const FORMS: &str = "an image is a path, the bytes of a file, a Pillow image or an array [height, width, 3] of uint8; several are a \
                     list or an iterator of these, an array [n, height, width, 3] of uint8, or a column of Arrow";

/// Calls `take` with each image of `images`, which is one or several, until `take` returns false.
///
/// # Errors
/// Something is no image, with its place; an iterator raises; what `take` returns.
pub fn each(images: &Bound<'_, PyAny>, take: &mut dyn FnMut(Origin) -> PyResult<bool>) -> PyResult<()> {
    if let Some(image) = single(images)? {
        return take(image).map(|_| ());
    }
    if images.is_instance_of::<PyDict>() {
        return Err(PyTypeError::new_err(format!("a dict names no images; pass one of its values: {FORMS}")));
    }
    // Tables of Arrow are columns; an array of Arrow iterates over its values.
    if !images.hasattr("__iter__")? || images.hasattr("column_names")? {
        let name = images.get_type().name()?;
        return Err(PyTypeError::new_err(format!("the type {name} is neither an image nor several: {FORMS}")));
    }
    // Iterating over an open file would take each line of a photo for an image.
    if images.hasattr("read")? {
        return Err(PyTypeError::new_err(format!(
            "an open file is no image; pass its path, or what read() returns: {FORMS}"
        )));
    }
    for (at, item) in images.try_iter()?.enumerate() {
        let item = item?;
        let image = single(&item)?.map_or_else(|| arrow_value(&item), |image| Ok(Some(image)))?;
        let Some(image) = image else {
            let name = item.get_type().name()?;
            return Err(PyTypeError::new_err(format!("image {at} is of the type {name}: {FORMS}")));
        };
        if !take(image)? {
            return Ok(());
        }
    }
    Ok(())
}

/// A value in an array of Arrow, which is not yet one of Python's. One that is missing is an image that cannot be read, like an empty
/// file, so that it does not end the work on all others.
fn arrow_value(item: &Bound<'_, PyAny>) -> PyResult<Option<Origin>> {
    if !item.hasattr("as_py")? {
        return Ok(None);
    }
    let value = item.call_method0("as_py")?;
    if value.is_none() { Ok(Some(Vec::new().into())) } else { single(&value) }
}

/// One image; `None` if it is something else, which may hold several.
fn single(item: &Bound<'_, PyAny>) -> PyResult<Option<Origin>> {
    if let Ok(bytes) = item.cast::<PyBytes>() {
        return Ok(Some(bytes.as_bytes().to_vec().into()));
    }
    if let Ok(bytes) = item.cast::<PyByteArray>() {
        return Ok(Some(bytes.to_vec().into()));
    }
    if item.is_instance_of::<PyString>() || item.hasattr("__fspath__")? {
        return Ok(Some(item.extract::<PathBuf>()?.into()));
    }
    // Names of a module's classes are asked for, so that neither NumPy nor Pillow has to be there.
    if item.hasattr("mode")? && item.hasattr("convert")? && item.hasattr("tobytes")? {
        return pillow(item).map(Some);
    }
    if item.hasattr("__array_interface__")? && item.hasattr("dtype")? {
        let shape: Vec<usize> = item.getattr("shape")?.extract()?;
        return match shape.len() {
            3 => array(item, &shape).map(Some),
            // Its items are the images, or paths and bytes.
            4 => Ok(None),
            1 if item.getattr("dtype")?.getattr("kind")?.extract::<String>()?.contains(['O', 'S', 'U']) => Ok(None),
            _ => Err(unfit(item, &shape)),
        };
    }
    if item.get_type().name()? == "memoryview" {
        let bytes = item.call_method0("tobytes")?;
        return Ok(Some(bytes.extract::<Vec<u8>>()?.into()));
    }
    Ok(None)
}

/// The pixels of a Pillow image. Grey ones and those with a palette become red, green and blue as Pillow does it.
fn pillow(image: &Bound<'_, PyAny>) -> PyResult<Origin> {
    let [width, height]: [usize; 2] = image.getattr("size")?.extract()?;
    let image = match image.getattr("mode")?.extract::<String>()?.as_str() {
        "RGB" => image.clone(),
        // Pillow would make 255 of all that is more, and so white of nearly every photo of 16 bits.
        mode if mode.starts_with('I') || mode == "F" => {
            return Err(PyValueError::new_err(format!(
                "a Pillow image of the mode {mode} has values beyond 0 to 255; pass the path or the bytes of its file"
            )));
        }
        _ => image.call_method1("convert", ("RGB",))?,
    };
    let pixels = image.call_method0("tobytes")?;
    pixels_of(&pixels, height, width)
}

/// The pixels of a NumPy array, whatever its strides are.
fn array(array: &Bound<'_, PyAny>, shape: &[usize]) -> PyResult<Origin> {
    let kind = array.getattr("dtype")?.getattr("str")?.extract::<String>()?;
    let &[height, width, 3] = shape else { return Err(unfit(array, shape)) };
    if kind != "|u1" {
        return Err(unfit(array, shape));
    }
    pixels_of(&array.call_method0("tobytes")?, height, width)
}

fn pixels_of(bytes: &Bound<'_, PyAny>, height: usize, width: usize) -> PyResult<Origin> {
    let pixels = bytes.cast::<PyBytes>()?.as_bytes().to_vec();
    Ok(Rgb { height, width, pixels }.into())
}

fn unfit(array: &Bound<'_, PyAny>, shape: &[usize]) -> PyErr {
    let kind = array.getattr("dtype").map_or_else(|_| "?".to_owned(), |kind| kind.to_string());
    let shape = PyTuple::new(array.py(), shape).map_or_else(|_| "?".to_owned(), |shape| shape.to_string());
    PyValueError::new_err(format!(
        "an array of {kind} with shape {shape} is no image: expected uint8 from 0 to 255 and shape [height, width, 3], or [n, height, \
         width, 3] for several"
    ))
}
