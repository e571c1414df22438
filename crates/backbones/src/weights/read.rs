//! Reads safetensors and PyTorch's files as tables of tensors.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use injerto_files::printable;
use injerto_graph::Format;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::Deserialize;
use zip::ZipArchive;

/// Size limit of a file of weights in bytes, which is larger than any published file.
pub(super) const LARGEST_FILE: u64 = 4 << 30;

/// Size limit of a pickle in bytes, which is larger than the table of tensors of any network within the limits. Unpickled objects take
/// many times as many bytes.
const LARGEST_PICKLE: u64 = 16 << 20;

/// Limit for the ratio of unpacked to packed bytes of an archive. Weights are hardly compressible, and files with the zeros of an
/// optimiser stay below this ratio.
const LARGEST_RATIO: u64 = 16;

/// A tensor of a file that is not converted yet.
pub(super) struct Raw {
    pub(super) shape: Vec<usize>,
    source: Source,
}

/// Source of the numbers, which are converted only when they are needed.
enum Source {
    Bytes { dtype: Dtype, file: Arc<Vec<u8>>, range: Range<usize> },
    Reader(Box<dyn Fn() -> Result<Vec<f32>, String> + Send>),
}

impl Raw {
    /// A tensor that the reader of another format reads.
    pub(super) fn lazy(shape: Vec<usize>, read: impl Fn() -> Result<Vec<f32>, String> + Send + 'static) -> Self {
        Self { shape, source: Source::Reader(Box::new(read)) }
    }

    /// Reads the values.
    pub(super) fn read(&self) -> Result<Vec<f32>, String> {
        match &self.source {
            Source::Bytes { dtype, file, range } => numbers(*dtype, &file[range.clone()]),
            Source::Reader(read) => read(),
        }
    }

    /// Number type and bytes as a safetensors file stores them.
    pub(super) fn stored(&self) -> Option<(String, &[u8])> {
        match &self.source {
            Source::Bytes { dtype, file, range } => Some((dtype.to_string(), &file[range.clone()])),
            Source::Reader(_) => None,
        }
    }
}

/// Tensors and metadata of a safetensors file.
pub(super) type Table = (BTreeMap<String, Raw>, BTreeMap<String, String>);

pub(super) fn safetensors(bytes: Vec<u8>) -> Result<Table, String> {
    let (header, table) = SafeTensors::read_metadata(&bytes)
        .map_err(|error| other_length(&bytes).unwrap_or_else(|| error.to_string()))?;
    let begin = 8 + header;
    let file = Arc::new(bytes);
    let raw = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let range = begin + info.data_offsets.0..begin + info.data_offsets.1;
        (
            name,
            Raw { shape: info.shape.clone(), source: Source::Bytes { dtype: info.dtype, file: file.clone(), range } },
        )
    };
    let tensors = table.tensors().into_iter().map(raw).collect();
    Ok((tensors, table.metadata().clone().unwrap_or_default().into_iter().collect()))
}

/// How the length of a safetensors file differs from what its header says; `None` if it does not, or if there is no header.
fn other_length(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Tensor {
        data_offsets: Option<[u64; 2]>,
    }
    let header = usize::try_from(u64::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    let (header, data) = bytes.get(8..)?.split_at_checked(header)?;
    let tensors: BTreeMap<String, Tensor> = serde_json::from_slice(header).ok()?;
    let (there, expected) =
        (data.len() as u64, tensors.values().filter_map(|tensor| Some(tensor.data_offsets?[1])).max()?);
    match there.cmp(&expected) {
        Ordering::Less => {
            Some(format!("it is cut short: {there} of {expected} bytes are there; fetch or copy it again"))
        }
        Ordering::Greater => Some(format!(
            "more bytes follow its last tensor ({}): it was changed; fetch or copy it again",
            there - expected
        )),
        Ordering::Equal => None,
    }
}

fn numbers(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>, String> {
    fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|chunk| read(*chunk)).collect()
    }
    match dtype {
        Dtype::F32 => Ok(each(bytes, f32::from_le_bytes)),
        Dtype::F64 => Ok(each(bytes, |x| f64::from_le_bytes(x) as f32)),
        Dtype::F16 => Ok(each(bytes, |x| half::f16::from_le_bytes(x).to_f32())),
        Dtype::BF16 => Ok(each(bytes, |x| half::bf16::from_le_bytes(x).to_f32())),
        // Keras counts in an integer the images that a Normalization layer was adapted to.
        Dtype::I64 => Ok(each(bytes, |x| i64::from_le_bytes(x) as f32)),
        Dtype::I32 => Ok(each(bytes, |x| i32::from_le_bytes(x) as f32)),
        other => Err(format!("its numbers are {other:?}, expected floating point")),
    }
}

/// Tensors of any of PyTorch's containers. The name of a tensor in dictionaries is the path of keys, joined with points.
pub(super) fn pytorch(bytes: Vec<u8>, path: Option<PathBuf>) -> Result<BTreeMap<String, Raw>, String> {
    use pytorch_reader::{DType, PytorchReader};
    if bytes.starts_with(b"PK") {
        check_pickle(&bytes)?;
    }
    // The reader knows all of PyTorch's containers, including the one from before version 1.6, but only in files.
    let copy = match &path {
        Some(_) => None,
        None => {
            let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
            std::fs::write(file.path(), bytes).map_err(|error| error.to_string())?;
            Some(Arc::new(file))
        }
    };
    let place = path.or_else(|| copy.as_ref().map(|file| file.path().to_owned())).unwrap_or_default();
    // The reader is tested with damaged files, but even an unforeseen panic must not end the program.
    let reader = injerto_files::catch_quietly(|| PytorchReader::new(&place))
        .ok_or("the reader failed on it")?
        .map_err(|error| error.to_string())?;
    // Tensors are read from the file when they are needed.
    let raw = |(name, tensor): (String, pytorch_reader::Tensor)| {
        let shape = tensor.shape().to_vec();
        let copy = copy.clone();
        let data = move || {
            let _open = &copy;
            let bytes = tensor.read().map_err(|error| error.to_string())?;
            let dtype = match tensor.dtype() {
                DType::F32 => Dtype::F32,
                DType::F64 => Dtype::F64,
                DType::F16 => Dtype::F16,
                DType::BF16 => Dtype::BF16,
                other => return Err(format!("its numbers are {other:?}, expected floating point")),
            };
            numbers(dtype, &bytes)
        };
        (name, Raw::lazy(shape, data))
    };
    Ok(reader.into_tensors().into_iter().map(raw).collect())
}

/// Refuses an archive whose pickle is too large for a table of tensors.
fn check_pickle(bytes: &[u8]) -> Result<(), String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    for at in 0..archive.len() {
        let entry = archive.by_index_raw(at).map_err(|error| error.to_string())?;
        let is_pickle = entry.name().is_ok_and(|name| name.ends_with(".pkl"));
        if is_pickle && entry.size() > LARGEST_PICKLE {
            return Err(format!("its table of tensors has {} bytes, but the limit is {LARGEST_PICKLE}", entry.size()));
        }
    }
    Ok(())
}

/// Name of the file with the weights in a `.keras` archive.
const KERAS_WEIGHTS: &str = "model.weights.h5";

/// The format of a ZIP archive, or what the archive is instead.
pub(super) fn archive(bytes: &[u8]) -> Result<Format, String> {
    // The directory of an archive is at its end.
    let archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|_| "it is an archive that is damaged or cut short; fetch or copy it again".to_owned())?;
    let has = |ending: &str| archive.file_names_raw().any(|name| name.ends_with(ending.as_bytes()));
    if archive.index_for_name(KERAS_WEIGHTS).is_some() {
        return Ok(Format::KerasHdf5);
    }
    Err(match (has("data.pkl"), has("constants.pkl"), has(".npy")) {
        (true, false, _) => return Ok(Format::Pytorch),
        (true, true, _) => {
            "it is a TorchScript program; load it in PyTorch, and save its weights with torch.save(model.state_dict(), …)"
        }
        (false, _, true) => "it holds NumPy's arrays; save them with safetensors.numpy.save_file",
        (false, _, false) => "it is an archive of other files; unpack it first",
    }
    .to_owned())
}

/// Size limit of an index of several files in bytes; the index of a network within the limits is smaller.
const LARGEST_INDEX: usize = 16 << 20;

/// The names of the files that hold the tensors, if these bytes are an index of several files, as `model.safetensors.index.json`;
/// otherwise `None`.
///
/// # Errors
/// A name that leads out of the index's folder, in words.
pub(super) fn parts(bytes: &[u8]) -> Option<Result<BTreeSet<String>, String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    if bytes.first() != Some(&b'{') || bytes.len() > LARGEST_INDEX {
        return None;
    }
    let index: Index = serde_json::from_slice(bytes).ok()?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    let leads_out = |name: &&String| Path::new(name).file_name() != Some(name.as_ref());
    Some(match names.iter().find(leads_out) {
        Some(name) => Err(format!("it is an index whose file '{}' is not beside it", printable(name))),
        None => Ok(names),
    })
}

/// The HDF5 file in a `.keras` archive.
pub(super) fn keras_weights(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let file = archive.by_name(KERAS_WEIGHTS).map_err(|error| format!("{KERAS_WEIGHTS}: {error}"))?;
    unpack(file).map_err(|reason| format!("{KERAS_WEIGHTS}: {reason}"))
}

/// Unpacks a file of an archive, up to the size that is plausible for it, whatever size the archive claims.
pub(super) fn unpack<R: std::io::Read>(file: zip::read::ZipFile<'_, R>) -> Result<Vec<u8>, String> {
    let limit = (file.compressed_size().saturating_mul(LARGEST_RATIO) + (1 << 20)).min(LARGEST_FILE);
    let too_large =
        || Err(format!("unpacked it is larger than {limit} bytes, too large for weights in an archive of this size"));
    if file.size() > limit {
        return too_large();
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit { too_large() } else { Ok(bytes) }
}
