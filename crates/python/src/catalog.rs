//! Where plugins are found from a wheel, and how they are asked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use injerto_backbones::plugin::{Catalog, Probe, SearchPath};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::{Error, raised};

/// The catalog that was found last, with the folders in which it was looked for.
static LAST: Mutex<Option<(SearchPath, Catalog)>> = Mutex::new(None);

/// What a child process does with the path of this module: loading it answers the question.
const ANSWER: &str = "import sys, importlib.machinery as m, importlib.util as u\n\
                      loader = m.ExtensionFileLoader('_injerto', sys.argv[1])\n\
                      loader.exec_module(u.module_from_spec(u.spec_from_loader('_injerto', loader)))";

/// What a program needs to find plugins: where they lie, and who asks them.
#[derive(Debug, Clone)]
pub struct Where {
    path: SearchPath,
    probe: Probe,
}

impl Where {
    /// The folders of `INJERTO_PLUGIN_PATH`, then those that the binary looks in too, and at last the standard backbones, which are inside
    /// this library.
    ///
    /// # Errors
    /// Python does not say where its program or this module is.
    pub fn new(py: Python<'_>) -> PyResult<Self> {
        let module: PathBuf = py.import("injerto._injerto")?.getattr("__file__")?.extract()?;
        let program: Option<PathBuf> = py.import("sys")?.getattr("executable")?.extract()?;
        let program = program.filter(|program| !program.as_os_str().is_empty());
        let program = program.ok_or_else(|| {
            Error::new_err("sys.executable is empty, so there is no Python that could ask the plugins; set it to one")
        })?;
        let path = SearchPath::usual(None).with_linked(injerto_standard::PLUGINS);
        let arguments = ["-I", "-S", "-c", ANSWER].map(Into::into).into_iter().chain([module.into_os_string()]);
        let probe = Probe { program, arguments: arguments.collect(), timeout: Duration::from_secs(60) };
        Ok(Self { path, probe })
    }

    /// Calls `with` with all backbones, which are looked for once per process and set of folders.
    pub fn catalog<T>(self, with: impl FnOnce(&mut Catalog) -> T) -> T {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let (path, mut catalog) = match last.take() {
            Some((path, catalog)) if path == self.path => (path, catalog),
            _ => (self.path.clone(), Catalog::scan(self.path, self.probe)),
        };
        let result = with(&mut catalog);
        *last = Some((path, catalog));
        result
    }
}

/// Names of all backbones that are found, with a sentence about each. It takes nothing and returns a dict.
pub fn backbones(arguments: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    let py = arguments.py();
    let found = Where::new(py)?;
    let all: BTreeMap<String, String> = py.detach(|| {
        found.catalog(|catalog| {
            if catalog.found.is_empty()
                && let Some(refused) = catalog.refused.first()
            {
                return Err(raised(&refused.error));
            }
            let each = catalog.found.iter().filter(|found| found.shadowed_by.is_none());
            Ok(each.map(|found| (found.descriptor.name.clone(), found.descriptor.summary.clone())).collect())
        })
    })?;
    Ok(all.into_pyobject(py)?.into_any().unbind())
}
