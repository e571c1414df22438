//! A segment: some rows of a namespace in one file that never changes.
//!
//! ```text
//! magic  header length (u64)  header (JSON)  rows …  index: fingerprint (32 bytes) and CRC-32 of each row  footer
//! footer: number of rows (u64), CRC-32 of header and index, magic
//! ```
//!
//! Numbers are little-endian. The index is at the end, so that rows can be written as they come. A file without a valid footer was
//! never finished, or is damaged.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use half::slice::HalfFloatSliceExt as _;
use injerto_data::Fingerprint;
use injerto_files::{Partial, read_at};
use injerto_recipe::FeaturePrecision;
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"INJFEAT1";
const END: &[u8; 8] = b"INJFEND1";
const FOOTER: usize = 8 + 4 + 8;
const ENTRY: usize = 32 + 4;
/// Extension of the file of a segment.
pub(super) const EXTENSION: &str = "features";

/// Appends `values` to `out` as stored numbers.
pub(super) fn encode(precision: FeaturePrecision, values: &[f32], out: &mut Vec<u8>) {
    match precision {
        FeaturePrecision::F32 => {
            let from = out.len();
            out.resize(from + values.len() * 4, 0);
            let bytes = out[from..].as_chunks_mut().0;
            bytes.iter_mut().zip(values).for_each(|(bytes, value)| *bytes = value.to_le_bytes());
        }
        FeaturePrecision::F16 => {
            let mut halves = vec![half::f16::ZERO; values.len()];
            halves.convert_from_f32_slice(values);
            out.extend(halves.iter().flat_map(|x| x.to_le_bytes()));
        }
        FeaturePrecision::BF16 => {
            let mut halves = vec![half::bf16::ZERO; values.len()];
            halves.convert_from_f32_slice(values);
            out.extend(halves.iter().flat_map(|x| x.to_le_bytes()));
        }
    }
}

/// Appends what [`encode`] wrote to `out`.
pub(super) fn decode(precision: FeaturePrecision, bytes: &[u8], out: &mut Vec<f32>) {
    match precision {
        FeaturePrecision::F32 => out.extend(bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x))),
        FeaturePrecision::F16 => out.extend(bytes.as_chunks().0.iter().map(|x| half::f16::from_le_bytes(*x).to_f32())),
        FeaturePrecision::BF16 => {
            out.extend(bytes.as_chunks().0.iter().map(|x| half::bf16::from_le_bytes(*x).to_f32()))
        }
    }
}

/// Header of a segment, for commands that list the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// Hash of the namespace.
    #[serde(rename = "space")]
    pub namespace: String,
    /// Name of the network.
    pub network: String,
    /// Shape of each tensor of the boundary for one image.
    pub shapes: Vec<Vec<usize>>,
    pub precision: FeaturePrecision,
}

impl Header {
    /// Bytes per row, for a network that has passed shape inference.
    pub fn row_bytes(&self) -> usize {
        self.checked_row_bytes().expect("a network's shapes are small enough to multiply")
    }

    /// Bytes per row; `None` if the product of the shapes in a file overflows.
    fn checked_row_bytes(&self) -> Option<usize> {
        let values = |shape: &Vec<usize>| shape.iter().try_fold(1_usize, |size, &side| size.checked_mul(side));
        let total = self.shapes.iter().try_fold(0_usize, |sum, shape| sum.checked_add(values(shape)?))?;
        total.checked_mul(self.precision.bytes())
    }
}

/// A finished segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub path: PathBuf,
    file: File,
    pub header: Header,
    /// Position of the first row in the file.
    begin: u64,
    pub index: Vec<(Fingerprint, u32)>,
}

fn bad(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

impl Segment {
    /// Reads header and index; rows are checked when they are read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut start = [0; 16];
        file.read_exact(&mut start)?;
        let (magic, header_length) = start.split_at(8);
        let header_length = u64::from_le_bytes(header_length.try_into().expect("eight bytes"));
        if magic != MAGIC || header_length > 1 << 20 {
            return Err(bad("it does not begin like a segment of the feature cache"));
        }
        let mut header_bytes = vec![0; header_length as usize];
        file.read_exact(&mut header_bytes)?;
        let header: Header = serde_json::from_slice(&header_bytes).map_err(|error| bad(&error.to_string()))?;
        let begin = 16 + header_length;
        let footer_at = length.checked_sub(FOOTER as u64).ok_or_else(|| bad("it is cut short"))?;
        file.seek(SeekFrom::Start(footer_at))?;
        let mut footer = [0; FOOTER];
        file.read_exact(&mut footer)?;
        let rows = u64::from_le_bytes(footer[..8].try_into().expect("eight bytes"));
        let sum = u32::from_le_bytes(footer[8..12].try_into().expect("four bytes"));
        // These numbers are used before the checksum is verified, so every product is checked, and no more memory is allocated
        // than the file has bytes.
        let row = header.checked_row_bytes().and_then(|bytes| (bytes as u64).checked_add(ENTRY as u64));
        let sizes = row.and_then(|row| row.checked_mul(rows));
        if &footer[12..] != END || sizes.and_then(|sizes| sizes.checked_add(begin)) != Some(footer_at) {
            return Err(bad("it is cut short"));
        }
        let mut index_bytes = vec![0; ENTRY * rows as usize];
        file.seek(SeekFrom::Start(footer_at - index_bytes.len() as u64))?;
        file.read_exact(&mut index_bytes)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&header_bytes);
        hasher.update(&index_bytes);
        if hasher.finalize() != sum {
            return Err(bad("its index is damaged"));
        }
        let entry = |entry: &[u8; ENTRY]| {
            let (print, sum) = entry.split_at(32);
            (print.try_into().expect("32 bytes"), u32::from_le_bytes(sum.try_into().expect("four bytes")))
        };
        let index = index_bytes.as_chunks().0.iter().map(entry).collect();
        Ok(Self { path: path.to_owned(), file, header, begin, index })
    }

    /// Reads one row into `row`, which has the size of a row, and verifies it.
    pub fn read(&self, at: usize, row: &mut [u8]) -> io::Result<()> {
        read_at(&self.file, row, self.begin + at as u64 * row.len() as u64)?;
        if crc32fast::hash(row) == self.index[at].1 { Ok(()) } else { Err(bad("a row is damaged")) }
    }
}

/// Reads a whole segment, verifies each row, and returns the number of rows.
///
/// # Errors
/// The file cannot be read, is not a segment, or is damaged.
pub fn verify(path: &Path) -> io::Result<usize> {
    let segment = Segment::open(path)?;
    let mut row = match segment.index.is_empty() {
        // Without rows, nothing proves that the size of a row is plausible.
        true => Vec::new(),
        false => vec![0; segment.header.row_bytes()],
    };
    (0..segment.index.len()).try_for_each(|at| segment.read(at, &mut row))?;
    Ok(segment.index.len())
}

/// A segment that is being written, with a name that no reader looks for.
#[derive(Debug)]
pub(super) struct Writer {
    file: Partial,
    folder: PathBuf,
    header: Vec<u8>,
    index: Vec<u8>,
    pub rows: usize,
}

impl Writer {
    pub fn new(folder: &Path, header: &Header) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut file = Partial::beside(&folder.join(EXTENSION))?;
        let header = serde_json::to_vec(header).expect("a header is plain data");
        file.write_all(MAGIC)?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        Ok(Self { file, folder: folder.to_owned(), header, index: Vec::new(), rows: 0 })
    }

    pub fn push(&mut self, print: &Fingerprint, row: &[u8]) -> io::Result<()> {
        self.file.write_all(row)?;
        self.index.extend(print);
        self.index.extend(crc32fast::hash(row).to_le_bytes());
        self.rows += 1;
        Ok(())
    }

    /// Finishes the segment and renames it.
    pub fn finish(mut self) -> io::Result<Segment> {
        self.file.write_all(&self.index)?;
        self.file.write_all(&(self.rows as u64).to_le_bytes())?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.header);
        hasher.update(&self.index);
        self.file.write_all(&hasher.finalize().to_le_bytes())?;
        self.file.write_all(END)?;
        // The random part of the temporary name distinguishes concurrent runs.
        let path = self.folder.join(format!("{}.{EXTENSION}", self.file.token()));
        self.file.persist(&path)?;
        Segment::open(&path)
    }
}
