use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use injerto_files::Partial;
use injerto_graph::{Format, Graph, TensorMap};
use serde_json::{Map, json};

use super::checksum::{self, Hasher};
use super::file::WeightFile;
use super::table::Rest;
use super::{WeightError, Weights};

/// Number format of a saved file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, for files that must be small.
    F16,
}

impl Precision {
    /// Name of the number type in safetensors.
    fn dtype(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
        }
    }

    /// Bytes per number.
    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// Values as bytes of a file; `None` if a finite value is too large for this precision.
    fn bytes(self, values: &[f32]) -> Option<Vec<u8>> {
        fn each<const N: usize>(values: &[f32], write: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
            let mut bytes = vec![0; values.len() * N];
            bytes.as_chunks_mut().0.iter_mut().zip(values).for_each(|(bytes, &value)| *bytes = write(value));
            bytes
        }
        match self {
            Self::F32 => Some(each(values, f32::to_le_bytes)),
            Self::F16 => {
                let fits = |value: &f32| !value.is_finite() || half::f16::from_f32(*value).is_finite();
                values.iter().all(fits).then(|| each(values, |value| half::f16::from_f32(value).to_le_bytes()))
            }
        }
    }
}

impl Weights {
    /// Writes safetensors with Keras's names and axes and with a checksum. The file appears whole or not at all. Equal weights and
    /// metadata give equal bytes.
    ///
    /// # Errors
    /// [`WeightError::Overflow`], for values that are too large for this precision; a folder that cannot be written to, or a full
    /// disk.
    pub fn save(
        &self,
        path: &Path,
        metadata: &BTreeMap<String, String>,
        precision: Precision,
    ) -> Result<(), WeightError> {
        let (header, numbers) = self.to_safetensors(metadata, precision)?;
        let write = || {
            let mut file = Partial::beside(path)?;
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)?;
            file.write_all(&numbers)?;
            file.persist(path)
        };
        write().map_err(|source| WeightError::Io { path: path.to_owned(), source })
    }

    /// The bytes of a safetensors file, as [`Weights::save`] writes them.
    pub(crate) fn to_bytes(
        &self,
        metadata: &BTreeMap<String, String>,
        precision: Precision,
    ) -> Result<Vec<u8>, WeightError> {
        let (header, mut numbers) = self.to_safetensors(metadata, precision)?;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.reserve_exact(header.len() + numbers.len());
        bytes.extend(header);
        bytes.append(&mut numbers);
        Ok(bytes)
    }

    /// Header and numbers of a safetensors file.
    fn to_safetensors(
        &self,
        metadata: &BTreeMap<String, String>,
        precision: Precision,
    ) -> Result<(Vec<u8>, Vec<u8>), WeightError> {
        let (mut metadata, dtype) = (metadata.clone(), precision.dtype());
        let mut hasher = Hasher::new(&metadata);
        let mut numbers = Vec::with_capacity(self.count() * precision.size());
        // The metadata comes first in the file, but its checksum is known only at the end.
        let mut table = Map::from_iter([("__metadata__".to_owned(), json!({}))]);
        for (name, values) in self.iter() {
            let bytes = precision.bytes(&values.data);
            let bytes = bytes.ok_or_else(|| WeightError::Overflow { tensor: name.to_owned() })?;
            hasher.tensor(name, dtype, &values.shape, &bytes);
            let begin = numbers.len();
            numbers.extend(bytes);
            let entry = json!({ "dtype": dtype, "shape": values.shape, "data_offsets": [begin, numbers.len()] });
            table.insert(name.to_owned(), entry);
        }
        metadata.insert(checksum::KEY.to_owned(), hasher.finish());
        table.insert("__metadata__".to_owned(), json!(metadata));
        let mut header = serde_json::to_vec(&table).expect("plain data");
        // Numbers must begin at a multiple of eight bytes.
        header.resize(header.len().next_multiple_of(8), b' ');
        Ok((header, numbers))
    }

    /// Reads a file that [`Weights::save`] wrote, or another file with Keras's names and axes. A tensor that `graph` does not have and
    /// that matches no pattern of `ignore` is an error, like every mismatch.
    ///
    /// # Errors
    /// Those of [`Weights::read`].
    pub fn load_own(path: &Path, graph: &Graph, ignore: &[&str]) -> Result<Self, WeightError> {
        WeightFile::open_as(path, Format::Safetensors)?.own(graph, ignore)
    }

    /// Reads a file of weights for `graph`, whose tensors have the names of `map`.
    ///
    /// # Errors
    /// The file cannot be read, or tensors are missing, superfluous, of another shape or not finite; each of them is named.
    pub fn read(path: &Path, format: Format, map: &TensorMap, graph: &Graph) -> Result<Self, WeightError> {
        Self::of(&WeightFile::open_as(path, format)?, map, graph)
    }

    /// Reads weights from memory. `origin` names the source in errors.
    ///
    /// # Errors
    /// Those of [`Weights::read`].
    pub fn read_bytes(
        bytes: Vec<u8>,
        origin: &str,
        format: Format,
        map: &TensorMap,
        graph: &Graph,
    ) -> Result<Self, WeightError> {
        Self::of(&WeightFile::parse(bytes, origin.to_owned(), format, None)?, map, graph)
    }

    fn of(file: &WeightFile, map: &TensorMap, graph: &Graph) -> Result<Self, WeightError> {
        file.take(&file.fit(map, graph, graph, Rest::Refused), graph)
    }
}
