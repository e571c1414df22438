//! A collective of Python, by which the processes of a training add up their gradients.

use std::sync::{Mutex, PoisonError};

use injerto_trainer::{Collective, Lost};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyByteArray;

/// The error for any other object.
const FORM: &str = "a collective has rank (this process, counted from 0), size (the number of processes) and all_reduce(values), which \
                    replaces each value of an array of float32 by its sum over all processes; injerto.collective.torch() is one";

/// An object with `rank`, `size` and `all_reduce`.
#[derive(Debug)]
pub struct Peers {
    rank: usize,
    size: usize,
    all_reduce: Py<PyAny>,
    /// What `all_reduce` has raised.
    raised: Mutex<Option<PyErr>>,
}

impl Peers {
    /// The collective that a user hands over.
    ///
    /// # Errors
    /// The object lacks something, or its rank is none of the processes.
    pub fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let lacks = |_| PyTypeError::new_err(format!("collective: {}: {FORM}", kind(object)));
        let number = |name: &str| object.getattr(name).and_then(|value| value.extract::<usize>()).map_err(lacks);
        let (rank, size) = (number("rank")?, number("size")?);
        let all_reduce = object.getattr("all_reduce").map_err(lacks)?;
        if !all_reduce.is_callable() {
            return Err(PyTypeError::new_err(format!("collective: all_reduce cannot be called: {FORM}")));
        }
        if rank >= size {
            return Err(PyValueError::new_err(format!("collective: there is no process {rank} of {size}: {FORM}")));
        }
        Ok(Self { rank, size, all_reduce: all_reduce.unbind(), raised: Mutex::new(None) })
    }

    /// Whether another process writes the run's folder.
    pub fn follows(&self) -> bool {
        self.rank > 0
    }

    /// Gives `error` the exception that `all_reduce` has raised as its cause, if there is one.
    pub fn explain(&self, py: Python<'_>, error: PyErr) -> PyErr {
        if let Some(cause) = self.raised.lock().unwrap_or_else(PoisonError::into_inner).take() {
            error.set_cause(py, Some(cause));
        }
        error
    }

    /// Has Python add up the values. The array that it gets owns its memory, so that no Python code can keep a view of the library's
    /// memory.
    fn sum(&self, py: Python<'_>, values: &mut [f32]) -> PyResult<()> {
        let bytes = PyByteArray::new_with(py, size_of_val(values), |bytes| {
            let to = bytes.as_chunks_mut::<4>().0;
            to.iter_mut().zip(values.iter()).for_each(|(to, value)| *to = value.to_le_bytes());
            Ok(())
        })?;
        let array = py.import("numpy")?.call_method1("frombuffer", (&bytes, "<f4"))?;
        self.all_reduce.call1(py, (array,))?;
        let sums = bytes.to_vec();
        // An array of NumPy keeps its bytes from being resized while it is there, but not afterwards.
        let sums = sums.as_chunks::<4>().0;
        if sums.len() != values.len() {
            return Err(PyValueError::new_err("all_reduce has changed the size of its array"));
        }
        values.iter_mut().zip(sums).for_each(|(value, sum)| *value = f32::from_le_bytes(*sum));
        Ok(())
    }
}

impl Collective for Peers {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<(), Lost> {
        Python::attach(|py| {
            self.sum(py, values).map_err(|error| {
                let reason = injerto_files::printable(&error.to_string()).to_string();
                *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Lost { reason }
            })
        })
    }
}

/// The name of an object's type.
fn kind(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "an object".to_owned(), |name| format!("an object of the type {name}"))
}
