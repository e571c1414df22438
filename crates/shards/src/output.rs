//! The Parquet file of one shard.

use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder as _, FixedSizeListBuilder, Float16Builder, Float32Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use half::f16;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use crate::place::{Sink, Source};
use crate::{Place, Shard, ShardsError};

/// Rows that are written together. A reader needs the memory of one such group.
const GROUP: usize = 4096;

/// Number type of stored features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

/// The form of the answer for each photo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Kind {
    /// The values of a layer.
    Features {
        /// The layer.
        layer: String,
        /// Number of values.
        width: usize,
        /// Their number type.
        precision: Precision,
    },
    /// The classes and their probabilities.
    Predictions {
        /// Names of the classes, in the order of the probabilities.
        classes: Vec<String>,
    },
}

/// A network, and the form of its answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Hash of all that answers depend on beside the photo: network, weights, how pixels are made, number type, code.
    pub model: String,
    /// Height and width at which it sees photos; `None` if an older version did not record them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<[usize; 2]>,
    /// The form of its answers.
    #[serde(flatten)]
    pub kind: Kind,
}

/// The metadata of a shard's file: the value of the key `injerto`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The network.
    #[serde(flatten)]
    pub about: About,
    /// Number of the shard, from 0, and of all shards.
    pub shard: (u32, u32),
    /// Hash of the photos' names, sizes and times.
    pub input: String,
    /// Number of photos that have no answer.
    pub errors: usize,
    /// Version of the program.
    pub version: String,
}

impl Header {
    /// Key in the metadata of the file.
    pub const KEY: &str = "injerto";

    /// Reads the header of a file, and the number of its rows.
    pub fn read(place: &Place) -> Result<(Self, usize), ShardsError> {
        let file = Source::open(place)?;
        let bad = |reason: String| ShardsError::output(place, reason);
        let reader = injerto_files::catch_quietly(|| SerializedFileReader::new(file))
            .ok_or_else(|| bad("it is damaged".to_owned()))?
            .map_err(|error| bad(format!("it is damaged, or no Parquet file ({error})")))?;
        let metadata = reader.metadata().file_metadata();
        let values = metadata.key_value_metadata().into_iter().flatten();
        let text = values.filter(|value| value.key == Self::KEY).find_map(|value| value.value.as_deref());
        let text = text.ok_or_else(|| bad("it is a Parquet file that no shard has written".to_owned()))?;
        let header = serde_json::from_str(text).map_err(|error| bad(format!("its metadata is damaged ({error})")))?;
        Ok((header, usize::try_from(metadata.num_rows()).unwrap_or(0)))
    }
}

/// A network's answer for a photo.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// Values of the layer.
    pub features: Vec<f32>,
    /// The class; names of several stand one after the other with `|` between them.
    pub prediction: Option<String>,
    /// The status of the answer, such as `sure`.
    pub status: Option<&'static str>,
    /// Probability of each class.
    pub probabilities: Vec<f32>,
}

/// The facts about a photo that need no network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub key: String,
    pub path: String,
    pub sha256: Option<String>,
    pub label: Option<String>,
}

/// Names of the columns.
pub(crate) const KEY: &str = "key";
pub(crate) const PATH: &str = "path";
pub(crate) const SHA256: &str = "sha256";
pub(crate) const LABEL: &str = "label";
pub(crate) const PREDICTION: &str = "prediction";
pub(crate) const STATUS: &str = "status";
pub(crate) const PROBABILITIES: &str = "probabilities";
pub(crate) const FEATURES: &str = "features";
pub(crate) const ERROR: &str = "error";

/// A list of so many numbers per row.
enum Lists {
    F16(FixedSizeListBuilder<Float16Builder>),
    F32(FixedSizeListBuilder<Float32Builder>),
}

impl Lists {
    fn new(width: usize, precision: Precision) -> Self {
        let length = length(width);
        match precision {
            Precision::F16 => {
                Self::F16(FixedSizeListBuilder::new(Float16Builder::new(), length).with_field(item(precision)))
            }
            Precision::F32 => {
                Self::F32(FixedSizeListBuilder::new(Float32Builder::new(), length).with_field(item(precision)))
            }
        }
    }

    /// Appends a row. Where there is no answer, its numbers are NaN: not all readers of Parquet know lists of fixed length that are
    /// missing.
    fn push(&mut self, values: Option<&[f32]>, width: usize) {
        let nothing = || std::iter::repeat_n(f32::NAN, width);
        match self {
            Self::F16(rows) => {
                match values {
                    Some(values) => values.iter().for_each(|x| rows.values().append_value(f16::from_f32(*x))),
                    None => nothing().for_each(|x| rows.values().append_value(f16::from_f32(x))),
                }
                rows.append(true);
            }
            Self::F32(rows) => {
                match values {
                    Some(values) => rows.values().append_slice(values),
                    None => nothing().for_each(|x| rows.values().append_value(x)),
                }
                rows.append(true);
            }
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::F16(rows) => Arc::new(rows.finish()),
            Self::F32(rows) => Arc::new(rows.finish()),
        }
    }

    fn column(name: &str, width: usize, precision: Precision) -> Field {
        Field::new(name, DataType::FixedSizeList(item(precision), length(width)), false)
    }
}

/// A number of a list.
fn item(precision: Precision) -> Arc<Field> {
    let kind = match precision {
        Precision::F16 => DataType::Float16,
        Precision::F32 => DataType::Float32,
    };
    Arc::new(Field::new("item", kind, false))
}

/// Length of a list, as Arrow counts it; the limits of a network are far below its own.
fn length(width: usize) -> i32 {
    i32::try_from(width).unwrap_or(i32::MAX)
}

/// Rows that wait to be written.
struct Waiting {
    key: StringBuilder,
    path: StringBuilder,
    sha256: StringBuilder,
    label: StringBuilder,
    said: Said,
    error: StringBuilder,
}

/// The columns of what a network says.
#[expect(clippy::large_enum_variant, reason = "there is one value per file that is written")]
enum Said {
    Features { width: usize, lists: Lists },
    Predictions { classes: usize, prediction: StringBuilder, status: StringBuilder, probabilities: Lists },
}

fn schema(kind: &Kind) -> SchemaRef {
    let text = |name: &str, nullable: bool| Field::new(name, DataType::Utf8, nullable);
    let mut fields = vec![text(KEY, false), text(PATH, false), text(SHA256, true), text(LABEL, true)];
    match kind {
        Kind::Features { width, precision, .. } => {
            fields.push(Lists::column(FEATURES, *width, *precision));
        }
        Kind::Predictions { classes } => {
            fields.extend([text(PREDICTION, true), text(STATUS, true)]);
            fields.push(Lists::column(PROBABILITIES, classes.len(), Precision::F32));
        }
    }
    fields.push(text(ERROR, true));
    Arc::new(Schema::new(fields))
}

/// A shard's file that is being written beside its place.
pub(crate) struct Writer {
    writer: ArrowWriter<Sink>,
    schema: SchemaRef,
    waiting: Waiting,
    place: Place,
    header: Header,
    pub rows: usize,
    pub errors: usize,
}

impl Writer {
    pub fn new(folder: &Place, about: &About, shard: Shard, input: &str) -> Result<Self, ShardsError> {
        let place = folder.join(&shard.file());
        let file = Sink::at(&place)?;
        let schema = schema(&about.kind);
        let mut properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(GROUP))
            .set_compression(Compression::SNAPPY)
            .set_created_by(format!("injerto {}", env!("CARGO_PKG_VERSION")));
        // Numbers are all different, and hardly become smaller.
        for name in [FEATURES, PROBABILITIES] {
            let column = ColumnPath::new(vec![name.to_owned(), "list".to_owned(), "item".to_owned()]);
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_statistics_enabled(column.clone(), EnabledStatistics::None)
                .set_column_compression(column, Compression::UNCOMPRESSED);
        }
        for name in [KEY, PATH, SHA256] {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
        }
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties.build()));
        let writer = writer.map_err(|error| ShardsError::output(&place, error))?;
        let header = Header {
            about: about.clone(),
            shard: (shard.index(), shard.of()),
            input: input.to_owned(),
            errors: 0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let said = match &about.kind {
            Kind::Features { width, precision, .. } => {
                Said::Features { width: *width, lists: Lists::new(*width, *precision) }
            }
            Kind::Predictions { classes } => Said::Predictions {
                classes: classes.len(),
                prediction: StringBuilder::new(),
                status: StringBuilder::new(),
                probabilities: Lists::new(classes.len(), Precision::F32),
            },
        };
        let text = StringBuilder::new;
        let waiting = Waiting { key: text(), path: text(), sha256: text(), label: text(), said, error: text() };
        Ok(Self { writer, schema, waiting, place, header, rows: 0, errors: 0 })
    }

    /// Appends a photo with its answer, or with the reason why there is none.
    pub fn push(&mut self, known: &Known, answer: Result<Answer, String>) -> Result<(), ShardsError> {
        let Waiting { key, path, sha256, label, said, error } = &mut self.waiting;
        key.append_value(&known.key);
        path.append_value(&known.path);
        sha256.append_option(known.sha256.as_deref());
        label.append_option(known.label.as_deref());
        let (answer, reason) = answer.map_or_else(|reason| (None, Some(reason)), |answer| (Some(answer), None));
        error.append_option(reason.as_deref());
        self.errors += usize::from(reason.is_some());
        match said {
            Said::Features { width, lists } => {
                lists.push(answer.as_ref().map(|answer| answer.features.as_slice()), *width);
            }
            Said::Predictions { classes, prediction, status, probabilities } => {
                let answer = answer.as_ref();
                prediction.append_option(answer.and_then(|answer| answer.prediction.as_deref()));
                status.append_option(answer.and_then(|answer| answer.status));
                probabilities.push(answer.map(|answer| answer.probabilities.as_slice()), *classes);
            }
        }
        self.rows += 1;
        match self.waiting.key.len() >= GROUP {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Writes the rows that wait as one group.
    fn flush(&mut self) -> Result<(), ShardsError> {
        let Waiting { key, path, sha256, label, said, error } = &mut self.waiting;
        if key.is_empty() {
            return Ok(());
        }
        let mut columns: Vec<ArrayRef> =
            [key, path, sha256, label].map(|column| Arc::new(column.finish()) as ArrayRef).into();
        match said {
            Said::Features { lists, .. } => columns.push(lists.finish()),
            Said::Predictions { prediction, status, probabilities, .. } => {
                columns.extend([
                    Arc::new(prediction.finish()) as ArrayRef,
                    Arc::new(status.finish()),
                    probabilities.finish(),
                ]);
            }
        }
        columns.push(Arc::new(error.finish()));
        let failed = |error: &dyn std::fmt::Display| ShardsError::output(&self.place, error);
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| failed(&error))?;
        self.writer.write(&batch).and_then(|()| self.writer.flush()).map_err(|error| failed(&error))
    }

    /// Writes what is left, and puts the file in its place.
    pub fn finish(mut self) -> Result<Place, ShardsError> {
        self.flush()?;
        self.header.errors = self.errors;
        let text = serde_json::to_string(&self.header).expect("a header is plain data");
        self.writer.append_key_value_metadata(KeyValue::new(Header::KEY.to_owned(), text));
        let file = self.writer.into_inner().map_err(|error| ShardsError::output(&self.place, error))?;
        file.finish(&self.place)?;
        Ok(self.place)
    }
}
