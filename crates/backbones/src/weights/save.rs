use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::Path;

use injerto_graph::{Format, Graph, Layout, TensorMap, matches_pattern};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::{WeightError, Weights};

/// Number type of a saved file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, for files that must be small.
    F16,
}

impl Precision {
    /// Values as they stand in a file.
    fn bytes(self, values: &[f32]) -> Vec<u8> {
        fn each<const N: usize>(values: &[f32], write: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
            let mut bytes = vec![0; values.len() * N];
            bytes.as_chunks_mut().0.iter_mut().zip(values).for_each(|(bytes, &value)| *bytes = write(value));
            bytes
        }
        match self {
            Self::F32 => each(values, f32::to_le_bytes),
            Self::F16 => each(values, |value| half::f16::from_f32(value).to_le_bytes()),
        }
    }
}

impl Weights {
    /// Writes safetensors in Keras's names and axes. The file appears whole or not at all.
    ///
    /// # Errors
    /// A folder that cannot be written to, a full disk.
    pub fn save(
        &self,
        path: &Path,
        metadata: &BTreeMap<String, String>,
        precision: Precision,
    ) -> Result<(), WeightError> {
        let bytes = self.to_safetensors(metadata, precision);
        write_atomically(path, &bytes).map_err(|source| WeightError::Io { path: path.to_owned(), source })
    }

    fn to_safetensors(&self, metadata: &BTreeMap<String, String>, precision: Precision) -> Vec<u8> {
        let dtype = match precision {
            Precision::F32 => Dtype::F32,
            Precision::F16 => Dtype::F16,
        };
        let raw: Vec<(&str, &[usize], Vec<u8>)> =
            self.iter().map(|(name, v)| (name, v.shape.as_slice(), precision.bytes(&v.data))).collect();
        let views = raw.iter().map(|(name, shape, bytes)| {
            (*name, TensorView::new(dtype, shape.to_vec(), bytes).expect("data fills its shape"))
        });
        let metadata: HashMap<String, String> = metadata.clone().into_iter().collect();
        safetensors::serialize(views, Some(metadata)).expect("names and views are sound")
    }

    /// Metadata of a safetensors file.
    ///
    /// # Errors
    /// A file that cannot be read or is no safetensors.
    pub fn metadata(path: &Path) -> Result<BTreeMap<String, String>, WeightError> {
        let bytes = std::fs::read(path).map_err(|source| WeightError::Io { path: path.to_owned(), source })?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| WeightError::Format {
            origin: path.display().to_string(),
            format: "safetensors",
            reason: error.to_string(),
        })?;
        Ok(header.metadata().clone().unwrap_or_default().into_iter().collect())
    }

    /// Reads a file that [`Weights::save`] wrote, or any in Keras's names and axes. Tensors that `graph` does not have and
    /// that match no pattern of `ignore` are an error, like every mismatch.
    ///
    /// # Errors
    /// As [`Weights::read`]'s.
    pub fn load_own(path: &Path, graph: &Graph, ignore: &[&str]) -> Result<Self, WeightError> {
        let ignore = ignore.iter().map(|pattern| (*pattern).to_owned()).collect();
        let map = TensorMap { layout: Layout::Keras, names: Vec::new(), ignore };
        Self::read(path, Format::Safetensors, &map, graph)
    }

    /// Reads the tensors of a safetensors file whose names match `pattern`, whatever they are.
    ///
    /// # Errors
    /// A file that cannot be read or is no safetensors.
    pub fn load_named(path: &Path, pattern: &str) -> Result<Self, WeightError> {
        let bytes = std::fs::read(path).map_err(|source| WeightError::Io { path: path.to_owned(), source })?;
        let bad = |reason| WeightError::Format { origin: path.display().to_string(), format: "safetensors", reason };
        let mut weights = Self::default();
        for (name, raw) in super::read::safetensors(bytes).map_err(bad)? {
            if matches_pattern(pattern, &name) {
                weights.insert(name, raw.shape, (raw.data)().map_err(bad)?);
            }
        }
        Ok(weights)
    }
}

/// Writes to a new file beside `path`, flushes it to the disk, and renames it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // Others may read a checkpoint as they may read any file that the user makes.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.prefix(".partial-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
