use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use injerto_trainer::history::{CSV_HEADER, EpochRecord};
use injerto_trainer::{Event, Observer};

use crate::ExperimentError;

/// Writes `history.csv` and `history.jsonl`: one line per epoch, written before the next epoch begins.
#[derive(Debug)]
pub(crate) struct History {
    csv: (PathBuf, File),
    jsonl: (PathBuf, File),
    /// The first error. Training continues, and [`History::finish`] returns the error.
    failed: Option<ExperimentError>,
}

impl History {
    /// Rewrites both files with the finished epochs of a resumed run. They are replaced atomically, so that no finished epoch
    /// is ever missing.
    pub(crate) fn begin(folder: &Path, done: &[EpochRecord]) -> Result<Self, ExperimentError> {
        let begin = |name: &str, text: String| {
            let path = folder.join(name);
            let file =
                injerto_files::write(&path, text.as_bytes()).and_then(|()| OpenOptions::new().append(true).open(&path));
            file.map(|file| (path.clone(), file)).map_err(|source| ExperimentError::Io { path, source })
        };
        let csv: String =
            std::iter::once(CSV_HEADER.to_owned()).chain(done.iter().map(EpochRecord::to_csv)).map(line).collect();
        let jsonl: String = done.iter().map(json).map(line).collect();
        Ok(Self { csv: begin("history.csv", csv)?, jsonl: begin("history.jsonl", jsonl)?, failed: None })
    }

    /// Returns the first error of a write, if there was one.
    pub(crate) fn finish(&mut self) -> Result<(), ExperimentError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn write(&mut self, record: &EpochRecord) {
        let lines = [(&mut self.csv, record.to_csv()), (&mut self.jsonl, json(record))];
        for ((path, file), text) in lines {
            if let Err(source) = file.write_all(line(text).as_bytes()).and_then(|()| file.flush()) {
                self.failed.get_or_insert(ExperimentError::Io { path: path.clone(), source });
            }
        }
    }
}

fn json(record: &EpochRecord) -> String {
    serde_json::to_string(record).expect("a record is plain data")
}

fn line(text: String) -> String {
    text + "\n"
}

impl Observer for History {
    fn observe(&mut self, event: &Event<'_>) {
        if let Event::EpochEnded { record, .. } = event {
            self.write(record);
        }
    }
}
