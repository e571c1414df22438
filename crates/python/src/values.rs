//! JSON, TOML and arrays as Python's values, and the other way round.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyDict, PyFloat, PyInt, PyList, PyString};
use serde_json::Value;

/// A value of JSON as Python's.
pub fn from_json<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(value) => PyBool::new(py, *value).to_owned().into_any(),
        Value::Number(value) => match value.as_i64() {
            Some(whole) => whole.into_pyobject(py)?.into_any(),
            None => PyFloat::new(py, value.as_f64().unwrap_or(f64::NAN)).into_any(),
        },
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let items = items.iter().map(|item| from_json(py, item)).collect::<PyResult<Vec<_>>>()?;
            PyList::new(py, items)?.into_any()
        }
        Value::Object(entries) => {
            let dict = PyDict::new(py);
            for (key, value) in entries {
                dict.set_item(key, from_json(py, value)?)?;
            }
            dict.into_any()
        }
    })
}

/// A value of Python as one of an experiment's file. `key` names it in messages.
///
/// # Errors
/// It is none that a file could hold.
pub fn to_toml(key: &str, value: &Bound<'_, PyAny>) -> PyResult<toml::Value> {
    if let Ok(value) = value.cast::<PyBool>() {
        return Ok(toml::Value::Boolean(value.is_true()));
    }
    if value.is_instance_of::<PyInt>() {
        return Ok(toml::Value::Integer(value.extract()?));
    }
    if value.is_instance_of::<PyFloat>() {
        return Ok(toml::Value::Float(value.extract()?));
    }
    if value.is_instance_of::<PyString>() {
        return Ok(toml::Value::String(value.extract()?));
    }
    if value.hasattr("__fspath__")? {
        let path = value.extract::<std::path::PathBuf>()?;
        return Ok(toml::Value::String(injerto_files::to_text(path.as_os_str()).into_owned()));
    }
    if let Ok(dict) = value.cast::<PyDict>() {
        return to_table(key, dict).map(toml::Value::Table);
    }
    // A number of NumPy is not one of Python's, but says what it is.
    if value.hasattr("dtype")? && value.hasattr("item")? && value.getattr("ndim")?.extract::<usize>()? == 0 {
        return to_toml(key, &value.call_method0("item")?);
    }
    if value.hasattr("__iter__")? {
        let item = |(at, item): (usize, PyResult<Bound<'_, PyAny>>)| to_toml(&format!("{key}.{at}"), &item?);
        return value.try_iter()?.enumerate().map(item).collect::<PyResult<Vec<_>>>().map(toml::Value::Array);
    }
    Err(PyTypeError::new_err(format!(
        "{key}: an experiment cannot hold a value of the type {}",
        value.get_type().name()?
    )))
}

/// A dict as a table of an experiment's file. What is `None` is left out.
///
/// # Errors
/// A key is no text, or a value is none that a file could hold.
pub fn to_table(key: &str, dict: &Bound<'_, PyDict>) -> PyResult<toml::Table> {
    let mut table = toml::Table::new();
    for (name, value) in dict {
        let name: String = name.extract().map_err(|_| PyTypeError::new_err(format!("{key}: keys are texts")))?;
        if !value.is_none() {
            let full = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            let value = to_toml(&full, &value)?;
            table.insert(name, value);
        }
    }
    Ok(table)
}

/// How numbers are kept in an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits, as they were computed.
    F32,
    /// IEEE half precision: each number is rounded to the nearest, ties to even.
    F16,
}

impl Precision {
    /// The one that a user names, as NumPy or as an experiment does.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "float32" | "f32" => Some(Self::F32),
            "float16" | "f16" => Some(Self::F16),
            _ => None,
        }
    }
}

/// A NumPy array `[rows, columns]` of these values, which it owns.
///
/// # Errors
/// There is no NumPy, or no memory.
pub fn matrix<'py>(
    py: Python<'py>,
    values: &[f32],
    columns: usize,
    precision: Precision,
) -> PyResult<Bound<'py, PyAny>> {
    let size = match precision {
        Precision::F32 => 4,
        Precision::F16 => 2,
    };
    let bytes = PyByteArray::new_with(py, values.len() * size, |bytes| {
        match precision {
            Precision::F32 => {
                let to = bytes.as_chunks_mut::<4>().0;
                to.iter_mut().zip(values).for_each(|(to, value)| *to = value.to_le_bytes());
            }
            Precision::F16 => {
                let to = bytes.as_chunks_mut::<2>().0;
                to.iter_mut().zip(values).for_each(|(to, value)| *to = half::f16::from_f32(*value).to_le_bytes());
            }
        }
        Ok(())
    })?;
    let kind = if precision == Precision::F32 { "<f4" } else { "<f2" };
    let rows = values.len() / columns.max(1);
    py.import("numpy")?.call_method1("frombuffer", (bytes, kind))?.call_method1("reshape", ((rows, columns),))
}
