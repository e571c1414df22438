//! TensorBoard's event files.
//!
//! A file is a sequence of records (length, its checksum, data, its checksum). Each record holds an `Event` message of
//! TensorFlow's `event.proto`. Both formats are simple enough to be written without a library.

mod pictures;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use injerto_data::Dataset;
use injerto_trainer::history::EpochRecord;
use injerto_trainer::{Event, Observer};

use self::pictures::Said;
use crate::ExperimentError;

/// Writes `tensorboard/events.out.tfevents.*`: loss, accuracy, their validation figures and the learning rate of each epoch.
#[derive(Debug)]
pub(crate) struct TensorBoard {
    file: (PathBuf, File),
    /// The predictions of the best epoch so far, in this part of the run.
    best: Option<Said>,
    /// The first error. Training continues, and [`TensorBoard::finish`] returns the error.
    failed: Option<ExperimentError>,
}

impl TensorBoard {
    /// Creates a new file. A resumed run thereby adds a file to its earlier ones, and TensorBoard reads all of them as one run.
    pub(crate) fn begin(folder: &Path) -> Result<Self, ExperimentError> {
        let folder = folder.join("tensorboard");
        std::fs::create_dir_all(&folder).map_err(|source| ExperimentError::Io { path: folder.clone(), source })?;
        let began = now();
        // TensorBoard reads files in the order of their names. Two runs may begin in the same second.
        let mut number = 0;
        let file = loop {
            let path = folder.join(format!("events.out.tfevents.{:010}.injerto.{number}", began as u64));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(source) => return Err(ExperimentError::Io { path, source }),
            }
        };
        let mut board = Self { file, best: None, failed: None };
        board.write(&record(&version_event(began)));
        board.finish()?;
        Ok(board)
    }

    /// Writes the predictions of the best epoch for these validation images, at its step: precision over recall of each class, and its most
    /// confident mistakes.
    pub(crate) fn show(&mut self, validation: &Dataset) {
        if let Some(best) = self.best.take() {
            best.events(now(), validation).iter().for_each(|event| self.write(&record(event)));
        }
    }

    /// Returns the first error of a write, if there was one.
    pub(crate) fn finish(&mut self) -> Result<(), ExperimentError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (path, file) = &mut self.file;
        if let Err(source) = file.write_all(bytes).and_then(|()| file.flush()) {
            self.failed.get_or_insert(ExperimentError::Io { path: path.clone(), source });
        }
    }
}

impl Observer for TensorBoard {
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::EpochEnded { record: epoch, .. } => self.write(&record(&epoch_event(now(), epoch))),
            Event::Best { epoch, answers, images } => {
                self.best = Some(Said { epoch: *epoch, answers: (*answers).clone(), images: images.to_vec() });
            }
            _ => {}
        }
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The first message of a file.
fn version_event(wall_time: f64) -> Vec<u8> {
    let mut message = Vec::new();
    double(&mut message, 1, wall_time);
    bytes(&mut message, 3, b"brain.Event:2");
    message
}

/// Scalars of one epoch, with the epoch as their step.
fn epoch_event(wall_time: f64, epoch: &EpochRecord) -> Vec<u8> {
    let figures = [
        ("loss", Some(epoch.loss)),
        ("accuracy", Some(epoch.accuracy)),
        ("val_loss", epoch.val_loss),
        ("val_accuracy", epoch.val_accuracy),
        ("learning_rate", Some(epoch.learning_rate)),
    ];
    let mut summary = Vec::new();
    for (tag, figure) in figures {
        let Some(figure) = figure else { continue };
        let mut value = Vec::new();
        bytes(&mut value, 1, tag.as_bytes());
        tag_of(&mut value, 2, FIXED_32);
        value.extend((figure as f32).to_le_bytes());
        bytes(&mut summary, 1, &value);
    }
    let mut message = Vec::new();
    double(&mut message, 1, wall_time);
    tag_of(&mut message, 2, VARINT);
    varint(&mut message, epoch.epoch as u64);
    bytes(&mut message, 5, &summary);
    message
}

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

fn tag_of(message: &mut Vec<u8>, field: u64, wire: u64) {
    varint(message, field << 3 | wire);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn double(message: &mut Vec<u8>, field: u64, value: f64) {
    tag_of(message, field, FIXED_64);
    message.extend(value.to_le_bytes());
}

fn bytes(message: &mut Vec<u8>, field: u64, value: &[u8]) {
    tag_of(message, field, BYTES);
    varint(message, value.len() as u64);
    message.extend(value);
}

/// A message as a record of the file.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(message);
    record.extend(masked(crc32c(message)).to_le_bytes());
    record
}

/// The masked checksum of TensorFlow's record format: rotated and shifted by a constant, because the checksum of data that
/// itself contains checksums would be weak.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32 with Castagnoli's polynomial. One bit per step is fast enough for the few hundred bytes of an epoch.
fn crc32c(data: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !data.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    use injerto_files::hex;

    use super::*;

    fn epoch(epoch: usize) -> EpochRecord {
        EpochRecord {
            epoch,
            phase: "head".to_owned(),
            loss: 0.5,
            accuracy: 0.75,
            val_loss: Some(0.625),
            val_accuracy: Some(0.875),
            learning_rate: 1e-3,
            seconds: 1.0,
        }
    }

    /// What TensorBoard's own `RecordWriter` and `event_pb2` write for the same events.
    #[test]
    fn the_bytes_are_tensorboards() {
        assert_eq!(
            hex(record(&version_event(1.7e9))),
            "1800000000000000a37f4b220900000040fc54d9411a0d627261696e2e4576656e743a32eced8f9d"
        );
        assert_eq!(
            hex(record(&epoch_event(1.7e9 + 0.5, &epoch(300)))),
            "6800000000000000fe9c7ad40900002040fc54d94110ac022a5a0a0b0a046c6f7373150000003f0a0f0a086163637572616379150000403f\
             0a0f0a0876616c5f6c6f7373150000203f0a130a0c76616c5f6163637572616379150000603f0a140a0d6c6561726e696e675f726174651\
             56f12833ae92ea08f"
        );
    }

    #[test]
    fn a_resumed_run_begins_another_file() {
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=2 {
            let mut board = TensorBoard::begin(folder.path()).unwrap();
            board.observe(&Event::EpochEnded { record: &epoch(number), best: true });
            board.finish().unwrap();
        }
        let mut files: Vec<_> =
            std::fs::read_dir(folder.path().join("tensorboard")).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 2);
        for file in files {
            assert_eq!(
                std::fs::read(file).unwrap().len(),
                record(&version_event(0.0)).len() + record(&epoch_event(0.0, &epoch(1))).len()
            );
        }
    }

    #[test]
    fn figures_of_missing_validation_images_are_left_out() {
        let blind = EpochRecord { val_loss: None, val_accuracy: None, ..epoch(1) };
        let text = String::from_utf8_lossy(&epoch_event(0.0, &blind)).into_owned();
        assert!(text.contains("accuracy") && !text.contains("val_"), "{text}");
    }
}
