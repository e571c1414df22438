use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use injerto_trainer::history::{CSV_HEADER, EpochRecord};
use injerto_trainer::{Event, Observer};

use crate::ExperimentError;

/// Writes `history.csv` and `history.jsonl`, a line an epoch, each on the disk before the next epoch begins.
#[derive(Debug)]
pub(crate) struct History {
    csv: (PathBuf, File),
    jsonl: (PathBuf, File),
    /// The first error; training goes on without it, and whoever asks is told.
    failed: Option<ExperimentError>,
}

impl History {
    /// Begins both files anew with the epochs that a resumed run has behind it.
    pub(crate) fn begin(folder: &Path, done: &[EpochRecord]) -> Result<Self, ExperimentError> {
        let create = |name: &str| {
            let path = folder.join(name);
            let file = OpenOptions::new().create(true).write(true).truncate(true).open(&path);
            file.map(|file| (path.clone(), file)).map_err(|source| ExperimentError::Io { path, source })
        };
        let mut history = Self { csv: create("history.csv")?, jsonl: create("history.jsonl")?, failed: None };
        history.write_csv(CSV_HEADER);
        done.iter().for_each(|record| history.write(record));
        history.finish()?;
        Ok(history)
    }

    /// The first error, if there was one.
    pub(crate) fn finish(&mut self) -> Result<(), ExperimentError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn write(&mut self, record: &EpochRecord) {
        self.write_csv(&record.to_csv());
        let line = serde_json::to_string(record).expect("a record is plain data");
        let (path, file) = &mut self.jsonl;
        if let Err(source) = writeln!(file, "{line}").and_then(|()| file.flush()) {
            self.failed.get_or_insert(ExperimentError::Io { path: path.clone(), source });
        }
    }

    fn write_csv(&mut self, line: &str) {
        let (path, file) = &mut self.csv;
        if let Err(source) = writeln!(file, "{line}").and_then(|()| file.flush()) {
            self.failed.get_or_insert(ExperimentError::Io { path: path.clone(), source });
        }
    }
}

impl Observer for History {
    fn observe(&mut self, event: &Event<'_>) {
        if let Event::EpochEnded { record, .. } = event {
            self.write(record);
        }
    }
}
