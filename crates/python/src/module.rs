//! The module as Python loads it (PEP 489): a definition with one slot, which fills the module.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use injerto_backbones::plugin::answer_if_asked;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::error::{Error, ImageError};
use crate::{catalog, models, train};

/// A function of the module. Its arguments are positional.
type Function = fn(&Bound<'_, PyTuple>) -> PyResult<Py<PyAny>>;

/// All of them. `python/injerto/_injerto.pyi` says what they take and return.
const FUNCTIONS: [(&std::ffi::CStr, Function); 5] = [
    (c"features", models::features),
    (c"predictor", models::predictor),
    (c"train", train::train),
    (c"fit", train::fit),
    (c"backbones", catalog::backbones),
];

/// Fills the module that Python has made.
fn fill(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // A plugin is asked in a child process, which is a Python that loads this module and does nothing else.
    answer_if_asked();
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("Error", py.get_type::<Error>())?;
    module.add("ImageError", py.get_type::<ImageError>())?;
    for (name, function) in FUNCTIONS {
        let call = move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| function(arguments);
        let name_in_rust = name.to_str().expect("names are ASCII");
        module.add(name_in_rust, PyCFunction::new_closure(py, Some(name), None, call)?)?;
    }
    Ok(())
}

/// [`fill`] as Python calls it: 0, or -1 with an exception.
///
/// # Safety
/// Python calls it with a module, and holds its lock.
unsafe extern "C" fn execute(module: *mut ffi::PyObject) -> c_int {
    let filled = || {
        Python::attach(|py| {
            // SAFETY: Python passes a module that it owns for the time of this call.
            let module = unsafe { Bound::from_borrowed_ptr(py, module) };
            match module.cast::<PyModule>().map_err(PyErr::from).and_then(fill) {
                Ok(()) => 0,
                Err(error) => {
                    error.restore(py);
                    -1
                }
            }
        })
    };
    // No panic may cross into Python's code.
    catch_unwind(AssertUnwindSafe(filled)).unwrap_or_else(|_| {
        Python::attach(|py| Error::new_err("this is a defect of injerto: its module panicked").restore(py));
        -1
    })
}

/// What the module does when it is loaded; the last slot is zero.
static mut SLOTS: [ffi::PyModuleDef_Slot; 2] = [
    ffi::PyModuleDef_Slot { slot: ffi::Py_mod_exec, value: execute as *mut std::ffi::c_void },
    ffi::PyModuleDef_Slot { slot: 0, value: std::ptr::null_mut() },
];

/// The definition of the module, which Python keeps.
static mut DEFINITION: ffi::PyModuleDef = ffi::PyModuleDef {
    m_base: ffi::PyModuleDef_HEAD_INIT,
    m_name: c"_injerto".as_ptr(),
    m_doc: c"Features, predictions and training, computed in Rust.".as_ptr(),
    m_size: 0,
    m_methods: std::ptr::null_mut(),
    m_slots: (&raw mut SLOTS).cast(),
    m_traverse: None,
    m_clear: None,
    m_free: None,
};

/// The function that Python looks for in the library.
///
/// # Safety
/// Python calls it, and holds its lock.
// SAFETY: the name is Python's rule for a module called `_injerto`, and no other library in this process may have a module of the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PyInit__injerto() -> *mut ffi::PyObject {
    // SAFETY: the definition is valid as long as the library is loaded, which is for ever, and only Python, which holds its lock, writes
    // to it.
    unsafe { ffi::PyModuleDef_Init(&raw mut DEFINITION) }
}
