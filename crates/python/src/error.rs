//! Errors as Python's exceptions.

use injerto_data::DataError;
use injerto_experiment::ExperimentError;
use pyo3::PyErr;
use pyo3::create_exception;
use pyo3::exceptions::PyException;

create_exception!(injerto, Error, PyException, "What Injerto could not do, with the file, key or layer and the fix.");
create_exception!(injerto, ImageError, Error, "An image that cannot be read.");

/// The exception for an error, with its text.
pub fn raised(error: impl std::error::Error) -> PyErr {
    Error::new_err(in_words(&error))
}

/// The exception for an error about images, with the place of the image that it concerns. An image that cannot be read has a class of
/// its own.
pub fn of_image(error: &ExperimentError, place: Option<usize>) -> PyErr {
    let text = in_words(error);
    let text = place.map_or_else(|| text.clone(), |place| format!("image {place}: {text}"));
    match error {
        ExperimentError::Data(DataError::Corrupt { .. }) => ImageError::new_err(text),
        _ => Error::new_err(text),
    }
}

/// An error with its causes, each said once.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
