//! Tensors of a file, and constants that are computed from them while a file is read.

use std::path::{Component, Path};

use injerto_files::printable;

use crate::wire::{Fields, pair};

/// Limit for the number of values of one constant: 2^31, which is 8 GiB in single precision.
pub(crate) const MOST_VALUES: usize = 1 << 31;

const MOST_AXES: usize = 16;

/// A tensor as a file stores it. Nothing is converted yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored<'a> {
    pub(crate) name: String,
    dims: Vec<i64>,
    kind: i64,
    raw: Option<&'a [u8]>,
    floats: Vec<f32>,
    doubles: Vec<f64>,
    ints: Vec<i64>,
    /// Entries that say where the numbers are, if they are in another file.
    external: Vec<(String, String)>,
    is_external: bool,
}

/// The numbers of a constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Numbers {
    Floats(Vec<f32>),
    /// Whole numbers and truth values.
    Ints(Vec<i64>),
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Constant {
    pub(crate) shape: Vec<usize>,
    pub(crate) numbers: Numbers,
}

impl<'a> Stored<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut tensor = Self::default();
        for field in Fields::of(bytes) {
            match field? {
                (1, value) => value.ints(&mut tensor.dims)?,
                (2, value) => tensor.kind = value.int()?,
                (4, value) => value.floats(&mut tensor.floats)?,
                (5 | 7 | 11, value) => value.ints(&mut tensor.ints)?,
                (8, value) => tensor.name = value.text()?,
                (9, value) => tensor.raw = Some(value.bytes()?),
                (10, value) => value.doubles(&mut tensor.doubles)?,
                (13, value) if tensor.external.len() < MOST_AXES => tensor.external.push(pair(value)?),
                (14, value) => tensor.is_external = value.int()? == 1,
                _ => {}
            }
        }
        if tensor.dims.len() > MOST_AXES {
            return Err(format!("tensor '{}' has more than {MOST_AXES} axes", printable(&tensor.name)));
        }
        Ok(tensor)
    }

    /// The shape.
    fn shape(&self) -> Result<Vec<usize>, String> {
        let side = |&side: &i64| usize::try_from(side).map_err(|_| format!("it has a side of {side}"));
        self.dims.iter().map(side).collect()
    }

    /// Reads the numbers; `folder` holds the files with external numbers. Each length is compared with the existing bytes before memory is
    /// allocated.
    pub(crate) fn read(&self, folder: &Path) -> Result<Constant, String> {
        let fail = |reason: String| format!("tensor '{}': {reason}", printable(&self.name));
        let shape = self.shape().map_err(fail)?;
        let count = count(&shape).ok_or_else(|| fail(format!("it has more than {MOST_VALUES} values")))?;
        let numbers = match self.is_external {
            true => from_bytes(self.kind, count, &self.external(folder, count).map_err(fail)?).map_err(fail)?,
            false => self.inside(count).map_err(fail)?,
        };
        Ok(Constant { shape, numbers })
    }

    fn inside(&self, count: usize) -> Result<Numbers, String> {
        if let Some(raw) = self.raw {
            return from_bytes(self.kind, count, raw);
        }
        let has = |found: usize| match found == count {
            true => Ok(()),
            false => Err(format!("it has {found} numbers, but its shape needs {count}")),
        };
        match self.kind {
            1 => has(self.floats.len()).map(|()| Numbers::Floats(self.floats.clone())),
            11 => has(self.doubles.len())
                .map(|()| Numbers::Floats(self.doubles.iter().map(|&value| value as f32).collect())),
            // Numbers in half precision are stored as whole numbers with the same bits.
            10 => has(self.ints.len()).map(|()| {
                Numbers::Floats(self.ints.iter().map(|&bits| half::f16::from_bits(bits as u16).to_f32()).collect())
            }),
            16 => has(self.ints.len()).map(|()| {
                Numbers::Floats(self.ints.iter().map(|&bits| half::bf16::from_bits(bits as u16).to_f32()).collect())
            }),
            2..=7 | 9 | 12 | 13 => has(self.ints.len()).map(|()| Numbers::Ints(self.ints.clone())),
            kind => Err(unknown(kind)),
        }
    }

    /// The bytes in another file, which must be inside the folder of the model.
    fn external(&self, folder: &Path, count: usize) -> Result<Vec<u8>, String> {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let entry = |key: &str| self.external.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let location = entry("location").ok_or("its numbers are in another file, which it does not name")?;
        let number = |key: &str| {
            let parse = |text: &str| text.parse::<u64>().map_err(|_| format!("its {key} is not a number"));
            entry(key).map(parse).transpose()
        };
        let outside =
            || format!("its numbers are in '{}', which is not a file in the folder of the model", printable(location));
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if location.is_empty() || location.contains('\\') || !Path::new(location).components().all(inside) {
            return Err(outside());
        }
        let path = folder.join(location);
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        // A symbolic link may lead out of the folder.
        match (path.canonicalize(), folder.canonicalize()) {
            (Ok(path), Ok(folder)) if path.starts_with(&folder) && path.is_file() => {}
            _ => return Err(outside()),
        }
        let say = |error: std::io::Error| format!("its numbers in '{}' cannot be read: {error}", printable(location));
        let mut file = std::fs::File::open(&path).map_err(say)?;
        let length = size(self.kind)?.checked_mul(count).ok_or("it is too large")? as u64;
        let offset = number("offset")?.unwrap_or(0);
        let there = file.metadata().map_err(say)?.len().saturating_sub(offset);
        if number("length")?.is_some_and(|claimed| claimed != length) || there < length {
            return Err(format!(
                "its numbers need {length} bytes in '{}', which has another length",
                printable(location)
            ));
        }
        file.seek(SeekFrom::Start(offset)).map_err(say)?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes).map_err(say)?;
        Ok(bytes)
    }
}

fn unknown(kind: i64) -> String {
    format!("its numbers are of kind {kind} of ONNX, which is neither floating point nor a whole number")
}

/// Bytes per number of a kind.
fn size(kind: i64) -> Result<usize, String> {
    Ok(match kind {
        2 | 3 | 9 => 1,
        4 | 5 | 10 | 16 => 2,
        1 | 6 | 12 => 4,
        7 | 11 | 13 => 8,
        kind => return Err(unknown(kind)),
    })
}

/// Numbers of little-endian bytes.
fn from_bytes(kind: i64, count: usize, bytes: &[u8]) -> Result<Numbers, String> {
    fn each<T, const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks().0.iter().map(|chunk| read(*chunk)).collect()
    }
    if size(kind)?.checked_mul(count) != Some(bytes.len()) {
        return Err(format!("it has {} bytes, but its shape needs {count} numbers", bytes.len()));
    }
    Ok(match kind {
        1 => Numbers::Floats(each(bytes, f32::from_le_bytes)),
        10 => Numbers::Floats(each(bytes, |x| half::f16::from_le_bytes(x).to_f32())),
        11 => Numbers::Floats(each(bytes, |x| f64::from_le_bytes(x) as f32)),
        16 => Numbers::Floats(each(bytes, |x| half::bf16::from_le_bytes(x).to_f32())),
        2 | 9 => Numbers::Ints(each(bytes, |x| i64::from(u8::from_le_bytes(x)))),
        3 => Numbers::Ints(each(bytes, |x| i64::from(i8::from_le_bytes(x)))),
        4 => Numbers::Ints(each(bytes, |x| i64::from(u16::from_le_bytes(x)))),
        5 => Numbers::Ints(each(bytes, |x| i64::from(i16::from_le_bytes(x)))),
        6 => Numbers::Ints(each(bytes, |x| i64::from(i32::from_le_bytes(x)))),
        12 => Numbers::Ints(each(bytes, |x| i64::from(u32::from_le_bytes(x)))),
        7 => Numbers::Ints(each(bytes, i64::from_le_bytes)),
        13 => Numbers::Ints(each(bytes, |x| u64::from_le_bytes(x) as i64)),
        kind => return Err(unknown(kind)),
    })
}

/// Number of values of a shape, unless it exceeds [`MOST_VALUES`].
pub(crate) fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |count, &side| count.checked_mul(side)).filter(|&count| count <= MOST_VALUES)
}
