use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use injerto_graph::{Format, Graph, Layout, Operator, Role, TensorMap, matches_pattern};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use super::{WeightError, Weights, names};

/// A tensor as it stands in a file.
pub(super) struct Raw {
    pub(super) shape: Vec<usize>,
    /// Not read before it is known to be wanted.
    pub(super) data: Box<dyn Fn() -> Result<Vec<f32>, String>>,
}

impl Weights {
    /// Reads a file of weights for `graph`.
    ///
    /// # Errors
    /// A file that cannot be read, tensors that are missing, left over, misshapen or not finite, each named.
    pub fn read(path: &Path, format: Format, map: &TensorMap, graph: &Graph) -> Result<Self, WeightError> {
        let origin = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| WeightError::Io { path: path.to_owned(), source })?;
        Self::read_bytes(bytes, &origin, format, map, graph)
    }

    /// The same from memory; `origin` names the source in errors.
    ///
    /// # Errors
    /// As [`Weights::read`]'s.
    pub fn read_bytes(
        bytes: Vec<u8>,
        origin: &str,
        format: Format,
        map: &TensorMap,
        graph: &Graph,
    ) -> Result<Self, WeightError> {
        let bad = |format, reason| WeightError::Format { origin: origin.to_owned(), format, reason };
        let tensors = match format {
            Format::Safetensors => safetensors(bytes).map_err(|reason| bad("safetensors", reason))?,
            Format::Pytorch => pytorch(&bytes).map_err(|reason| bad("a PyTorch file", reason))?,
            Format::KerasHdf5 => super::hdf5::tensors(bytes, graph).map_err(|reason| bad("Keras HDF5", reason))?,
        };
        assemble(&tensors, origin, map, graph)
    }
}

/// Picks, checks and converts the tensors of `graph`.
fn assemble(
    tensors: &BTreeMap<String, Raw>,
    origin: &str,
    map: &TensorMap,
    graph: &Graph,
) -> Result<Weights, WeightError> {
    let wanted = names(graph);
    let flattened = flattened(graph);
    // Name of each parameter's tensor in the file.
    let in_file: BTreeMap<&str, &str> = match map.names.is_empty() {
        true => wanted.keys().map(|name| (name.as_str(), name.as_str())).collect(),
        false => map.names.iter().map(|name| (name.parameter.as_str(), name.tensor.as_str())).collect(),
    };
    let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
    let (mut used, mut weights) = (BTreeSet::new(), Weights::default());
    for (name, (role, shape)) in &wanted {
        let tensor = in_file.get(name.as_str()).copied().unwrap_or(name);
        let Some(raw) = tensors.get(tensor) else {
            missing.push(if tensor == name { tensor.to_owned() } else { format!("{tensor} (for {name})") });
            continue;
        };
        used.insert(tensor);
        let expected = file_shape(*role, shape, map.layout);
        if raw.shape != expected {
            misshapen.push(format!("{tensor} is {:?}, expected {expected:?}", raw.shape));
            continue;
        }
        let bad =
            |reason| WeightError::Format { origin: format!("{origin}, tensor '{tensor}'"), format: "numbers", reason };
        let data = (raw.data)().map_err(bad)?;
        if !data.iter().all(|x| x.is_finite()) {
            return Err(WeightError::NotFinite { origin: origin.to_owned(), tensor: tensor.to_owned() });
        }
        let mut data = to_keras(*role, shape, map.layout, data);
        if let Some(image) = flattened.get(name).filter(|_| map.layout == Layout::Torch) {
            data = channels_last(*image, &data);
        }
        weights.insert(name.clone(), shape.clone(), data);
    }
    let ignored = |name: &str| map.ignore.iter().any(|pattern| matches_pattern(pattern, name));
    let surplus: Vec<String> =
        tensors.keys().filter(|name| !used.contains(name.as_str()) && !ignored(name)).cloned().collect();
    if missing.is_empty() && surplus.is_empty() && misshapen.is_empty() {
        return Ok(weights);
    }
    let (origin, graph) = (origin.to_owned(), graph.name().to_owned());
    Err(WeightError::Mismatch { origin, graph, missing, surplus, misshapen })
}

/// Dense kernels whose input is a flattened image, and that image's shape.
fn flattened(graph: &Graph) -> BTreeMap<String, [usize; 3]> {
    let mut found = BTreeMap::new();
    for node in graph.nodes().iter().filter(|node| matches!(node.operator(), Operator::Dense { .. })) {
        let flatten = &graph.nodes()[node.inputs[0]];
        if matches!(flatten.operator(), Operator::Flatten {}) {
            let image = graph.nodes()[flatten.inputs[0]].shape.image();
            found.extend(image.map(|image| (format!("{}/kernel", node.name()), image)));
        }
    }
    found
}

/// Puts a dense kernel's rows, in PyTorch's order of a flattened image (channel by channel), into Keras's (pixel by pixel).
fn channels_last([h, w, c]: [usize; 3], kernel: &[f32]) -> Vec<f32> {
    let units = kernel.len() / (h * w * c);
    let rows = (0..h * w).flat_map(|pixel| (0..c).map(move |channel| channel * h * w + pixel));
    rows.flat_map(|row| &kernel[row * units..(row + 1) * units]).copied().collect()
}

/// Shape that a parameter has in a file of this layout.
fn file_shape(role: Role, shape: &[usize], layout: Layout) -> Vec<usize> {
    match (layout, role, shape) {
        (Layout::Torch, Role::ConvolutionKernel, &[h, w, input, output]) => vec![output, input, h, w],
        (Layout::Torch, Role::DepthwiseKernel, &[h, w, channels, multiplier]) => vec![channels * multiplier, 1, h, w],
        (Layout::Torch, Role::DenseKernel, &[input, output]) => vec![output, input],
        _ => shape.to_vec(),
    }
}

/// Values in Keras's axes, from a file of this layout.
fn to_keras(role: Role, shape: &[usize], layout: Layout, data: Vec<f32>) -> Vec<f32> {
    // With outputs first and the field last, a kernel is a matrix [rows, columns] to be transposed.
    let (rows, columns) = match (layout, role, shape) {
        // [out, in, field] -> [field, in, out]: two transpositions in one, below.
        (Layout::Torch, Role::ConvolutionKernel, &[h, w, input, output]) => {
            let (field, mut keras) = (h * w, vec![0.0; data.len()]);
            for (o, kernels) in data.chunks_exact(input * field).enumerate() {
                for (i, window) in kernels.chunks_exact(field).enumerate() {
                    window.iter().enumerate().for_each(|(f, &x)| keras[(f * input + i) * output + o] = x);
                }
            }
            return keras;
        }
        // [channels * multiplier, field] -> [field, channels * multiplier].
        (Layout::Torch, Role::DepthwiseKernel, &[h, w, channels, multiplier]) => (channels * multiplier, h * w),
        (Layout::Torch, Role::DenseKernel, &[input, output]) => (output, input),
        _ => return data,
    };
    (0..columns).flat_map(|c| (0..rows).map(move |r| (r, c))).map(|(r, c)| data[r * columns + c]).collect()
}

pub(super) fn safetensors(bytes: Vec<u8>) -> Result<BTreeMap<String, Raw>, String> {
    let file = SafeTensors::deserialize(&bytes).map_err(|error| error.to_string())?;
    let raw = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let (dtype, data) = (view.dtype(), view.data().to_vec());
        (name, Raw { shape: view.shape().to_vec(), data: Box::new(move || numbers(dtype, &data)) })
    };
    Ok(file.tensors().into_iter().map(raw).collect())
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
        // Keras counts the images that a Normalization layer has seen.
        Dtype::I64 => Ok(each(bytes, |x| i64::from_le_bytes(x) as f32)),
        Dtype::I32 => Ok(each(bytes, |x| i32::from_le_bytes(x) as f32)),
        other => Err(format!("its numbers are {other:?}, expected floating point")),
    }
}

fn pytorch(bytes: &[u8]) -> Result<BTreeMap<String, Raw>, String> {
    use pytorch_reader::{DType, PytorchReader};
    // The reader knows all of PyTorch's containers, the one from before 1.6 among them, only in files.
    let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    std::fs::write(file.path(), bytes).map_err(|error| error.to_string())?;
    let reader = PytorchReader::new(file.path()).map_err(|error| error.to_string())?;
    // Tensors are read when they are wanted, from the file.
    let file = std::rc::Rc::new(file);
    let raw = |(name, tensor): (String, pytorch_reader::Tensor)| {
        let shape = tensor.shape().to_vec();
        let file = file.clone();
        let data = move || {
            let _open = &file;
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
        (name, Raw { shape, data: Box::new(data) })
    };
    Ok(reader.into_tensors().into_iter().map(raw).collect())
}
