//! A part: some rows of a space in one file that never changes.
//!
//! ```text
//! magic  header length (u64)  header (JSON)  rows …  index: fingerprint (32 bytes) and CRC-32 of each row  footer
//! footer: number of rows (u64), CRC-32 of header and index, magic
//! ```
//!
//! Numbers are little-endian. The index stands at the end, so that rows are written as they come; a file without a sound
//! footer was never finished, or is damaged.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use half::slice::HalfFloatSliceExt as _;
use injerto_data::Fingerprint;
use injerto_files::Partial;
use injerto_recipe::FeaturePrecision;
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"INJFEAT1";
const END: &[u8; 8] = b"INJFEND1";
const FOOTER: usize = 8 + 4 + 8;
const ENTRY: usize = 32 + 4;
/// What a part's file is called.
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

/// What a part is about, for whoever lists the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// Hash of the space.
    pub space: String,
    /// Name of the network.
    pub network: String,
    /// Shape of each tensor that crosses, for one image.
    pub shapes: Vec<Vec<usize>>,
    pub precision: FeaturePrecision,
}

impl Header {
    /// Bytes of a row, for a network that has passed shape inference.
    pub fn row_bytes(&self) -> usize {
        self.checked_row_bytes().expect("a network's shapes are small enough to multiply")
    }

    /// Bytes of a row; `None` for shapes from a file whose product no machine can count.
    fn checked_row_bytes(&self) -> Option<usize> {
        let values = |shape: &Vec<usize>| shape.iter().try_fold(1_usize, |size, &side| size.checked_mul(side));
        let total = self.shapes.iter().try_fold(0_usize, |sum, shape| sum.checked_add(values(shape)?))?;
        total.checked_mul(self.precision.bytes())
    }
}

/// A finished part.
#[derive(Debug)]
pub(super) struct Part {
    pub path: PathBuf,
    file: File,
    pub header: Header,
    /// Where rows begin.
    begin: u64,
    pub index: Vec<(Fingerprint, u32)>,
}

fn bad(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

impl Part {
    /// Reads header and index; rows are checked when they are read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut start = [0; 16];
        file.read_exact(&mut start)?;
        let (magic, header_length) = start.split_at(8);
        let header_length = u64::from_le_bytes(header_length.try_into().expect("eight bytes"));
        if magic != MAGIC || header_length > 1 << 20 {
            return Err(bad("it does not begin as a part of the feature cache"));
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
        // Whatever the file says, it says it before its checksum is looked at: nothing is multiplied unchecked, and no more is
        // asked for than the file has.
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

    /// Reads one row into `row`, which has the row's size, and checks it.
    pub fn read(&self, at: usize, row: &mut [u8]) -> io::Result<()> {
        read_at(&self.file, row, self.begin + at as u64 * row.len() as u64)?;
        if crc32fast::hash(row) == self.index[at].1 { Ok(()) } else { Err(bad("a row is damaged")) }
    }
}

/// Reads a part to its end, each row checked, and says how many rows it has.
///
/// # Errors
/// A file that cannot be read, is no part, or is damaged.
pub fn verify(path: &Path) -> io::Result<usize> {
    let part = Part::open(path)?;
    let mut row = match part.index.is_empty() {
        // Without rows, nothing says that their size is true.
        true => Vec::new(),
        false => vec![0; part.header.row_bytes()],
    };
    (0..part.index.len()).try_for_each(|at| part.read(at, &mut row))?;
    Ok(part.index.len())
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => (bytes, offset) = (&mut bytes[n..], offset + n as u64),
        }
    }
    Ok(())
}

/// A part that is being written, under a name that nobody looks for.
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

    /// Ends the part and gives it its name.
    pub fn finish(mut self) -> io::Result<Part> {
        self.file.write_all(&self.index)?;
        self.file.write_all(&(self.rows as u64).to_le_bytes())?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.header);
        hasher.update(&self.index);
        self.file.write_all(&hasher.finalize().to_le_bytes())?;
        self.file.write_all(END)?;
        // The random part of the temporary name keeps runs at the same time apart.
        let path = self.folder.join(format!("{}.{EXTENSION}", self.file.token()));
        self.file.persist(&path)?;
        Part::open(&path)
    }
}
