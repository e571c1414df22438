//! Parquet tables: one photo per row, in a column of bytes or of paths.

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_schema::{DataType, Schema};
use injerto_files::listed;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;

use super::Photo;
use crate::place::Source;
use crate::{Place, ShardsError};

/// Rows that are read together: few, because a row may hold a photo of many megabytes.
const TOGETHER: usize = 16;

/// Names of columns, the likelier first.
const CONTENTS: &[&str] = &["image", "bytes", "content", "data", "jpg", "jpeg", "png", "img"];
const PATHS: &[&str] = &["path", "file", "file_name", "filename", "image_path", "image", "url"];
const KEYS: &[&str] = &["key", "__key__"];
const LABELS: &[&str] = &["label", "class", "cls", "target", "category"];

/// The photos of a table, one after the other.
pub(super) fn photos(place: &Place) -> impl Iterator<Item = Result<Photo, ShardsError>> + Send + 'static {
    match Rows::open(place) {
        Ok(rows) => Box::new(rows) as Box<dyn Iterator<Item = _> + Send>,
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}

/// Places of the columns, in a table or in the part of it that is read.
#[derive(Clone, Copy)]
struct Columns {
    content: Option<usize>,
    path: Option<usize>,
    key: Option<usize>,
    label: Option<usize>,
}

struct Rows {
    place: Place,
    reader: ParquetRecordBatchReader,
    columns: Columns,
    batch: Option<RecordBatch>,
    /// Next row of the batch, and number of the batch's first row in the table.
    next: (usize, usize),
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(kind: &DataType) -> bool {
    matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// Whether a column holds photos: bytes, or, as Hugging Face writes them, bytes with a path.
fn holds_photos(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(fields) => fields.iter().any(|field| field.name() == "bytes" && is_bytes(field.data_type())),
        kind => is_bytes(kind),
    }
}

impl Columns {
    fn of(schema: &Schema) -> Result<Self, String> {
        let usual = |names: &[&str], fits: &dyn Fn(&DataType) -> bool| {
            let at = |name: &&str| {
                schema
                    .fields()
                    .iter()
                    .position(|field| field.name().eq_ignore_ascii_case(name) && fits(field.data_type()))
            };
            names.iter().find_map(at)
        };
        let only = || {
            let mut all = (0..schema.fields().len()).filter(|&at| holds_photos(schema.field(at).data_type()));
            all.next().filter(|_| all.next().is_none())
        };
        let content = usual(CONTENTS, &holds_photos).or_else(only);
        let path = usual(PATHS, &is_text);
        if content.is_none() && path.is_none() {
            let names = schema.fields().iter().map(|field| field.name().as_str());
            return Err(format!(
                "there is no column of photos: expected bytes in 'image' or 'bytes', or text in 'path'; the columns are {}",
                listed(names)
            ));
        }
        let label =
            usual(LABELS, &|kind| is_text(kind) || kind.is_integer() || matches!(kind, DataType::Dictionary(..)));
        Ok(Self { content, path, key: usual(KEYS, &is_text), label })
    }

    /// The columns that are read, in their order. The others, among them a mask or a second photo, would cost memory, and requests
    /// where the table lies in a store.
    fn read(self) -> Vec<usize> {
        let Self { content, path, key, label } = self;
        let mut all: Vec<usize> = [content, path, key, label].into_iter().flatten().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The same columns, by their places among those that are read.
    fn among(self, read: &[usize]) -> Self {
        let place = |column: Option<usize>| column.and_then(|column| read.binary_search(&column).ok());
        let Self { content, path, key, label } = self;
        Self { content: place(content), path: place(path), key: place(key), label: place(label) }
    }
}

/// The compression of one of these columns that is not read.
fn foreign_compression(metadata: &ParquetMetaData, read: &[usize]) -> Option<&'static str> {
    let leaves = metadata.file_metadata().schema_descr();
    let chunks = metadata.row_groups().iter().flat_map(|group| group.columns().iter().enumerate());
    chunks.filter(|&(leaf, _)| read.contains(&leaves.get_column_root_idx(leaf))).find_map(|(_, chunk)| {
        match chunk.compression() {
            Compression::BROTLI(_) => Some("Brotli"),
            Compression::LZO => Some("LZO"),
            _ => None,
        }
    })
}

impl Rows {
    fn open(place: &Place) -> Result<Self, ShardsError> {
        let file = Source::open(place)?;
        let bad = |reason: String| ShardsError::input(place, reason);
        let damaged =
            |error: parquet::errors::ParquetError| bad(format!("it is damaged, or no Parquet file ({error})"));
        let builder = injerto_files::catch_quietly(|| ParquetRecordBatchReaderBuilder::try_new(file))
            .ok_or_else(|| bad("it is damaged".to_owned()))?
            .map_err(damaged)?;
        let columns = Columns::of(builder.schema()).map_err(bad)?;
        let read = columns.read();
        if let Some(compression) = foreign_compression(builder.metadata(), &read) {
            return Err(bad(format!(
                "its columns are compressed with {compression}, which is not read: write it with Snappy, Zstandard, gzip or LZ4"
            )));
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), read.iter().copied());
        let reader = builder.with_projection(mask).with_batch_size(TOGETHER).build().map_err(damaged)?;
        Ok(Self { place: place.clone(), reader, columns: columns.among(&read), batch: None, next: (0, 0) })
    }

    fn photo(&self, batch: &RecordBatch, row: usize) -> Photo {
        let Columns { content, path, key, label } = &self.columns;
        let own = path.and_then(|at| text(batch.column(at), row));
        let number = self.next.1 + row;
        let (name, own_text) = (self.place.name(), self.place.text());
        let key = key.and_then(|at| text(batch.column(at), row));
        let key = key.or_else(|| content.is_none().then(|| own.clone()).flatten());
        let key = key.unwrap_or_else(|| format!("{name}#{number}"));
        let (path, content) = match (content, &own) {
            (Some(at), _) => {
                let bytes = bytes(batch.column(*at), row).ok_or_else(|| "the row holds no photo".to_owned().into());
                (format!("{own_text}#{number}"), bytes)
            }
            (None, Some(own)) => match self.place.beside(own) {
                Ok(photo) => (photo.text(), photo.photo()),
                Err(error) => (own.clone(), Err(error.to_string().into())),
            },
            (None, None) => (own_text, Err("the row holds no path".to_owned().into())),
        };
        Photo { key, path, label: label.and_then(|at| text(batch.column(at), row)), content }
    }
}

impl Iterator for Rows {
    type Item = Result<Photo, ShardsError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = &self.batch {
                if self.next.0 < batch.num_rows() {
                    let photo = self.photo(batch, self.next.0);
                    self.next.0 += 1;
                    return Some(Ok(photo));
                }
                self.next = (0, self.next.1 + batch.num_rows());
                self.batch = None;
            }
            let reader = &mut self.reader;
            let next = injerto_files::catch_quietly(|| reader.next());
            let damaged = |reason: String| ShardsError::input(&self.place, format!("it is damaged ({reason})"));
            match next {
                Some(None) => return None,
                Some(Some(Ok(batch))) => self.batch = Some(batch),
                Some(Some(Err(error))) => return Some(Err(damaged(error.to_string()))),
                None => return Some(Err(damaged("it cannot be decoded".to_owned()))),
            }
        }
    }
}

/// A field as text; `None` where there is nothing.
fn text(column: &ArrayRef, row: usize) -> Option<String> {
    use arrow_array::types::{
        Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    };
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).to_owned(),
        DataType::Utf8View => column.as_string_view().value(row).to_owned(),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(row).to_string(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).to_string(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).to_string(),
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let at = dictionary.normalized_keys()[row];
            return text(dictionary.values(), at);
        }
        _ => return None,
    })
}

/// A field as bytes; `None` where there is nothing.
fn bytes(column: &ArrayRef, row: usize) -> Option<Vec<u8>> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Binary => column.as_binary::<i32>().value(row).to_vec(),
        DataType::LargeBinary => column.as_binary::<i64>().value(row).to_vec(),
        DataType::BinaryView => column.as_binary_view().value(row).to_vec(),
        DataType::Struct(_) => {
            let parts: &StructArray = column.as_struct();
            return bytes(parts.column_by_name("bytes")?, row);
        }
        _ => return None,
    })
}
